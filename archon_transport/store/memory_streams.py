"""Streams and questions in dictionaries: the same port as in Postgres, for one process.

A process that ends takes all of it along, so a resumed call finds nothing here after a restart; what this
log is for is a connection that breaks. Closed streams are forgotten early where they are many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from ..protocol.messages import RequestId
from ..sessions.record import Owner
from ..sessions.streams import Append, Attached, Event, Incarnation, Key, Question, Run, Wakes
from .events import CALL_BYTES, EVENT_BYTES, STANDING_BYTES, VIEWED_WITHIN, kept
from .wakeups import call

DONE: Final = 1_000
DONE_BYTES: Final = 16 * 1024 * 1024
"""Closed streams beyond either are forgotten before their time, the oldest first.

A broken connection comes back within seconds; more than that would only be work for the garbage collector.
"""


@dataclass(slots=True)
class _Log:
    kind: Literal["call", "standing"]
    incarnation: str | None
    viewer: str
    viewer_epoch: int = 1
    epoch: int = 1
    tail: int = 0
    size: int = 0
    closed_at: datetime | None = None
    detached_at: datetime | None = None
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.tail = event.n
        stored = kept(event)
        if stored is not None:
            self.events.append(stored)
            self.size += len(stored.data)

    def trim(self, limit: int) -> None:
        """Lose the oldest notifications where it is larger than `limit`."""
        if self.size <= limit:
            return
        events, from_here = [], 0
        for event in reversed(self.events):
            from_here += len(event.data)
            if event.kind != "notification" or from_here <= limit * 3 // 4:
                events.append(event)
        self.events = events[::-1]
        self.size = sum(len(event.data) for event in events)

    def found(self) -> Attached:
        closed = self.closed_at is not None
        return Attached(self.epoch, self.tail, closed, self.incarnation, self.viewer_epoch)


@dataclass(slots=True)
class _Asked:
    stream_id: str
    incarnation: str
    owner: Owner
    deadline: datetime
    answer: bytes | None = None
    progress: bytes | None = None
    withdrawn: bool = False


@dataclass(slots=True)
class _Process:
    incarnation: Incarnation
    wakes: Wakes
    heard_at: datetime


class MemoryStreams:
    """The streams' port; whoever has to look is called before the method returns."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._me = ""
        self._living: dict[str, _Process] = {}
        self._logs: dict[Key, _Log] = {}
        self._standing: dict[str, str] = {}
        self._done: deque[Key] = deque()
        self._done_bytes = 0
        self._asked: dict[Key, _Asked] = {}
        self._uris: dict[str, set[str]] = {}
        self._listeners: dict[object, Callable[[str], None]] = {}

    async def begin(self, incarnation: Incarnation, wakes: Wakes) -> None:
        """Make an incarnation known and its wakes callable."""
        self._me = incarnation.incarnation
        self._living[self._me] = _Process(incarnation, wakes, self._clock())

    async def beat(self, incarnation: str) -> bool:
        """Say that it lives; False where it has been declared dead."""
        process = self._living.get(incarnation)
        if process is not None:
            process.heard_at = self._clock()
        return process is not None

    async def suspects(self, silent: float) -> list[tuple[Incarnation, bool]]:
        """The other incarnations not yet declared dead, and whether each was silent for so many seconds."""
        since = self._clock() - timedelta(seconds=silent)
        return [(p.incarnation, p.heard_at < since) for name, p in self._living.items() if name != self._me]

    async def bury(self, incarnation: str) -> bool:
        """Declare an incarnation dead; False where somebody else has."""
        if self._living.pop(incarnation, None) is None:
            return False
        for key in self._standing.items():
            log = self._logs[key]
            if log.viewer == incarnation and log.detached_at is None:
                log.detached_at = self._clock()
        return True

    async def orphans(self, at_most: int) -> list[Key]:
        """Open call streams of the dead."""
        return [key for key, log in self._logs.items() if self._is_orphan(log)][:at_most]

    def _is_orphan(self, log: _Log) -> bool:
        return log.kind == "call" and log.closed_at is None and log.incarnation not in self._living

    async def repair(self, key: Key, data: bytes) -> bool:
        """End a dead one's stream with an error response under the next epoch; its questions fail."""
        log = self._logs.get(key)
        if log is None or not self._is_orphan(log):
            return False
        log.epoch += 1
        log.add(Event(log.epoch, 1, "response", data))
        for (session_id, _), asked in self._asked.items():
            if session_id == key[0] and asked.stream_id == key[1] and asked.answer is None:
                asked.withdrawn = True
        self._close(key, log)
        self._wake(log.viewer, "stream", key)
        return True

    async def append(self, appends: Sequence[Append], *, incarnation: str) -> dict[Key, str | None]:
        """Keep a batch; for each stream that took it, the living incarnation that views it now."""
        if incarnation not in self._living:
            return {}
        viewers: dict[Key, str | None] = {}
        for append in appends:
            key = (append.session_id, append.stream_id)
            log = self._logs.get(key)
            if log is None and append.opens:
                log = self._logs[key] = _Log("call", incarnation, incarnation)
            if log is None or not self._take(key, log, append, incarnation):
                continue
            viewers[key] = log.viewer if log.viewer in self._living else None
            if log.viewer != incarnation:
                self._wake(log.viewer, "stream", key)
        return viewers

    def _take(self, key: Key, log: _Log, append: Append, incarnation: str) -> bool:
        new = [event for event in append.events if event.n > log.tail]
        if log.incarnation != incarnation or log.epoch != 1 or (log.closed_at is not None and new):
            return False
        for event in new:
            log.add(event)
        log.trim(CALL_BYTES)
        for question in append.questions:
            self._ask(key, question, incarnation)
        if append.closes and log.closed_at is None:
            self._close(key, log)
        return True

    def _ask(self, key: Key, question: Question, incarnation: str) -> None:
        deadline = self._clock() + timedelta(seconds=min(question.seconds, 1e8))
        asked = _Asked(key[1], incarnation, question.owner or (None, None, None), deadline)
        self._asked.setdefault((key[0], question.question_id), asked)

    def _close(self, key: Key, log: _Log) -> None:
        log.closed_at = self._clock()
        self._done.append(key)
        self._done_bytes += log.size
        while len(self._done) > DONE or self._done_bytes > DONE_BYTES:
            self._forget()

    def _forget(self) -> None:
        self._done_bytes -= self._logs.pop(self._done.popleft()).size

    def _wake(self, incarnation: str, what: Literal["stream", "answered"], key: Key) -> None:
        process = self._living.get(incarnation)
        if process is not None:
            call(getattr(process.wakes, what), *key)

    async def attach(self, key: Key, *, incarnation: str) -> Attached | None:
        """Become a stream's viewer, the newest wins; None where it is forgotten."""
        log = self._logs.get(key)
        if log is None:
            return None
        if log.viewer != incarnation:
            self._wake(log.viewer, "stream", key)
        log.viewer, log.viewer_epoch, log.detached_at = incarnation, log.viewer_epoch + 1, None
        return log.found()

    async def stand(self, session_id: str, stream_id: str, *, incarnation: str) -> tuple[str, Attached]:
        """View the session's standing stream, made under `stream_id` where there is none yet."""
        stream_id = self._standing.setdefault(session_id, stream_id)
        attached = await self.attach((session_id, stream_id), incarnation=incarnation)
        if attached is None:
            log = self._logs[session_id, stream_id] = _Log("standing", None, incarnation)
            attached = log.found()
        return stream_id, attached

    async def detach(self, key: Key, *, incarnation: str, viewer_epoch: int | None = None) -> None:
        """A standing stream's viewer has left, where no newer one has come."""
        log = self._logs.get(key)
        if log is None or log.kind != "standing" or log.viewer != incarnation or log.detached_at is not None:
            return
        if viewer_epoch in (None, log.viewer_epoch):
            log.detached_at = self._clock()

    async def grown(self, places: Sequence[tuple[Key, int, int]], *, incarnation: str) -> dict[Key, bool]:
        """Those followed streams that have more or have ended; True where another incarnation views it."""
        grown = {}
        for key, epoch, n in places:
            log = self._logs.get(key)
            taken = log is None or log.viewer != incarnation
            if log is None or taken or log.closed_at is not None or (log.epoch, log.tail) > (epoch, n):
                grown[key] = taken
        return grown

    async def read(self, key: Key, after: tuple[int, int], *, at_most: int = 100) -> tuple[list[Event], bool]:
        """The events behind a place, oldest first, and whether they are the last of a closed stream."""
        log = self._logs.get(key)
        if log is None:
            return [], True
        start = bisect_right(log.events, after, key=lambda event: (event.epoch, event.n))
        events = log.events[start : start + at_most]
        return events, log.closed_at is not None and start + len(events) == len(log.events)

    async def publish(
        self,
        data: bytes,
        *,
        session_id: str | None = None,
        uri: str | None = None,
        question: Question | None = None,
        bus: str | None = None,
        incarnation: str = "",
    ) -> int:
        """Append one notification to standing streams that are, or lately were, viewed; how many took it."""
        kept_too = question is not None or len(data) <= EVENT_BYTES
        chosen = self._chosen(session_id, uri) if kept_too else []
        for key in chosen:
            log = self._logs[key]
            log.add(Event(log.epoch, log.tail + 1, "question" if question else "notification", data))
            log.trim(STANDING_BYTES)
            if question is not None:
                self._ask(key, question, incarnation)
            self._wake(log.viewer, "stream", key)
        if bus is not None:
            for listener in list(self._listeners.values()):
                call(listener, bus)
        return len(chosen)

    def _chosen(self, session_id: str | None, uri: str | None) -> list[Key]:
        since = self._clock() - timedelta(seconds=VIEWED_WITHIN)
        sessions = self._standing if session_id is None else [session_id]
        keys = [(name, self._standing[name]) for name in sessions if name in self._standing]
        if uri is not None:
            keys = [key for key in keys if uri in self._uris.get(key[0], ())]
        return [key for key in keys if (self._logs[key].detached_at or self._clock()) > since]

    def hear(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with every `bus` text; returns how to stop."""
        token = object()
        self._listeners[token] = listener

        def stop() -> None:
            self._listeners.pop(token, None)

        return stop

    async def answer(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Give a question its one answer and wake whoever asked; False where it takes none."""
        return self._reply("answer", key, owner, payload)

    async def progress(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Note the client's progress on a question and wake whoever asked."""
        return self._reply("progress", key, owner, payload)

    def _reply(self, what: str, key: Key, owner: Owner | None, payload: bytes) -> bool:
        asked = self._asked.get(key)
        if asked is None or asked.owner != (owner or (None, None, None)):
            return False
        if asked.answer is not None or asked.withdrawn or asked.deadline <= self._clock():
            return False
        setattr(asked, what, payload)
        self._wake(asked.incarnation, "answered", key)
        return True

    async def answers(self, keys: Sequence[Key]) -> dict[Key, tuple[bytes | None, bytes | None]]:
        """(answer, progress) of those questions that have either."""
        asked = {key: self._asked[key] for key in keys if key in self._asked}
        found = {key: (each.answer, each.progress) for key, each in asked.items()}
        return {key: both for key, both in found.items() if both != (None, None)}

    async def withdraw(self, key: Key) -> bool:
        """Nobody waits for an answer any more; False where one has come."""
        asked = self._asked.get(key)
        if asked is not None and asked.answer is None:
            asked.withdrawn = True
        return asked is None or asked.answer is None

    async def subscribe_uri(self, session_id: str, uri: str, wanted: bool) -> None:
        """Note a session's subscription to a resource, or its end."""
        uris = self._uris.setdefault(session_id, set())
        (uris.add if wanted else uris.discard)(uri)

    async def cancel(self, session_id: str, request_id: RequestId) -> None:
        """Nothing: a call that this process does not run is run by nobody."""

    async def cancelled(self, running: Sequence[Run]) -> list[Run]:
        """None, for the same reason."""
        return []

    def _changed(self, session_id: str) -> None:
        for process in list(self._living.values()):
            call(process.wakes.changed, session_id)

    async def purge(self, older_than: float, at_most: int = 1000) -> int:
        """Forget streams closed or left for so many seconds, and questions whose time was up as long ago."""
        bound = self._clock() - timedelta(seconds=older_than)
        purged = 0
        while purged < at_most and self._done and (self._logs[self._done[0]].closed_at or bound) < bound:
            self._forget()
            purged += 1
        for key in list(self._standing.items()):
            if purged < at_most and (self._logs[key].detached_at or bound) < bound:
                del self._logs[key], self._standing[key[0]]
                purged += 1
        for question in [key for key, asked in self._asked.items() if asked.deadline < bound][:at_most]:
            del self._asked[question]
        return purged
