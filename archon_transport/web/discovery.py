"""What a client asks for when it looks for a login, answered where there is none: a JSON 404.

Clients read the body of such an answer as JSON, and one that is not ends their connecting with an error
about syntax (RFC 8414, 3; RFC 9728, 3; RFC 7591, 3; OpenID Connect Discovery, 4).
"""

from __future__ import annotations

from aiohttp import web

WELL_KNOWN = ("oauth-protected-resource", "oauth-authorization-server", "openid-configuration")
ENDPOINTS = ("/register", "/authorize", "/token")


class Discovery:
    """The addresses of a login that there is not, for the endpoint at `path`; `tokens` are needed there."""

    def __init__(self, path: str, *, tokens: bool = False) -> None:
        self._path = path.rstrip("/")
        self._how = (
            "with a token that its operator made" if tokens else "without a token: nobody has to log in"
        )

    def attach(self, app: web.Application) -> None:
        """Add every address, each for every verb."""
        for name in WELL_KNOWN:
            well_known = f"/.well-known/{name}"
            for address in (well_known, f"{well_known}{self._path}", f"{self._path}{well_known}"):
                app.router.add_route("*", address, self.none)
        for address in ENDPOINTS:
            app.router.add_route("*", address, self.none)

    async def none(self, request: web.Request) -> web.Response:
        """404: there is no authorization server; what to do instead."""
        text = f"There is no login here. Connect to {self._path} {self._how}."
        return web.json_response({"error": "not_found", "error_description": text}, status=404)
