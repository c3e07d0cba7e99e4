"""Puts the page and what it needs on an application; without Jinja2 there is a sentence in its place."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from aiohttp import web

from .api import Api
from .door import HEADERS, Door
from .ports import House

MISSING: Final = (
    "The page needs Jinja2, which comes with the extra \"server\": pip install 'archon-transport[server]'\n"
)
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}


async def tell(request: web.Request, status: int, text: str) -> web.StreamResponse:
    """An error as a line of text."""
    return web.Response(text=f"{text}\n", status=status)


def attach(app: web.Application, house: House) -> None:
    """Add the page's routes, or at `/` what to install for it."""
    door = Door(house)
    Api(house, door).attach(app)
    try:
        from .page import Page
    except ImportError:
        app.router.add_get("/", door.guard(_missing, tell, None))
        return
    page = Page(house, door)
    page.attach(app)
    files = _Static()
    app.router.add_get("/static/{name}", door.guard(files.serve, page.tell, None))


async def _missing(request: web.Request) -> web.StreamResponse:
    return web.Response(text=MISSING)


class _Static:
    """The files beside the templates, read once."""

    def __init__(self) -> None:
        folder = resources.files(__package__) / "static"
        self._files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One file; 304 where the browser has it."""
        body = self._files.get(request.match_info["name"])
        if body is None:
            return await tell(request, 404, "There is no such file.")
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        kind = _TYPES.get(request.match_info["name"].rpartition(".")[2], "application/octet-stream")
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)
