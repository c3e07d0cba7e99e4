"""Running calls: each in a task of its own, apart from the HTTP exchange that began it.

    POST  --->  Call (task)  --->  kernel, handler
      |           |
      `- viewer <-'   the exchange waits for the outcome; a client that goes away detaches the
                      viewer, and the call goes on (in this era a lost connection is no cancellation)

A call ends by itself, by `notifications/cancelled`, with its session, or at the server's stop. It is
counted as its session's traffic until then. Ids compare with their type: 1 is not "1".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final, Literal

from ..protocol.messages import Error, RequestId, encode, error_of, internal_error, is_request_id

_log = logging.getLogger(__name__)

Cause = Literal["client", "session", "stop"]
"""Who ended a call before it was done: the client's cancellation, its session's end, the server's stop."""

REQUEST_CANCELLED: Final = -32800
"""What answers a call that its client cancelled, so that the open exchange ends (the SDK's choice too)."""

_ENDED: Final[dict[Cause, Error]] = {
    "client": Error(REQUEST_CANCELLED, "The client cancelled this request."),
    "session": Error(REQUEST_CANCELLED, "The session ended while this call ran."),
    "stop": Error(internal_error().code, "The server stopped while this call ran; it may be repeated."),
}


class DuplicateId(Exception):
    """The session already has a running call with this id."""


class Call:
    """One running call; its outcome is the encoded response. `cause` says who ended it early, if anybody."""

    __slots__ = ("cause", "key", "outcome", "session_id", "started", "task", "viewers")

    def __init__(self, session_id: str | None, request_id: RequestId) -> None:
        self.session_id = session_id
        self.key = (type(request_id), request_id)
        self.cause: Cause | None = None
        self.outcome = b""
        self.started = False
        self.task: asyncio.Task[None] | None = None
        self.viewers: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        state = "done" if self.outcome else "running"
        return f"<Call {self.key[1]!r} of {self.session_id} {state} cause={self.cause}>"

    async def wait(self) -> bytes:
        """The call's response. Cancelling the wait leaves the call alone."""
        if not self.outcome:
            viewer = asyncio.get_running_loop().create_future()
            self.viewers.append(viewer)
            await viewer
        return self.outcome

    def stop(self, cause: Cause) -> None:
        """End the call early; the first cause counts. One that has not begun never does."""
        if self.cause is None and not self.outcome:
            self.cause = cause
            if self.started and self.task is not None:
                self.task.cancel()
            self.finish(encode(error_of(self.key[1], _ENDED[cause])))  # a handler may be slow to let go

    def finish(self, outcome: bytes) -> None:
        """Set the response and let every viewer have it; the first one counts."""
        self.outcome = self.outcome or outcome
        for viewer in self.viewers:
            if not viewer.done():
                viewer.set_result(None)
        self.viewers.clear()


class Calls:
    """The table of running calls of this node, and the owner of their tasks."""

    def __init__(self) -> None:
        self._by_session: dict[str | None, dict[tuple[type, RequestId], Call]] = {}
        self._all: set[Call] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._loose: set[asyncio.Task[None]] = set()
        self.served = 0

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<Calls running={len(self._all)} served={self.served}>"

    def start(self, session_id: str | None, request_id: RequestId, work: Coroutine[Any, Any, bytes]) -> Call:
        """Run `work` as a call of a session (None: of none, where ids may repeat).

        Raises:
            DuplicateId: that id is in flight in this session; `work` is closed unrun.
        """
        call = Call(session_id, request_id)
        if session_id is not None:
            running = self._by_session.setdefault(session_id, {})
            if call.key in running:
                work.close()
                raise DuplicateId
            running[call.key] = call
        self._all.add(call)
        self._idle.clear()
        call.task = asyncio.create_task(self._run(call, work), name=f"call-{request_id}")
        return call

    def runs(self, session_id: str, request_id: RequestId) -> bool:
        """Whether that request of a session is in flight."""
        return (type(request_id), request_id) in self._by_session.get(session_id, {})

    def busy(self, session_id: str) -> bool:
        """Whether a session has a running call."""
        return session_id in self._by_session

    def cancel(self, session_id: str, request_id: Any) -> bool:
        """The client cancels one of its calls; an unknown or finished one is left alone."""
        if not is_request_id(request_id):
            return False
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        cut = list(self._all)
        for call in cut:
            call.stop("stop")
        tasks = [call.task for call in cut if call.task is not None]
        for loose in self._loose:
            loose.cancel()
        if tasks or self._loose:
            await asyncio.wait([*tasks, *self._loose], timeout=1.0)
        return running - len(cut), len(cut)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something that nobody waits for, such as a notification's handler."""
        task = asyncio.create_task(work, name=name)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    async def _run(self, call: Call, work: Coroutine[Any, Any, bytes]) -> None:
        call.started = True
        outcome = b""
        try:
            if call.cause is None:
                outcome = await work
        except asyncio.CancelledError:
            if call.cause is None:
                raise
        except Exception:
            _log.exception("a call failed outside of its handler")
        finally:
            work.close()
            self._forget(call)
            call.finish(outcome or encode(error_of(call.key[1], internal_error())))

    def _forget(self, call: Call) -> None:
        self._all.discard(call)
        self.served += 1
        running = self._by_session.get(call.session_id, {})
        if running.pop(call.key, None) is not None and not running:
            del self._by_session[call.session_id]
        if not self._all:
            self._idle.set()
