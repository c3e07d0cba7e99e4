"""Opening sessions under a limit, exactly near it and cheaply far from it.

Counting a million rows for every `initialize` would be its price. So a count gives this node a share of
the room that was free, a sixteenth, to open without counting, for ten seconds. When fewer than sixteen
are free nothing is shared out: every opening counts, one at a time in the whole database. Nodes whose
shares overlap can pass the limit by less than those shares together; one node never can.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import astuple

from ..sessions.port import TableFull
from ..sessions.record import Session
from .pool import Connection, Database
from .rows import COLUMNS, NOBODY, capabilities, client_type
from .statements import LIVE, ending

SHARE = 16
SHARE_LIFE = 10.0
REST = 10.0
"""After a full table was found, nobody looks again for this many times as long as the look took."""

INSERT = f"""
INSERT INTO archon_mcp_sessions ({COLUMNS},
    client_type, client_capabilities, node, era, last_activity, status)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
    'handshake', clock_timestamp(), 'active') ON CONFLICT (session_id) DO NOTHING"""

_LOCK = "SELECT pg_advisory_xact_lock(1635017581, hashtext(current_schema()))"
COUNT = f"SELECT count(*) FROM archon_mcp_sessions WHERE {LIVE}"
_LONGEST_IDLE = """
    SELECT session_id FROM archon_mcp_sessions
    WHERE {live} AND {idle} ORDER BY last_activity LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"""
_UNUSED = "requests = 0 AND last_activity < clock_timestamp() - interval '1 hour'"
_ASLEEP = "last_activity < clock_timestamp() - interval '24 hours'"
_MAKE_ROOM = tuple(ending(_LONGEST_IDLE.format(live=LIVE, idle=idle), "full") for idle in (_UNUSED, _ASLEEP))


def insert_values(session: Session, node: str) -> tuple[object, ...]:
    """The arguments of `INSERT`."""
    session_id, digest, owner, revision, params, *rest = astuple(session)
    known = (session_id, digest, *(owner or NOBODY), revision, params.decode("utf-8", "replace"))
    return (*known, *rest, client_type(session.client_name), capabilities(params), node)


class Room:
    """This node's share of the free places, and the exact way when it is used up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counting = asyncio.Lock()  # one connection of the pool waits for the count, not all of them
        self._limit = -1
        self._share = 0
        self._until = float("-inf")
        self._rests_until = float("-inf")

    def __repr__(self) -> str:
        return f"<Room share={self._share} of limit={self._limit}>"

    def take(self, limit: int) -> bool:
        """Use up one place of the share; False where there is none and the rows must be counted."""
        if limit != self._limit or self._share <= 0 or time.monotonic() >= self._until:
            return False
        self._share -= 1
        return True

    def freed(self) -> None:
        """Something ended here: a full table is worth another look."""
        self._rests_until = float("-inf")

    async def open(self, values: tuple[object, ...], limit: int) -> None:
        """Count, make room where there is none, and insert, in one transaction.

        Raises:
            TableFull: nothing may be ended; nothing was.
        """
        async with self._counting:
            if self.take(limit):  # somebody counted while this one waited
                await self._database.fetch(INSERT, *values, repeat=True)
                return
            started = time.monotonic()
            if limit == self._limit and started < self._rests_until:
                raise TableFull(f"all {limit} sessions are in use")
            try:
                live = await self._database.run(lambda c: _open(c, values, limit), repeat=True)
            except TableFull:
                self._limit, self._share = limit, 0
                self._rests_until = time.monotonic() + REST * (time.monotonic() - started)
                raise
            self._limit, self._share = limit, (limit - live) // SHARE
            self._until = time.monotonic() + SHARE_LIFE


async def _open(connection: Connection, values: tuple[object, ...], limit: int) -> int:
    """Returns how many sessions live afterwards."""
    async with connection.transaction():
        await connection.execute(_LOCK)
        live: int = await connection.fetchval(COUNT)
        if live >= limit:
            live -= await _make_room(connection, live - limit + 1, limit)
        await connection.execute(INSERT, *values)
    return live + 1


async def _make_room(connection: Connection, needed: int, limit: int) -> int:
    """End the longest idle, a thousandth of the limit at a time: looking for them reads every live row."""
    freed = 0
    for statement in _MAKE_ROOM:
        freed += len(await connection.fetch(statement, max(needed - freed, limit // 1000)))
        if freed >= needed:
            return freed
    raise TableFull(f"all {limit} sessions are in use and none has been idle for long enough")
