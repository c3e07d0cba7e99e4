"""Running calls: each in a task of its own, apart from the HTTP exchange that began it.

What outlives what:

    HTTP exchange   [===]                      ends when it is answered, or when the client leaves
    call (task)     [=====================]    ends by itself, or early for one of three causes
    its response          [===============|==================>   in the stream's rows, if it streams

    POST ---> Exchange ---> Call (task) ---> kernel, handler
                 ^             |
                 `-- answer ---'

A client that goes away takes only the exchange with it: in this era a lost connection is no cancellation.
A call ends early by `notifications/cancelled`, with its session, or at the server's stop; it then gets an
error for an answer, so that whoever waits, here or on a stream resumed later, waits for no ghost. It is
counted as its session's traffic until then. Ids compare with their type: 1 is not "1".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal
from uuid import UUID

from aiohttp import web

from ..protocol.messages import Error, Outcome, RequestId, encode, error_of, internal_error, is_request_id
from ..sessions.streams import Run
from .exchanges import Exchange
from .standing import taken_back

_log = logging.getLogger(__name__)

Cause = Literal["client", "session", "stop"]
"""Who ended a call before it was done: the client's cancellation, its session's end, the server's stop."""

Answer = tuple[Outcome, bytes]
"""An outcome, and the payload that says it."""

REQUEST_CANCELLED: Final = -32800
"""What answers a call that its client cancelled, so that the open exchange ends (the SDK's choice too)."""

LOST: Final = Error(
    internal_error().code,
    "The server restarted while this call ran; it may be repeated.",
    {"retryable": True},
)
"""What answers a call whose process is gone; nobody knows how far it came."""

LOOK: Final = 0.25
"""Seconds between two looks for clients that left."""

LAST_WORDS: Final = 0.5
"""Seconds that a call which was told to stop has for its clean-up before nobody waits for it."""

_ENDED: Final[dict[Cause, Error]] = {
    "client": Error(REQUEST_CANCELLED, "The client cancelled this request."),
    "session": Error(REQUEST_CANCELLED, "The session ended while this call ran."),
    "stop": Error(
        internal_error().code,
        "The server stopped while this call ran; it may be repeated.",
        {"retryable": True},
    ),
}


class Call:
    """One running call. `cause` says who ended it early, `asked` which of its questions wait.

    Its work gives an outcome and the payload that says it; `note(outcome, size, call)` hears what came of it,
    for the row with the id `row_id`.
    """

    __slots__ = (
        "_on_done",
        "_started",
        "_task",
        "asked",
        "cause",
        "done",
        "exchange",
        "key",
        "note",
        "row_id",
        "session_id",
    )

    def __init__(self, session_id: str | None, request_id: RequestId, exchange: Exchange) -> None:
        self.session_id = session_id
        self.key = (type(request_id), request_id)
        self.exchange = exchange
        self.cause: Cause | None = None
        self.asked: set[str] = set()
        self.done = False
        self.note: Callable[[Outcome, int, Call], None] = lambda outcome, size, call: None
        self.row_id: UUID | None = None
        self._on_done: Callable[[Call], None] = lambda call: None
        self._started = False
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Call {self.key[1]!r} of {self.session_id} done={self.done} cause={self.cause}>"

    def start(self, work: Coroutine[Any, Any, Answer], on_done: Callable[[Call], None]) -> None:
        """Begin to run in a task of its own."""
        self._on_done = on_done
        self._task = asyncio.create_task(self._run(work), name="call")

    def stop(self, cause: Cause) -> None:
        """End the call early: it is answered at once, however slow its handler is to let go."""
        if self.done:
            return
        self.cause = cause
        for question_id in self.asked:  # on the stream on which it was asked, before that ends
            self.exchange.emit("notification", taken_back(question_id, "the request that asked has ended"))
        self.exchange.cut = self.exchange.cut or cause == "session"
        self._fail(_ENDED[cause])
        if self._started and self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until the task has ended, however."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self, work: Coroutine[Any, Any, Answer]) -> None:
        self._started = True
        answer: Answer | None = None
        try:
            if self.cause is None:
                answer = await work
        except asyncio.CancelledError:
            if self.cause is None:
                raise
        except Exception:
            _log.exception("a call failed outside of its handler")
        finally:
            work.close()
            self._task = None  # its context leads back here: a cycle that only the collector would free
            self._on_done(self)
            self._finish(answer) if answer is not None else self._fail(internal_error())

    def _fail(self, error: Error) -> None:
        self._finish((error, encode(error_of(self.key[1], error, row_id=self.row_id))))

    def _finish(self, answer: Answer) -> None:
        """The first response counts; what a handler still does after an early end is dropped."""
        if not self.done:
            self.done = True
            self.exchange.answer(answer[1])
            self.note(answer[0], len(answer[1]), self)


class Calls:
    """The table of running calls of this node, and the owner of their tasks."""

    def __init__(self) -> None:
        self._by_session: dict[str | None, dict[tuple[type, RequestId], Call]] = {}
        self._all: set[Call] = set()
        self._loose: set[asyncio.Task[None]] = set()
        self.served = 0

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<Calls running={len(self._all)} served={self.served}>"

    def start(
        self,
        session_id: str | None,
        request_id: RequestId,
        exchange: Exchange,
        work: Callable[[Call], Coroutine[Any, Any, Answer]],
    ) -> Call:
        """Run `work` as a call of a session (None: of none, where ids may repeat)."""
        call = Call(session_id, request_id, exchange)
        if session_id is not None:
            self._by_session.setdefault(session_id, {})[call.key] = call
        self._all.add(call)
        call.start(work(call), self._forget)
        return call

    def runs(self, session_id: str, request_id: RequestId) -> bool:
        """Whether that request of a session is in flight."""
        return (type(request_id), request_id) in self._by_session.get(session_id, {})

    def busy(self, session_id: str) -> bool:
        """Whether a session has a running call."""
        return session_id in self._by_session

    def running(self) -> list[Run]:
        """The calls that belong to a session."""
        now = asyncio.get_running_loop().time()
        return [(c.session_id, c.key[1], now - c.exchange.started) for c in self._all if c.session_id]

    def cancel(self, session_id: str, request_id: Any) -> bool:
        """The client cancels one of its calls; False where that is not here, and may run at another node."""
        if not is_request_id(request_id):
            return True
        call = self._by_session.get(session_id, {}).get((type(request_id), request_id))
        if call is None:
            return False
        call.stop("client")
        return True

    def end_session(self, session_id: str) -> None:
        """The session ended: cancel what runs for it."""
        for call in list(self._by_session.get(session_id, {}).values()):
            call.stop("session")

    async def drain(self, seconds: float) -> tuple[int, int]:
        """Let calls finish for so long, then end the rest. Returns how many did, and did not."""
        running = len(self._all)
        await self._ended(seconds)
        cut = list(self._all)
        for call in cut:
            call.stop("stop")
        for loose in self._loose:
            loose.cancel()
        await self._ended(LAST_WORDS)
        return running - len(cut), len(cut)

    async def _ended(self, seconds: float) -> None:
        """Wait until no call runs, for at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._all:
                    await asyncio.gather(*(call.ended() for call in self._all))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something that nobody waits for, such as a notification's handler."""
        task = asyncio.create_task(work, name=name)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    def _forget(self, call: Call) -> None:
        self._all.discard(call)
        self.served += 1
        running = self._by_session.get(call.session_id, {})
        if running.pop(call.key, None) is not None and not running:
            del self._by_session[call.session_id]


class Absences:
    """Cancels the calls of clients that left, where leaving is a cancellation (2026-07-28, Cancellation).

    aiohttp tells nobody that a client has left; its request has no transport then. One timer looks.
    """

    def __init__(self) -> None:
        self._present: dict[Call, web.Request] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, http: web.Request, call: Call) -> None:
        """Cancel the call should its client leave."""
        self._present[call] = http
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self._look)

    def forget(self, call: Call) -> None:
        """It is answered, or its response has ended."""
        self._present.pop(call, None)

    def _look(self) -> None:
        for call, http in list(self._present.items()):
            if call.done or http.transport is None:
                self.forget(call)
                call.stop("client")
        self._timer = asyncio.get_running_loop().call_later(LOOK, self._look) if self._present else None
