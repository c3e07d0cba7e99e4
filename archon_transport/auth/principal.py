"""Who asks: a bearer token, verified, becomes a principal.

The verifier is whatever has the SDK's `TokenVerifier` shape. A principal's owner triple is what a
session is bound to; its token goes on to the SDK, whose sealed states bind to it, and into no text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from mcp.server.auth.provider import AccessToken, principal_components


class TokenVerifier(Protocol):
    """The SDK's verifier: a token's facts, or None where it is not valid."""

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's facts, None where it is not valid."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller: (issuer, subject, client id) and the scopes of its token."""

    owner: tuple[str | None, str | None, str | None]
    scopes: frozenset[str]
    access: AccessToken | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A 401: `error` is None where no credentials were sent at all (RFC 6750, 3.1)."""

    error: str | None
    message: str

    @property
    def header(self) -> str:
        """The value of `WWW-Authenticate`."""
        return "Bearer" if self.error is None else f'Bearer error="{self.error}"'


async def verify(verifier: TokenVerifier | None, authorization: str | None) -> Principal | Challenge | None:
    """The principal behind an `Authorization` header, a challenge, or None where no identity is asked."""
    if verifier is None:
        return None
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return Challenge(None, "This server needs a token: send Authorization: Bearer TOKEN.")
    access = await verifier.verify_token(token.strip())
    if access is None or (access.expires_at is not None and access.expires_at < time.time()):
        return Challenge("invalid_token", "The token is not valid here or has expired; get a new one.")
    client_id, issuer, subject = principal_components(access)
    return Principal((issuer, subject, client_id), frozenset(access.scopes), access)
