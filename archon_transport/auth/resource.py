"""The protected resource that `AuthSettings` describe: its metadata (RFC 9728) and what its tokens must be.

Clients find the authorization server by it: a challenge names the metadata's address, and clients that do
not read it look in two well-known places, with and without the endpoint's path. Without settings nothing
is described and nothing more is asked of a token.
"""

from __future__ import annotations

from typing import Final

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.routes import build_resource_metadata_url
from mcp.server.auth.settings import AuthSettings
from mcp.shared.auth import ProtectedResourceMetadata
from pydantic import AnyHttpUrl, ValidationError

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


class ProtectedResource:
    """`required` are the scopes that every request needs, `document` is the metadata as JSON.

    `metadata_url` and `document` are None where the settings do not say what clients call this server.
    """

    def __init__(self, settings: AuthSettings | None = None) -> None:
        self.required = tuple((settings and settings.required_scopes) or ())
        self._url = None if settings is None else settings.resource_server_url
        self._checks = settings is not None and settings.validate_token_resource
        self.metadata_url = None if self._url is None else str(build_resource_metadata_url(self._url))
        self.document = None if settings is None or self._url is None else _metadata(settings, self._url)

    def addresses(self, path: str) -> tuple[str, ...]:
        """Where the metadata of an endpoint at `path` is looked for: at the root, and behind either path.

        A proxy may have changed the path between what clients call and what is attached here.
        """
        if self._url is None:
            return ()
        paths = ("", path.rstrip("/"), (self._url.path or "").rstrip("/"))
        return tuple(dict.fromkeys(WELL_KNOWN + each for each in paths))

    def describes(self, path: str) -> bool:
        """Whether a request for `path` asks for the metadata."""
        return self.document is not None and WELL_KNOWN in path

    def is_for(self, access: AccessToken) -> bool:
        """Whether a token was issued for this resource (RFC 8707).

        A token that names another resource is never taken, unless the verifier is said to look after that;
        one that names none is, unless `validate_token_resource` asks for a name.
        """
        if self._url is None or self._checks is False:
            return True
        if access.resource is None:
            return not self._checks
        try:
            named = str(AnyHttpUrl(access.resource))
        except ValidationError:
            return False
        return named.removesuffix("/") == str(self._url).removesuffix("/")


def _metadata(settings: AuthSettings, url: AnyHttpUrl) -> bytes:
    metadata = ProtectedResourceMetadata(
        resource=url,
        authorization_servers=[settings.issuer_url],
        scopes_supported=settings.required_scopes,
        resource_documentation=settings.service_documentation_url,
    )
    return metadata.model_dump_json(exclude_none=True).encode()
