"""Who asks: a bearer token, verified, becomes a principal.

The verifier is whatever has the SDK's `TokenVerifier` shape. A principal's owner triple is what a
session is bound to; its token goes on to the SDK, whose sealed states bind to it, and into no text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from mcp.server.auth.provider import AccessToken, TokenVerifier, principal_components

from .resource import ProtectedResource


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller: (issuer, subject, client id) and the scopes of its token."""

    owner: tuple[str | None, str | None, str | None]
    scopes: frozenset[str]
    access: AccessToken | None = field(default=None, repr=False, compare=False)


def allows(principal: Principal | None, scope: str) -> bool:
    """Whether this caller may do what needs `scope`; where no identity is asked, everybody may."""
    return principal is None or scope in principal.scopes


@dataclass(frozen=True, slots=True)
class Challenge:
    """A 401, or a 403 where a valid token lacks a scope.

    `error` is None where no credentials were sent at all (RFC 6750, 3.1); `scope` has every scope that the
    request needs, separated by spaces, and `resource_metadata` is where the client can read more.
    """

    error: str | None
    message: str
    scope: str | None = None
    resource_metadata: str | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 403 if self.error == "insufficient_scope" else 401

    @property
    def rule(self) -> str:
        """The rule's name for the count of refusals."""
        return "scope" if self.error == "insufficient_scope" else "token"

    @property
    def header(self) -> str:
        """The value of `WWW-Authenticate`."""
        said = {
            "error": self.error,
            "error_description": self.message if self.error else None,
            "resource_metadata": self.resource_metadata,
            "scope": self.scope,
        }
        parameters = ", ".join(f'{name}="{value}"' for name, value in said.items() if value)
        return f"Bearer {parameters}".rstrip()


_OPEN: Final = ProtectedResource()


async def verify(
    verifier: TokenVerifier | None, authorization: str | None, resource: ProtectedResource = _OPEN
) -> Principal | Challenge | None:
    """The principal behind an `Authorization` header, a challenge, or None where no identity is asked."""
    if verifier is None:
        return None
    needed = (" ".join(resource.required) or None, resource.metadata_url)
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return Challenge(None, "This server needs a token: send Authorization: Bearer TOKEN.", *needed)
    access = await verifier.verify_token(token.strip())
    if access is None or (access.expires_at is not None and access.expires_at < time.time()):
        text = "The token is not valid here or has expired; get a new one."
        return Challenge("invalid_token", text, *needed)
    if not resource.is_for(access):
        text = "The token was issued for another server; get one for this."
        return Challenge("invalid_token", text, *needed)
    if missing := [scope for scope in resource.required if scope not in access.scopes]:
        text = f"The token lacks what this server needs: {', '.join(missing)}."
        return Challenge("insufficient_scope", text, *needed)
    client_id, issuer, subject = principal_components(access)
    return Principal((issuer, subject, client_id), frozenset(access.scopes), access)
