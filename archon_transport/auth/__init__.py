"""Identity: what a guard asks about the caller. Knows tokens and principals, not sessions."""

from mcp.server.auth.provider import TokenVerifier

from .principal import Challenge, Principal, allows, verify
from .resource import ProtectedResource
from .tokens import SCOPES, StaticToken, StaticTokens, digest_of, implied, new_token

__all__ = [
    "SCOPES",
    "Challenge",
    "Principal",
    "ProtectedResource",
    "StaticToken",
    "StaticTokens",
    "TokenVerifier",
    "allows",
    "digest_of",
    "implied",
    "new_token",
    "verify",
]
