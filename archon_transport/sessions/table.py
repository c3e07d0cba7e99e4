"""The table of sessions: a cache of rows in front of the store, never the truth.

What outlives what:

    row       ======================================================>  30 days of idleness, or an end
    cached         [====]          [==]                    [========>  300 s without traffic (asleep)
    request         | |  |          |                       | |  |

A request whose session is not cached here wakes it from its row; nothing tells the two apart but a
fraction of a millisecond. So a restart, a crash, a second node and a weekend are all the same case.

A cached session is served without a query only while two things hold: this node's wake-up connection
answered within `TRUST` seconds (so an end on another node would have been heard), and the row's own
touch is younger than a quarter of the idle limit (so nobody's sweep can be about to end it). Else the
admission is one UPDATE, which says whether it lives and touches it at once.

A cold load takes its place in `_flights` first and reads second, so that many requests of one sleeping
session read once, and an end that is heard while it reads is not lost.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from .port import SessionStore, StoreUnavailable
from .record import EndReason, Owner, Session, WireId
from .writer import Writer

_log = logging.getLogger(__name__)

TRUST = 2.0
"""Seconds for which silence of the wake-up connection still means that nothing ended."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long sessions live and how many; seconds and counts.

    `idle_timeout` None means that no session ends by itself, `max_sessions` None that there is no cap.
    """

    idle_timeout: float | None = 30 * 86400.0
    sleep_after: float = 300.0
    max_sessions: int | None = 1_000_000
    max_cached: int = 20_000


@dataclass(slots=True)
class _Entry:
    session: Session
    used: float
    stored: float


@dataclass(slots=True)
class _Flight:
    """A row being read; `ended` when its end is heard meanwhile."""

    task: asyncio.Task[Session | None]
    ended: bool = False


class SessionTable:
    """Opens, admits, wakes, puts to sleep and ends sessions.

    `busy(session_id)` says whether a session has running work: that is traffic, and keeps it awake.
    `on_gone` is called with the id of every session that ended, `on_asleep` with those put to sleep.
    """

    def __init__(
        self,
        store: SessionStore,
        writer: Writer,
        *,
        node: str,
        limits: Limits | None = None,
        busy: Callable[[str], bool] = lambda session_id: False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._writer = writer
        self._node = node
        self._limits = limits or Limits()
        idle = self._limits.idle_timeout
        self._fresh_for = float("inf") if idle is None else idle / 4
        self._clock = clock
        self._now = now
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[tuple[str, bytes], _Flight] = {}
        self._distrusted = float("-inf")
        self.busy = busy
        self.on_gone: Callable[[str], None] = lambda session_id: None
        self.on_asleep: Callable[[str], None] = lambda session_id: None
        self.opened = 0
        self.woken = 0
        writer.on_written = self._on_written
        store.subscribe(self._on_end, self._on_gap)

    def __repr__(self) -> str:
        return f"<SessionTable cached={len(self._cache)} opened={self.opened} woken={self.woken}>"

    @property
    def cached(self) -> int:
        """How many sessions this node holds in memory."""
        return len(self._cache)

    def awake(self) -> list[Session]:
        """The sessions that this node holds in memory."""
        return [entry.session for entry in self._cache.values()]

    async def open(
        self,
        *,
        revision: str,
        initialize_params: bytes,
        client: tuple[str, str | None, str],
        owner: Owner | None,
        user_agent: str | None,
    ) -> tuple[Session, WireId]:
        """Commit a new session and return it with the id that its client will present.

        `client` is (name, title, version) as the client gave them.

        Raises:
            TableFull: no room. StoreUnavailable: the store is away. Either way nothing is left behind.
        """
        wire = WireId.mint()
        name, title, version = client
        session = Session(
            session_id=wire.session_id,
            secret_digest=wire.digest,
            owner=owner,
            revision=revision,
            initialize_params=initialize_params,
            client_name=name,
            client_title=title,
            client_version=version,
            user_agent=user_agent,
            connected_at=self._now(),
        )
        started = self._clock()
        await self._store.open(session, node=self._node, limit=self._limits.max_sessions)
        self._keep(session, stored=started)
        self.opened += 1
        return session, wire

    async def admit(self, presented: str, owner: Owner | None) -> Session | None:
        """The live session that a presented id opens for `owner`, or None: unknown, ended and foreign alike.

        Raises:
            StoreUnavailable: it is not cached here and the store cannot be asked.
        """
        wire = WireId.parse(presented)
        if wire is None:
            return None
        digest = wire.digest
        entry = self._cache.get(wire.session_id)
        if entry is not None and not hmac.compare_digest(digest, entry.session.secret_digest):
            return None
        if entry is not None and self._is_trusted(entry):
            entry.used = self._clock()
            self._cache.move_to_end(wire.session_id)
            session: Session | None = entry.session
        else:
            session = await asyncio.shield(self._fly(wire.session_id, digest).task)
        if session is None or not hmac.compare_digest(digest, session.secret_digest):
            return None
        if session.owner == owner:
            return session
        if session.owner is None and owner is not None:
            return await self._adopt(session, owner)
        return None

    async def end(self, session_id: str, reason: EndReason) -> bool:
        """End a session: committed first, then everything of it is let go. False where it was not live."""
        ended = await self._store.end(session_id, reason)
        self._on_end(session_id)
        if ended:
            _log.info("session ended", extra={"session_id": session_id, "reason": reason})
        return ended

    def peek(self, session_id: str) -> Session | None:
        """The session as it is cached here, asking nobody; for decisions that may be a moment behind."""
        entry = self._cache.get(session_id)
        return entry.session if entry is not None else None

    def refresh(self, session_id: str) -> None:
        """The row has changed elsewhere: read it again, where it is cached."""
        entry = self._cache.get(session_id)
        if entry is not None:
            flight = self._fly(session_id, entry.session.secret_digest)
            flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def set_log_level(self, session_id: str, level: str) -> None:
        """The row has this log level now."""
        entry = self._cache.get(session_id)
        if entry is not None:
            entry.session = replace(entry.session, log_level=level)

    def mark_initialized(self, session: Session) -> None:
        """The client has said `notifications/initialized`."""
        entry = self._cache.get(session.session_id)
        if entry is not None and not entry.session.initialized:
            entry.session = replace(entry.session, initialized=True)
        if not session.initialized:
            self._writer.note(session.session_id, initialized=True)

    def tick(self) -> None:
        """Put to sleep what had no traffic, and touch what works for long; called once a second or so."""
        now = self._clock()
        over = len(self._cache) - self._limits.max_cached
        for session_id in list(islice(self._cache, max(over, 0) + 1000)):
            entry = self._cache[session_id]
            if entry.used + self._limits.sleep_after > now and over <= 0:
                break
            over -= 1
            if self.busy(session_id):
                self._cache.move_to_end(session_id)
                entry.used = now
                if entry.stored + self._fresh_for < now:
                    self._writer.note(session_id)
                continue
            del self._cache[session_id]
            self.on_asleep(session_id)

    def _is_trusted(self, entry: _Entry) -> bool:
        return (
            entry.stored > self._distrusted
            and entry.stored + self._fresh_for > self._clock()
            and self._store.heard_within(TRUST)
        )

    def _keep(self, session: Session, *, stored: float) -> None:
        self._cache[session.session_id] = _Entry(session, self._clock(), stored)
        self._cache.move_to_end(session.session_id)

    def _fly(self, session_id: str, digest: bytes) -> _Flight:
        flight = self._flights.get((session_id, digest))
        if flight is None:
            task = asyncio.create_task(self._read(session_id, digest), name=f"load-{session_id}")
            flight = self._flights[session_id, digest] = _Flight(task)
        return flight

    async def _read(self, session_id: str, digest: bytes) -> Session | None:
        flight = self._flights[session_id, digest]
        started = self._clock()
        try:
            async with asyncio.timeout(TRUST if session_id in self._cache else None):
                session = await self._store.admit(session_id, digest, node=self._node)
        except (StoreUnavailable, TimeoutError):
            entry = self._cache.get(session_id)
            if entry is None or flight.ended:
                raise StoreUnavailable("the session is not cached here and its row cannot be read") from None
            entry.used = self._clock()
            self._cache.move_to_end(session_id)
            return entry.session
        finally:
            del self._flights[session_id, digest]
        if session is None or flight.ended:
            if session_id in self._cache:  # it was live here; a wrong secret does not come so far
                self._on_end(session_id)
            return None
        if session_id not in self._cache:
            self.woken += 1
        self._keep(session, stored=started)
        return session

    async def _adopt(self, session: Session, owner: Owner) -> Session | None:
        adopted = await self._store.adopt(session.session_id, owner)
        if adopted is None:
            return None
        entry = self._cache.get(session.session_id)
        if entry is not None:  # else its end was heard meanwhile: caching it would bring it back
            entry.session = adopted
        return adopted if adopted.owner == owner else None

    def _on_end(self, session_id: str) -> None:
        for (loading, _), flight in self._flights.items():
            flight.ended = flight.ended or loading == session_id
        self._cache.pop(session_id, None)
        self.on_gone(session_id)

    def _on_gap(self) -> None:
        self._distrusted = self._clock()
        for session_id in filter(self.busy, self._cache):  # no request would ask whether these have ended
            self._writer.note(session_id)

    def _on_written(self, asked: set[str], alive: set[str], started: float) -> None:
        for session_id in alive:
            entry = self._cache.get(session_id)
            if entry is not None:
                entry.stored = max(entry.stored, started)
        for session_id in asked - alive:
            self._on_end(session_id)
