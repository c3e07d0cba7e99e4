"""`/health` and `/ready`: one word each, for monitors and load balancers.

Alive is not ready: a server that drains, or whose database is away, is alive. These two answer any
Host, since a monitor knows an address and not a name; they tell nothing but the word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


class Health:
    """`is_draining()` and `ping()` say whether the server takes new work and has its database."""

    def __init__(self, is_draining: Callable[[], bool], ping: Callable[[], Awaitable[bool]]) -> None:
        self._is_draining = is_draining
        self._ping = ping

    def attach(self, app: web.Application) -> None:
        """Add both routes."""
        app.router.add_get("/health", self.health)
        app.router.add_get("/ready", self.ready)

    async def health(self, request: web.Request) -> web.Response:
        """200 `ok` while the process answers at all."""
        return web.Response(text="ok\n")

    async def ready(self, request: web.Request) -> web.Response:
        """200 `ready`, or 503 with `draining` or `database`."""
        if self._is_draining():
            return web.Response(text="draining\n", status=503)
        if not await self._ping():
            return web.Response(text="database\n", status=503)
        return web.Response(text="ready\n")
