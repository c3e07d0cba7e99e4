"""Viewers: HTTP responses that follow a stream, one loop for all of them.

A viewer owns nothing. It has a place in a stream, takes what stands behind it and writes that; when it
is gone (the client left, did not read for `STUCK` seconds, or came back on a newer connection) nothing
is lost but the connection. One ticker looks after all of a node's viewers: keep-alive comments, and a
look at the rows of streams that live elsewhere, should a wake-up have been lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from aiohttp import web

from ..protocol.sse import KEEP_ALIVE, Cursor, frame, goodbye, priming
from ..sessions import StoreUnavailable
from ..sessions.streams import Event, Key, StreamStore
from .streams import FIRST, Stream

_log = logging.getLogger(__name__)

ALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent."""

STUCK: Final = 10.0
"""Seconds that one write may take; a client that reads slower is dropped and may come back."""

AT_ONCE: Final = 64 * 1024
"""Bytes up to which a stream that is already complete is sent as one body: it fits every socket's buffer."""

AT_A_LOOK: Final = 1000
"""Silent streams whose rows are looked at in one look; where there are more, each waits for its turn."""

RETRY: Final = 1000
"""Milliseconds that a client is asked to wait where the server closes the connection."""

Why = Literal["superseded", "poll", "ended", "left", "away"]
"""Why a response ended before its stream did: a newer viewer, the server's close, the session, the client."""

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


@dataclass(slots=True, eq=False)
class Viewer:
    """One HTTP response and its place in one stream; `local` is the stream where it is open here.

    `ids` says whether events have ids to come back with, `primes` whether the revision has a priming event;
    `before` goes out instead of that.
    """

    key: Key
    place: tuple[int, int]
    store: StreamStore
    local: Stream | None
    ids: bool
    primes: bool
    retry: int | None
    before: bytes | None = None
    hinted: bool = False
    _stop: Why | None = None
    _waiter: asyncio.Future[None] | None = None
    _woken: bool = False
    _clock: Callable[[], float] = time.monotonic
    _written: float = field(default_factory=time.monotonic)
    _response: web.StreamResponse = field(default_factory=lambda: web.StreamResponse(headers=HEADERS))

    def __repr__(self) -> str:
        return f"<Viewer {self.key[1][:13]} at {self.place} {self._stop or 'following'}>"

    def wake(self) -> None:
        """Look again: there may be more."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def stop(self, why: Why) -> None:
        """End the response; `poll` asks the client to come back, the other words do not."""
        if self._stop is None:
            self._stop = why
            self.wake()

    def tick(self) -> None:
        """A silent one says that it lives; there is nothing to read for that."""
        if self._waiter is not None and not self._waiter.done() and self._clock() - self._written >= ALIVE:
            self._waiter.set_result(None)

    async def run(self, http: web.Request, only: Event | None = None) -> web.StreamResponse:
        """Write the stream until it ends, the client leaves, or somebody stops this viewer.

        `only` is all there is where the stream itself is gone.
        """
        try:
            await self._follow(http, only)
        except (ConnectionError, TimeoutError):
            self._stop = self._stop or "left"
            if http.transport is not None:
                http.transport.abort()
        except StoreUnavailable:
            if not self._response.prepared:
                raise
            self._stop = self._stop or "away"  # the log cannot be read: the client comes back for the rest
        except RuntimeError:
            if http.transport is not None:  # not aiohttp's word for a closed response
                raise
        return self._response

    async def _follow(self, http: web.Request, only: Event | None) -> None:
        events, last = ([only], True) if only is not None else await self._more()
        while self.local is not None and not self.local.opened and self._stop in (None, "poll"):
            await self._wait()
            events, last = await self._more()
        head = self._head()
        if last and sum(len(event.data) for event in events) <= AT_ONCE:
            body = head + b"".join(self._frame(event) for event in events)
            self._response = web.Response(body=body, headers=HEADERS)
            return
        await self._response.prepare(http)
        while True:
            await self._write(head + b"".join(self._frame(event) for event in events))
            head = b""
            if last or self._is_stopped():
                break
            self._woken = False
            events, last = await self._more()
            if not events and not last and not self._woken:
                await self._wait()
                if self._is_polled():  # what was said before the close goes out before it
                    events, last = await self._more()
        if self._is_polled() and self.primes and not last:
            await self._write(goodbye(RETRY if self.retry is None else self.retry))
        await self._response.write_eof()

    def _is_polled(self) -> bool:
        return self._stop == "poll"

    def _is_stopped(self) -> bool:
        """Whether to leave; a client that has no id is not sent away, since it could not come back."""
        if self._is_polled() and not self._has_ids:
            self._stop = None
        return self._stop is not None

    def _head(self) -> bytes:
        """The priming event, where the revision has it and the stream can be resumed."""
        if self.before is not None:
            return self.before
        event_id = self._id(*self.place) if self.primes else None
        return b"" if event_id is None else priming(event_id, self.retry)

    @property
    def _has_ids(self) -> bool:
        return self.ids and (self.local is None or self.local.resumable)

    def _id(self, epoch: int, n: int) -> str | None:
        return str(Cursor(self.key[1], epoch, n)) if self._has_ids else None

    def _frame(self, event: Event) -> bytes:
        self.place = (event.epoch, event.n)
        return frame(event.data, self._id(*self.place))

    async def _more(self) -> tuple[list[Event], bool]:
        """What stands behind the place, and whether that is the end."""
        if self.local is not None and self.place[0] == FIRST:
            events = self.local.after(self.place[1])
            if events is not None:
                return events, self.local.is_last(events[-1].n if events else self.place[1])
        return await self.store.read(self.key, self.place)

    async def _wait(self) -> None:
        """Until somebody wakes it; when only time has passed, a comment says that it lives."""
        while not self._woken:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            if not self._woken and self._response.prepared:
                await self._write(KEEP_ALIVE)
        self._woken = False

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        async with asyncio.timeout(STUCK):
            await self._response.write(data)
        self._written = self._clock()


class Viewers:
    """The viewers of this node, by the stream they follow; a newer one takes an older one's place."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Viewer] = {}
        self._by_session: dict[str, set[Viewer]] = {}
        self._due: list[Viewer] = []

    def __len__(self) -> int:
        return len(self._by_key)

    def __repr__(self) -> str:
        return f"<Viewers {len(self._by_key)}>"

    def add(self, viewer: Viewer) -> None:
        """Follow a stream; whoever followed it here is ended."""
        self.stop(viewer.key, "superseded")
        self._by_key[viewer.key] = viewer
        self._by_session.setdefault(viewer.key[0], set()).add(viewer)
        if viewer.local is not None:
            viewer.local.on_change = viewer.wake

    def drop(self, viewer: Viewer) -> bool:
        """It has ended; False where a newer one has its place."""
        watching = self._by_session.get(viewer.key[0], set())
        watching.discard(viewer)
        if not watching:
            self._by_session.pop(viewer.key[0], None)
        if self._by_key.get(viewer.key) is not viewer:
            return False
        del self._by_key[viewer.key]
        return True

    def wake(self, key: Key) -> None:
        """A stream may have grown, or have a newer viewer elsewhere."""
        viewer = self._by_key.get(key)
        if viewer is not None:
            viewer.hinted = True
            viewer.wake()

    def stop(self, key: Key, why: Why) -> None:
        """End the viewer of one stream."""
        viewer = self._by_key.get(key)
        if viewer is not None:
            viewer.stop(why)

    def watches(self, session_id: str) -> bool:
        """Whether a session has an open response here."""
        return session_id in self._by_session

    def end_session(self, session_id: str) -> None:
        """The session ended. A call's own stream gets its error response first and ends by that."""
        for viewer in self._by_session.get(session_id, set()):
            if viewer.local is None:
                viewer.stop("ended")

    def poll_standing(self, session_id: str) -> None:
        """Close the connection that listens to a session's standing stream."""
        for viewer in self._by_session.get(session_id, set()):
            if viewer.key[1].startswith("s"):
                viewer.stop("poll")

    def end_foreign(self) -> None:
        """The server stops: who follows what does not run here comes back elsewhere."""
        for viewer in self._by_key.values():
            if viewer.local is None:
                viewer.stop("poll")

    def places(self) -> list[tuple[Key, int, int]]:
        """Whose rows are worth a look, and where they stand: (stream, epoch, n).

        The viewers that were told something since the last look, and in turns those of streams that do not
        run here: should a wake-up be lost, it is a second late with up to `AT_A_LOOK` of them.
        """
        self._due = self._due or [viewer for viewer in self._by_key.values() if viewer.local is None]
        turn, self._due = self._due[:AT_A_LOOK], self._due[AT_A_LOOK:]
        hinted = [viewer for viewer in self._by_key.values() if viewer.hinted]
        found = {viewer.key: viewer for viewer in turn + hinted if self._by_key.get(viewer.key) is viewer}
        for viewer in hinted:
            viewer.hinted = False
        return [(key, *viewer.place) for key, viewer in found.items()]

    def looked(self, key: Key, taken: bool) -> None:
        """What the rows say: there is more, or another node's viewer is the newest."""
        if taken:
            self.stop(key, "superseded")
        elif key in self._by_key:
            self._by_key[key].wake()

    def tick(self) -> None:
        """Once a second: the silent ones say that they live."""
        for viewer in self._by_key.values():
            viewer.tick()
