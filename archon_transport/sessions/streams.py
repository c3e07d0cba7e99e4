"""What streams and questions need of a store: the log behind every viewer.

A stream belongs to a session and is appended to by one incarnation of one node (a call's), or by any
(the session's standing one). Every append is fenced: an incarnation that was declared dead meanwhile
changes nothing and is told so. A wake-up only ever says "look"; what is true stands in the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..protocol.messages import RequestId
from .record import Owner

EventKind = Literal["notification", "question", "response"]
Key = tuple[str, str]
"""(session id, stream id) or (session id, question id)."""

Run = tuple[str, RequestId, float]
"""A call that runs: (session id, request id, for how many seconds)."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: its place and one JSON-RPC message."""

    epoch: int
    n: int
    kind: EventKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """A request of the server to the client, as it is committed before it is sent."""

    question_id: str
    method: str
    owner: Owner | None
    seconds: float


@dataclass(slots=True)
class Append:
    """What one flush adds to one call's stream; `opens` where its row is not known to be committed."""

    session_id: str
    stream_id: str
    opens: bool
    closes: bool = False
    events: list[Event] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Attached:
    """A stream as its new viewer finds it; `viewer_epoch` tells this viewer from every other."""

    epoch: int
    tail: int
    closed: bool
    incarnation: str | None
    viewer_epoch: int


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One start of one process, as others can tell whether it still runs.

    `boot_id` and `namespace` say where `pid` and `started` (the process's start time, in clock ticks
    after boot) mean anything; elsewhere only the heartbeat counts.
    """

    incarnation: str
    node: str
    boot_id: str
    namespace: str
    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Wakes:
    """Who is called when a row may have changed; all of them only mean "look".

    `stream(session_id, stream_id)`: a stream that this incarnation views has grown, ended or got another
    viewer. `answered(session_id, question_id)`: a question of this incarnation has its answer, or progress.
    `changed(session_id)`: a session's row has changed (its log level, say) and must be read again.
    `cancelled(session_id)`: the client cancelled a call of a session, at a node that does not run it.
    """

    stream: Callable[[str, str], None]
    answered: Callable[[str, str], None]
    changed: Callable[[str], None]
    cancelled: Callable[[str], None]


class EventLog(Protocol):
    """What a call's stream needs of a log. It may raise `StoreUnavailable`."""

    async def append(self, appends: Sequence[Append], *, incarnation: str) -> dict[Key, str | None]:
        """Commit a batch; for each stream that took it, the incarnation that views it now.

        A stream that is missing from the answer refused: it is closed, or the incarnation is dead.
        """


class StreamStore(EventLog, Protocol):
    """The log. Any method may raise `StoreUnavailable`."""

    async def begin(self, incarnation: Incarnation, wakes: Wakes) -> None:
        """Make an incarnation known and listen for its wake-ups."""

    async def beat(self, incarnation: str) -> bool:
        """Say that it lives; False where it has been declared dead."""

    async def suspects(self, silent: float) -> list[tuple[Incarnation, bool]]:
        """The other incarnations not yet declared dead, and whether each was silent for so many seconds."""

    async def bury(self, incarnation: str) -> bool:
        """Declare an incarnation dead; False where somebody else has."""

    async def orphans(self, at_most: int) -> list[Key]:
        """Open call streams of the dead."""

    async def repair(self, key: Key, data: bytes) -> bool:
        """End a dead one's stream with an error response under the next epoch; its questions fail."""

    async def attach(self, key: Key, *, incarnation: str) -> Attached | None:
        """Become a stream's viewer, the newest wins; None where its row is gone."""

    async def detach(self, key: Key, *, incarnation: str, viewer_epoch: int | None = None) -> None:
        """A standing stream's viewer has left, where no newer one has come."""

    async def grown(self, places: Sequence[tuple[Key, int, int]], *, incarnation: str) -> dict[Key, bool]:
        """Those followed streams (key, epoch, n) that have more or have ended; True: another views it."""

    async def read(self, key: Key, after: tuple[int, int], *, at_most: int = 100) -> tuple[list[Event], bool]:
        """The events behind a place, oldest first, and whether nothing can follow them."""

    async def stand(self, session_id: str, stream_id: str, *, incarnation: str) -> tuple[str, Attached]:
        """View the session's standing stream, made under `stream_id` where there is none yet."""

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
        """Append one notification to standing streams that are, or lately were, viewed.

        To one session's, to those subscribed to `uri` (both: to that one if it is subscribed), or
        (neither) to all. `question` is committed with it, for the one session. `bus` is passed to every
        listener on every node. Returns how many streams took it.
        """

    def hear(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with every `bus` text, whichever node publishes it; returns how to stop."""

    async def answer(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Give a question its one answer and wake whoever asked; False where it takes none."""

    async def progress(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Note the client's progress on a question and wake whoever asked."""

    async def answers(self, keys: Sequence[Key]) -> dict[Key, tuple[bytes | None, bytes | None]]:
        """(answer, progress) of those questions that have either."""

    async def withdraw(self, key: Key) -> bool:
        """Nobody waits for an answer any more; False where one has come."""

    async def cancel(self, session_id: str, request_id: RequestId) -> None:
        """Keep that the client cancels a call, and tell every node to look whether it is theirs."""

    async def cancelled(self, running: Sequence[Run]) -> list[Run]:
        """Which of these calls were cancelled since they began."""

    async def set_log_level(self, session_id: str, level: str) -> None:
        """Commit a session's log level and wake whoever holds the session."""

    async def subscribe_uri(self, session_id: str, uri: str, wanted: bool) -> None:
        """Commit a session's subscription to a resource, or its end."""

    async def purge(self, older_than: float, at_most: int = 1000) -> int:
        """Forget streams closed or left for so many seconds, and questions whose time was up as long ago."""
