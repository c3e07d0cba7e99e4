"""`/docs`: the tool reference, a page of HTML that is given ready-made and needs no script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

from aiohttp import web

from ..protocol.messages import Refused

Refuse = Callable[[str | None, str | None], Refused | None]
"""The refusal of a request with this Host and this Origin, if they are not allowed."""

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class Docs:
    """Serves one page; nothing but its own style may run or load in it."""

    def __init__(self, page: str, refuse: Refuse) -> None:
        hashes = (hashlib.sha256(style.encode()).digest() for style in _STYLE.findall(page))
        styles = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes)
        policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        self._page, self._refuse = page, refuse
        self._headers = {
            "Content-Security-Policy": f"{policy}; style-src {styles}" if styles else policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "max-age=300",
        }

    def attach(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get("/docs", self.docs)

    async def docs(self, request: web.Request) -> web.Response:
        """The page, for whoever names this server as it may be named."""
        if refused := self._refuse(request.headers.get("Host"), request.headers.get("Origin")):
            return web.Response(text=refused.error.message, status=refused.status)
        return web.Response(text=self._page, content_type="text/html", headers=self._headers)
