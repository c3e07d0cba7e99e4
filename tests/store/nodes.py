"""Two nodes on one store, each with an incarnation and ears, and a clock that a test can move."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from archon_transport.sessions.record import Owner, uuid7
from archon_transport.sessions.streams import Append, Event, EventKind, Incarnation, Key, Question
from archon_transport.store import MemoryStore, PostgresStore

TIMES = {
    "archon_mcp_incarnations": ("heartbeat_at", "dead_at"),
    "archon_mcp_streams": ("opened_at", "closed_at", "detached_at"),
    "archon_mcp_questions": ("deadline",),
    "archon_mcp_sessions": ("ended_at",),
}


class Ears:
    """Wakes that note what they hear."""

    def __init__(self) -> None:
        self.streams: list[Key] = []
        self.answers: list[Key] = []
        self.changes: list[str] = []
        self.cancellations: list[str] = []

    def stream(self, session_id: str, stream_id: str) -> None:
        self.streams.append((session_id, stream_id))

    def answered(self, session_id: str, question_id: str) -> None:
        self.answers.append((session_id, question_id))

    def changed(self, session_id: str) -> None:
        self.changes.append(session_id)

    def cancelled(self, session_id: str) -> None:
        self.cancellations.append(session_id)


class Node:
    """One process: its store, the incarnation that it has now, and what it heard."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.me = ""
        self.ears = Ears()

    async def begin(self) -> str:
        """Take a new incarnation."""
        self.me = str(uuid.uuid4())
        await self.store.begin(Incarnation(self.me, "node", "boot", "pid:[1]", 42, 4711), self.ears)
        return self.me

    async def append(self, *appends: Append) -> dict[Key, str | None]:
        found: dict[Key, str | None] = await self.store.append(appends, incarnation=self.me)
        return found

    async def attach(self, key: Key) -> Any:
        return await self.store.attach(key, incarnation=self.me)

    async def stand(self, session_id: str, stream_id: str = "standing") -> tuple[str, Any]:
        found: tuple[str, Any] = await self.store.stand(session_id, stream_id, incarnation=self.me)
        return found


class Nodes:
    """Nodes `a` and `b` on the same sessions."""

    def __init__(self, dsn: str | None) -> None:
        self._moved = timedelta()
        if dsn is None:
            both: Any = MemoryStore(clock=lambda: datetime.now(UTC) + self._moved)
            self.stores: list[Any] = [both, both]
        else:
            self.stores = [PostgresStore(dsn), PostgresStore(dsn)]
        self.a, self.b = (Node(store) for store in self.stores)

    @property
    def is_postgres(self) -> bool:
        return isinstance(self.a.store, PostgresStore)

    async def start(self) -> None:
        for store in self.stores:
            await store.start()
        await self.a.begin()
        await self.b.begin()

    async def close(self) -> None:
        for store in self.stores:
            await store.close()

    async def later(self, seconds: float) -> None:
        """Let time pass for every row, without waiting for it."""
        self._moved += timedelta(seconds=seconds)
        if self.is_postgres:
            for table, columns in TIMES.items():
                moved = ", ".join(f"{name} = {name} - make_interval(secs => $1)" for name in columns)
                await self.a.store.pool.execute(f"UPDATE {table} SET {moved}", seconds)


async def until(true: Callable[[], Any], seconds: float = 8.0) -> None:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.01)


def new_key() -> Key:
    return str(uuid7()), f"c{secrets.token_urlsafe(12)}"


def said(n: int, kind: EventKind = "notification", data: bytes | None = None) -> Event:
    return Event(1, n, kind, data or b'{"jsonrpc":"2.0","id":7,"n":%d,"text":"\\u0000"}' % n)


def grows(
    key: Key,
    *events: Event,
    opens: bool = False,
    closes: bool = False,
    questions: Sequence[Question] = (),
) -> Append:
    return Append(*key, opens=opens, closes=closes, events=list(events), questions=list(questions))


def asks(question_id: str = "q-1", owner: Owner | None = None, seconds: float = 60.0) -> Question:
    return Question(question_id, "elicitation/create", owner, seconds)
