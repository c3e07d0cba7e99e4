"""Identity: what a guard asks about the caller. Knows tokens and principals, not sessions."""

from .principal import Challenge, Principal, TokenVerifier, verify

__all__ = ["Challenge", "Principal", "TokenVerifier", "verify"]
