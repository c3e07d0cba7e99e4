"""Live: one event stream per open page, and one look at the database a second for all of them.

An event names the topics that changed (sessions, requests, refusals, tasks), the page then reads itself
again. Nobody looks while nobody watches. A stream ends after some minutes, so that a browser comes back
with its token and is judged again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..sessions import StoreUnavailable

_log = logging.getLogger(__name__)

LOOK = 1.0
KEEP_ALIVE = 15.0
LONGEST = 600.0
VIEWERS = 500


class _Viewer:
    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.woken = asyncio.Event()

    def wake(self, topics: set[str]) -> None:
        self.topics |= topics
        self.woken.set()


class Live:
    """Tells viewers what changed; `changed()` is called before they are told."""

    def __init__(self, pulse: Callable[[], Awaitable[dict[str, str]]], changed: Callable[[], None]) -> None:
        self._pulse = pulse
        self._changed = changed
        self._viewers: set[_Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.looks = 0

    async def close(self, app: web.Application) -> None:
        """End every stream: a server that stops waits for none of them."""
        self._closing = True
        for viewer in self._viewers:
            viewer.wake(set())

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Events until the viewer leaves, the server stops or the stream is old."""
        if len(self._viewers) >= VIEWERS or self._closing:
            return web.Response(status=503, headers={"Retry-After": "30"})
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        viewer = _Viewer()
        self._viewers.add(viewer)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="page-watch")
        try:
            await response.write(b"retry: 2000\n\n")
            await self._follow(viewer, response)
        except ConnectionResetError:
            pass
        finally:
            self._viewers.discard(viewer)
        return response

    async def _follow(self, viewer: _Viewer, response: web.StreamResponse) -> None:
        until = time.monotonic() + LONGEST
        while not self._closing and time.monotonic() < until:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await viewer.woken.wait()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            viewer.woken.clear()
            topics, viewer.topics = viewer.topics, set()
            if topics:
                await response.write(f"event: changed\ndata: {json.dumps(sorted(topics))}\n\n".encode())

    async def _watch(self) -> None:
        """Look while somebody watches; what fails is news too."""
        known: dict[str, str] | None = None
        while self._viewers:
            pulse = await self._look()
            topics = {topic for topic in pulse if known is not None and known.get(topic) != pulse[topic]}
            if topics or (known is None and "away" in pulse):
                self._changed()
                for viewer in self._viewers:
                    viewer.wake(topics or {"away"})
            known = pulse
            await asyncio.sleep(LOOK)

    async def _look(self) -> dict[str, str]:
        self.looks += 1
        try:
            return await self._pulse() | {"back": "here"}
        except StoreUnavailable:
            return {"away": "away"}
        except Exception:
            _log.exception("the look for the page failed; it is tried again")
            return {"away": "away"}
