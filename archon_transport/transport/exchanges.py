"""How one POST is answered: late, so that the answer is right.

    pending --(all answered)--> json
       |
       `----(a call emits, asks, or 250 ms pass)--> sse

Whatever comes first wins, in one synchronous step. A call that finishes without a word is plain JSON
with its true status; one that says something becomes an event stream, which can be resumed. A client
that left while it was still pending has nothing to resume: the call goes on and its answer is dropped.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import Final, Literal

from aiohttp import web

from ..protocol.messages import RequestId
from ..sessions import Session
from ..sessions.streams import EventKind, Question
from .streams import Stream, Streams

STREAM_AFTER: Final = 0.25
"""Seconds after which an unfinished call is answered as a stream; shorter than any human's patience."""


class Exchange:
    """One POST with its calls, and the name that its stream would have of their ids.

    `payloads` are the responses of a JSON answer in the order in which they came, `status` is that of it.
    `cut` is set where the session ended before they were done, `polled` where a handler asked for the
    connection to be closed before its viewer was there.
    """

    __slots__ = (
        "_decided",
        "_missing",
        "_request_ids",
        "_session",
        "_streams",
        "cut",
        "http",
        "mode",
        "payloads",
        "polled",
        "started",
        "status",
        "stream",
    )

    def __init__(
        self,
        http: web.Request,
        *,
        streams: Streams,
        session: Session | None,
        request_ids: tuple[RequestId, ...],
        streamable: bool,
    ) -> None:
        self.http = http
        self.started = asyncio.get_running_loop().time()
        self.mode: Literal["pending", "json", "sse"] = "pending" if streamable else "json"
        self.stream: Stream | None = None
        self.cut = False
        self.status = 200
        self.polled = False
        self._missing = len(request_ids)
        self._streams = streams
        self._session = session
        self._request_ids = request_ids
        self.payloads: list[bytes] = []
        self._decided: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Exchange {self.mode} missing={self._missing}>"

    @property
    def can_stream(self) -> bool:
        """Whether a word of a handler can still reach the client."""
        return self.mode != "json" and self._missing > 0

    def emit(self, kind: EventKind, data: bytes, question: Question | None = None) -> None:
        """Say something on the way; it is dropped where there is no wire for it."""
        stream = self.begin()
        if stream is not None and self._missing > 0:
            stream.append(kind, data, question=question)

    def begin(self) -> Stream | None:
        """Become a stream now, without a word; None where it cannot."""
        if self.mode == "pending" and self._missing > 0:
            self._begin()
        return self.stream

    def answer(self, payload: bytes) -> None:
        """One of its calls is done."""
        self._missing -= 1
        if self.stream is not None:
            self.stream.append("response", payload, closes=self._missing == 0)
            return
        self.payloads.append(payload)
        if self._missing == 0:
            self.mode = "json"
            self._decide()

    def grow_old(self) -> None:
        """It took longer than `STREAM_AFTER`: stream, unless there is nobody left to stream to."""
        if self.mode != "pending":
            return
        if self.http.transport is None:
            self.mode = "json"
        else:
            self._begin()

    async def decision(self) -> None:
        """Wait until a stream has begun or everything is answered. Cancelling the wait leaves calls alone."""
        if self.mode != "sse" and self._missing > 0:
            self._decided = asyncio.get_running_loop().create_future()
            await self._decided

    def _begin(self) -> None:
        self.mode = "sse"
        self.stream = self._streams.open(self._session, self._request_ids)
        for payload in self.payloads:
            self.stream.append("response", payload)
        self.payloads.clear()
        self._decide()

    def _decide(self) -> None:
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(None)


class Patience:
    """Looks after all pending exchanges with one timer: the oldest is due first.

    An exchange that is decided is let go at once. Kept until it is due, each would outlive the young
    generations of the garbage collector, which then has to look for it among everything.
    """

    def __init__(self, after: float = STREAM_AFTER) -> None:
        self._after = after
        self._waiting: dict[Exchange, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, exchange: Exchange) -> None:
        """Let it become a stream when it is old enough."""
        self._waiting[exchange] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._after, self._look)

    def forget(self, exchange: Exchange) -> None:
        """It is decided."""
        self._waiting.pop(exchange, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() - self._after
        for exchange in list(takewhile(lambda waiting: waiting.started <= due, self._waiting)):
            del self._waiting[exchange]
            exchange.grow_old()
        oldest = next(iter(self._waiting), None)
        self._timer = loop.call_at(oldest.started + self._after, self._look) if oldest else None
