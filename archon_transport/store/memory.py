"""`MemoryStore`: the ports of sessions and streams in dictionaries, for one process and while it lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ..sessions.port import TableFull
from ..sessions.record import EndReason, Owner, Session
from .inferred import Kept
from .keyring import MemoryKeys
from .memory_streams import MemoryStreams
from .requests import MemoryRequests
from .rows import cleaned, key


class MemoryStore(MemoryStreams, MemoryKeys, MemoryRequests):
    """Live sessions by id; an ended one is forgotten, nobody asks why it ended."""

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(clock)
        self._rows: dict[str, Kept[Session]] = {}
        self._ring = []
        self._inferred = {}
        self._requests, self._refusals = deque(maxlen=1000), deque(maxlen=1000)
        self._on_end: list[Callable[[str], None]] = []

    def __repr__(self) -> str:
        return f"<MemoryStore sessions={len(self._rows)}>"

    async def start(self) -> None:
        """Nothing to connect to: here so that both stores are started alike."""

    async def close(self) -> None:
        """Forget every session."""
        self._rows.clear()

    async def ping(self) -> bool:
        """Memory always answers."""
        return True

    async def open(self, session: Session, *, node: str, limit: int | None) -> None:
        """Keep a new session; at `limit` room is made first, or `TableFull` raised."""
        if limit is not None and len(self._rows) >= limit and session.session_id not in self._rows:
            self._make_room(limit)
        self._rows.setdefault(session.session_id, Kept(cleaned(session), self._clock()))

    def _make_room(self, limit: int) -> None:
        needed = len(self._rows) - limit + 1
        chosen = self._longest_idle()[:needed]
        if len(chosen) < needed:
            raise TableFull(f"all {limit} sessions are in use and none has been idle for long enough")
        for session_id in chosen:
            self._drop(session_id)

    def _longest_idle(self) -> list[str]:
        """What may be ended for room, first what goes first."""
        now = self._clock()
        rows = sorted(self._rows.items(), key=lambda item: item[1].last_activity)
        idle = [(name, now - row.last_activity, row.requests) for name, row in rows]
        unused = [name for name, since, requests in idle if not requests and since > timedelta(hours=1)]
        asleep = [name for name, since, _ in idle if since > timedelta(hours=24)]
        return list(dict.fromkeys(unused + asleep))

    def _drop(self, session_id: str) -> bool:
        if self._rows.pop(session_id, None) is None:
            return False
        self._uris.pop(session_id, None)
        for on_end in self._on_end:
            on_end(session_id)
        return True

    async def admit(self, session_id: str, digest: bytes | None = None, *, node: str) -> Session | None:
        """Touch a live session and return it."""
        row = self._rows.get(session_id)
        if row is None or digest not in (None, row.session.secret_digest):
            return None
        row.last_activity = self._clock()
        return row.session

    async def adopt(self, session_id: str, owner: Owner) -> Session | None:
        """Give a live session without an owner to `owner`; the session as it is then."""
        row = self._rows.get(session_id)
        if row is None:
            return None
        if row.session.owner is None:
            row.session = replace(row.session, owner=owner)
        return row.session

    async def end(self, session_id: str, reason: EndReason) -> bool:
        """End a live session and tell the subscribers."""
        return self._drop(session_id)

    async def set_log_level(self, session_id: str, level: str) -> None:
        """Keep a session's log level and tell whoever holds the session."""
        row = self._rows.get(session_id)
        if row is not None:
            row.session = replace(row.session, log_level=level)
            self._changed(session_id)

    async def clock(self) -> datetime:
        """This process's time."""
        return self._clock()

    async def expire(self, idle_timeout: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """End sessions idle for longer than `idle_timeout` seconds."""
        now = self._clock()
        if now > unless_after:
            return 0
        oldest = now - timedelta(seconds=idle_timeout)
        idle = [name for name, row in self._rows.items() if row.last_activity < oldest][:at_most]
        for session_id in idle:
            self._drop(session_id)
        return len(idle)

    async def count(self) -> int:
        """How many sessions live."""
        return len(self._rows)

    async def page(self, *, limit: int = 100, before: str | None = None) -> list[Session]:
        """Live sessions, newest first: by their ids, which begin with the time."""
        if before is not None and key(before) is None:
            return []
        ids = sorted((name for name in self._rows if before is None or name < before), reverse=True)
        return [self._rows[session_id].session for session_id in ids[:limit]]

    def subscribe(self, on_end: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        """Hear of every session that ends; here nothing is ever missed."""
        self._on_end.append(on_end)

    def heard_within(self, seconds: float) -> bool:
        """Always: an end is told in the call that makes it."""
        return True
