"""Streams: what a call says, in order, and the log that outlives whoever listens.

What outlives what:

    stream's rows     ==========================================>   an hour after the end (purged)
    the call          [======= task on one node ======]             until it is done
    Stream, in memory [================================]            until closed and committed
    HTTP response        [== POST ==]     [== GET ==] [= GET =]     a viewer; the newest one wins

A stream is a log and an HTTP response is a viewer of it. The call appends; nobody asks whether anyone
listens. A viewer knows one place (epoch, n) and takes what stands behind it: from memory where the call
runs on this node, else from the rows. So the POST that began a stream, a GET that resumes it here, and a
GET that resumes it on another node after a crash are one loop with different sources.

What must be committed before it is sent: the stream's row (else its ids would lead nowhere), a question
(else its answer would find nobody) and a response (else a crash or a fence would give the call a second
one). Notifications go to the viewer at once and to the log within `FLUSH` seconds; a crash can lose the
last of them, and the repair then says so in the call's error. While the database is away responses do not
wait for it.

Every append is fenced by the incarnation. A process that was frozen, declared dead and thawed is told
"no" by its next commit: it drops the result and ends the viewer, since the client has been told already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..protocol.messages import RequestId
from ..protocol.sse import name_stream
from ..sessions import Session, StoreUnavailable
from ..sessions.streams import Append, Event, EventKind, EventLog, Key, Question

_log = logging.getLogger(__name__)

FLUSH: Final = 0.05
"""Seconds within which what was sent is in the log."""

KEPT: Final = 256
"""Committed events a stream keeps in memory for its viewer; one that is further behind reads the rows."""

PRESSURE: Final = 1024 * 1024
"""Uncommitted bytes beyond which a handler that emits waits for the log."""

REFUSALS: Final = 40
"""Times that the log offers a stream anew which it could not open, while its process becomes another one."""

FIRST: Final = 1
"""The epoch of a stream that has not been repaired."""


@dataclass(slots=True, eq=False)
class Stream:
    """One open stream of a call on this node: events in order, of which the viewer may have `visible`.

    `opened` says that its events may be sent, `filed` that its row is known to be committed.
    """

    key: Key
    _log: Log | None
    opened: bool = field(init=False)
    resumable: bool = field(init=False)
    filed: bool = False
    refusals: int = 0
    closed: bool = False
    fenced: bool = False
    tail: int = 0
    stored: int = 0
    pressure: int = 0
    held: deque[Event] = field(default_factory=deque)
    _recent: deque[Event] = field(default_factory=deque)
    _pending: list[Event] = field(default_factory=list)
    _questions: list[Question] = field(default_factory=list)
    on_change: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.opened, self.resumable = not self.logged, self.logged

    @property
    def logged(self) -> bool:
        """Whether it is kept: one without a log is viewed once."""
        return self._log is not None

    def __repr__(self) -> str:
        return f"<Stream {self.key[1][:13]} tail={self.tail} stored={self.stored} closed={self.closed}>"

    def append(
        self, kind: EventKind, data: bytes, *, question: Question | None = None, closes: bool = False
    ) -> None:
        """Say something. A notification is visible at once, the rest when it is committed."""
        if self.closed:
            return
        self.tail += 1
        event = Event(FIRST, self.tail, kind, data)
        self._recent.append(event)
        self.closed = closes
        if closes and self._questions:
            self._drop_questions()
        self.pressure += len(data)
        if self._log is not None:
            self._pending.append(event)
            if question is not None:
                self._questions.append(question)
            if kind != "notification":
                self.held.append(event)
            self._log.wake(self, urgent=kind != "notification" or not self.opened)
        self.on_change()

    def _drop_questions(self) -> None:
        """The call is answered: what it asked and the log did not take stands in the way of the answer."""
        for held in [event for event in self.held if event.kind == "question" and event in self._pending]:
            self.held.remove(held)
            self._pending.remove(held)
            self._recent.remove(held)
        self._questions.clear()

    def after(self, n: int) -> list[Event] | None:
        """The visible events behind place `n`; None where memory no longer has them."""
        if not self.logged:  # what the viewer has is not needed again
            while self._recent and self._recent[0].n <= n:
                self.pressure -= len(self._recent.popleft().data)
        if self._recent and self._recent[0].n > n + 1:
            return None
        visible = self.visible
        return [event for event in self._recent if n < event.n <= visible]

    @property
    def visible(self) -> int:
        """The last event that may be sent."""
        if not self.opened or self.fenced:
            return 0
        return self.held[0].n - 1 if self.held else self.tail

    def is_last(self, n: int) -> bool:
        """Whether nothing can follow place `n`."""
        return self.fenced or (self.closed and n >= self.tail)

    def take(self) -> Append:
        """What is not committed yet, for the log."""
        append = Append(*self.key, opens=not self.filed, closes=self.closed)
        append.events, self._pending = self._pending, []
        append.questions, self._questions = self._questions, []
        return append

    def put_back(self, append: Append) -> None:
        """The log could not commit it yet."""
        self._pending = append.events + self._pending
        self._questions = append.questions + self._questions

    def go_on(self) -> None:
        """The log is away: a call is not held up by that. Where its row is not known it has no ids then."""
        if not self.opened:
            self.opened, self.resumable = True, False
        self.held = deque(event for event in self.held if event.kind == "question")
        self.on_change()

    def refused(self, append: Append) -> None:
        """The log would not take it; a stream without a row may yet be opened by a newer incarnation."""
        self.refusals += 1
        if self.filed or self.refusals > REFUSALS:
            self.fence()
        elif not self.fenced:
            self.put_back(append)

    def committed(self, append: Append) -> None:
        """The log has it: what waited for that is visible, and memory need not keep it all."""
        self.opened = self.filed = True
        if append.events:
            self.stored = append.events[-1].n
            self.pressure -= sum(len(event.data) for event in append.events)
        while self.held and self.held[0].n <= self.stored:
            self.held.popleft()
        while len(self._recent) > KEPT and self._recent[0].n <= self.stored:
            self._recent.popleft()
        self.on_change()

    def fence(self) -> None:
        """This incarnation was declared dead: the client has its error from elsewhere."""
        self.fenced = self.closed = self.opened = True
        self._pending.clear()
        self.on_change()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to commit, its row among it."""
        return self.opened and not self._pending


class Log:
    """Commits what streams say: at once where somebody must wait for it, else within `FLUSH` seconds."""

    def __init__(
        self,
        store: EventLog,
        incarnation: Callable[[], str],
        *,
        on_settled: Callable[[Stream], None],
        on_fenced: Callable[[], None],
    ) -> None:
        self._store = store
        self._incarnation = incarnation
        self._on_settled = on_settled
        self._on_fenced = on_fenced
        self._dirty: dict[Key, Stream] = {}
        self._flushing = False
        self._something = asyncio.Event()
        self._urgent = asyncio.Event()
        self._flushed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="stream-log")

    async def stop(self) -> None:
        """Commit what is left, for a moment, and end."""
        if self._task is None:
            return
        await self.settled(3.0)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def settled(self, seconds: float) -> None:
        """Wait until everything said so far is committed, for at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while self._dirty or self._flushing:
                    await self.flushed()
        except TimeoutError:
            _log.warning("%d streams could not be committed in time", len(self._dirty))

    def wake(self, stream: Stream, *, urgent: bool) -> None:
        """A stream has something to commit."""
        self._dirty[stream.key] = stream
        self._something.set()
        if urgent:
            self._urgent.set()

    async def flushed(self) -> None:
        """Wait for the end of the next commit."""
        self._something.set()
        self._urgent.set()
        await self._flushed.wait()

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            if not self._urgent.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH):
                        await self._urgent.wait()
            self._something.clear()
            self._urgent.clear()
            try:
                await self._flush()
            except Exception as error:
                if not isinstance(error, StoreUnavailable):
                    _log.exception("streams could not be committed; it is tried again")
                self._something.set()
                await asyncio.sleep(FLUSH)

    async def _flush(self) -> None:
        streams, self._dirty = self._dirty, {}
        self._flushing = True
        batch = [(stream, stream.take()) for stream in streams.values()]
        try:
            viewers = await self._store.append([a for _, a in batch], incarnation=self._incarnation())
        except BaseException:
            for stream, append in batch:
                stream.put_back(append)
                stream.go_on()
                self._dirty.setdefault(stream.key, stream)
            raise
        finally:
            self._flushing = False
            self._flushed.set()
            self._flushed = asyncio.Event()
        for stream, append in batch:
            if stream.key in viewers:
                stream.committed(append)
            else:
                stream.refused(append)
            if not stream.is_settled:
                self.wake(stream, urgent=False)
            elif stream.closed:
                self._on_settled(stream)
        if len(viewers) < len(batch):
            self._on_fenced()


class Streams:
    """The open streams of this node."""

    def __init__(
        self, store: EventLog, incarnation: Callable[[], str], on_fenced: Callable[[], None]
    ) -> None:
        self._open: dict[Key, Stream] = {}
        self.log = Log(store, incarnation, on_settled=self._forget, on_fenced=on_fenced)

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        return f"<Streams open={len(self._open)}>"

    def open(self, session: Session | None, request_ids: Sequence[RequestId]) -> Stream:
        """A new stream; one without a session is viewed once, never logged and never resumed."""
        if session is None:
            return Stream(("", secrets.token_urlsafe(9)), None)
        name = name_stream("call", request_ids, secrets.token_bytes(9), session.secret_digest)
        stream = Stream((session.session_id, name), self.log)
        self._open[stream.key] = stream
        self.log.wake(stream, urgent=True)  # its first id waits for the row, even where nothing is said yet
        return stream

    def find(self, key: Key) -> Stream | None:
        """The stream, where it is open on this node."""
        return self._open.get(key)

    def fence(self) -> None:
        """This process was declared dead and goes on as another: what it had in the log is another's."""
        for stream in [stream for stream in self._open.values() if stream.filed]:
            stream.fence()
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._open.pop(stream.key, None)
