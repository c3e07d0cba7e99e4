"""A store that does as it is told: the memory store behind a gate, with a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from archon_transport.sessions import StoreUnavailable
from archon_transport.store.memory import MemoryStore

CLIENT = ("cursor", None, "1.0")
ALICE = ("https://issuer", "alice", "app")
BOB = ("https://issuer", "bob", "app")


class Clock:
    """Monotonic seconds and the wall's time, both moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.skew = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds + self.skew)

    def forward(self, seconds: float) -> None:
        self.seconds += seconds

    def jump(self, seconds: float) -> None:
        """The wall's clock moves and time does not."""
        self.skew += seconds


class Scripted(MemoryStore):
    """Counts what it is asked; `away` refuses, `gate` holds every answer, `late` answers and holds the
    reply.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock.now)
        self.asked: list[str] = []
        self.written: list[dict[str, int]] = []
        self.away = False
        self.deaf = False
        self.failure: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.late: asyncio.Event | None = None
        self.gap = lambda: None

    def count_of(self, method: str) -> int:
        return self.asked.count(method)

    async def _enter(self, method: str) -> None:
        self.asked.append(method)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if self.away:
            raise StoreUnavailable("away")

    async def _leave(self) -> None:
        if self.late is not None:
            await self.late.wait()

    async def open(self, session, *, node, limit):
        await self._enter("open")
        await super().open(session, node=node, limit=limit)

    async def admit(self, session_id, digest=None, *, node):
        await self._enter("admit")
        row = await super().admit(session_id, digest, node=node)
        await self._leave()
        return row

    async def adopt(self, session_id, owner):
        await self._enter("adopt")
        row = await super().adopt(session_id, owner)
        await self._leave()
        return row

    async def end(self, session_id, reason):
        await self._enter("end")
        return await super().end(session_id, reason)

    async def write(self, rows, alive, *, node):
        await self._enter("write")
        self.written.append(dict(Counter(row.session_id for row in rows)) | dict.fromkeys(alive, 0))
        return await super().write(rows, alive, node=node)

    async def clock(self):
        await self._enter("clock")
        return await super().clock()

    async def expire(self, idle_timeout, *, unless_after, at_most=1000):
        await self._enter("expire")
        return await super().expire(idle_timeout, unless_after=unless_after, at_most=at_most)

    def subscribe(self, on_end, on_gap):
        super().subscribe(on_end, on_gap)
        self.gap = on_gap

    def heard_within(self, seconds):
        return not self.deaf

    async def elsewhere_ends(self, session_id: str) -> None:
        """Another node ends a session: its end is heard here."""
        await super().end(session_id, "deleted")

    def vanishes(self, session_id: str) -> None:
        """A session ends and nothing is heard of it."""
        self._rows.pop(session_id)

    def row(self, session_id: str):
        return self._rows[session_id]
