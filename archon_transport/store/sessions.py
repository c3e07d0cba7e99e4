"""Sessions in Postgres: one statement for each thing that happens to one.

Liveness is decided by our own columns only, and inside the statement that acts on it, by the database's
clock. Ending a session and telling the other nodes are one commit. A row without a secret is Archon's:
no statement here sees it.
"""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from ..sessions.record import EndReason, Owner, Session
from .pool import Database
from .room import COUNT, INSERT, Room, insert_values
from .rows import COLUMNS, cleaned, key, session_from
from .statements import LIVE, TOUCHED, ending

# A touch need not survive a crash of the server, so nobody waits for the disk: a cold admission is bound by
# the round trip. The setting is local to this statement; its value is compared so that it is certainly made.
_ADMIT = f"""
UPDATE archon_mcp_sessions SET {TOUCHED}, node = $2
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS relaxed (mode)
WHERE session_id = $1 AND {LIVE} AND ($3::bytea IS NULL OR secret_digest = $3) AND relaxed.mode = 'off'
RETURNING {COLUMNS}"""

# CASE and not a WHERE: a second adopter waits for the first one's row and must see the owner it has got.
_UNOWNED = "COALESCE(owner_issuer, owner_subject, owner_client_id) IS NULL"
_ADOPT = f"""
UPDATE archon_mcp_sessions SET
    owner_issuer = CASE WHEN {_UNOWNED} THEN $2 ELSE owner_issuer END,
    owner_subject = CASE WHEN {_UNOWNED} THEN $3 ELSE owner_subject END,
    owner_client_id = CASE WHEN {_UNOWNED} THEN $4 ELSE owner_client_id END
WHERE session_id = $1 AND {LIVE} RETURNING {COLUMNS}"""

_END = {reason: ending("SELECT $1::uuid AS session_id", reason) for reason in get_args(EndReason)}

# One node sweeps at a time. The bound is read from the same clock in the same statement as the idleness.
# A row that is locked is being touched, so it is not idle.
_EXPIRE = ending(
    f"""
    SELECT session_id FROM archon_mcp_sessions, (
        SELECT clock_timestamp() AS at WHERE pg_try_advisory_xact_lock(1635017580, hashtext(current_schema()))
    ) AS sweep
    WHERE {LIVE} AND sweep.at <= $2 AND last_activity < sweep.at - make_interval(secs => $1)
    LIMIT $3 FOR NO KEY UPDATE OF archon_mcp_sessions SKIP LOCKED""",
    "idle",
)

_PAGE = f"""
SELECT {COLUMNS} FROM archon_mcp_sessions
WHERE {LIVE} AND session_id < COALESCE($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
ORDER BY session_id DESC LIMIT $1"""


class SessionRows:
    """The queries of the sessions' port; what may be sent twice is repeated after a broken connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._room = Room(database)

    async def open(self, session: Session, *, node: str, limit: int | None) -> None:
        """Commit a new session; at `limit` live ones room is made first, or `TableFull` raised."""
        values = insert_values(cleaned(session), node)
        if limit is None or self._room.take(limit):
            await self._database.fetch(INSERT, *values, repeat=True)
        else:
            async with self._database.bounded():  # who waits for the count waits for all who came before
                await self._room.open(values, limit)

    async def admit(self, session_id: str, digest: bytes | None = None, *, node: str) -> Session | None:
        """Touch a live session and return it."""
        return await self._one(_ADMIT, session_id, node, digest)

    async def adopt(self, session_id: str, owner: Owner) -> Session | None:
        """Give a live session without an owner to `owner`; the row as it is then."""
        return await self._one(_ADOPT, session_id, *owner)

    async def _one(self, query: str, session_id: str, *args: object) -> Session | None:
        identity = key(session_id)
        if identity is None:
            return None
        rows = await self._database.fetch(query, identity, *args, repeat=True)
        return session_from(rows[0]) if rows else None

    async def end(self, session_id: str, reason: EndReason) -> bool:
        """End a live session and tell every node, in one commit.

        Not repeated after a broken connection: the second answer would be that it was not live.
        """
        identity = key(session_id)
        ended = bool(identity and await self._database.fetch(_END[reason], identity))
        if ended:
            self._room.freed()
        return ended

    async def clock(self) -> datetime:
        """The database's time."""
        rows = await self._database.fetch("SELECT clock_timestamp() AS at", repeat=True)
        at: datetime = rows[0]["at"]
        return at

    async def expire(self, idle_timeout: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """End sessions idle for longer than `idle_timeout` seconds; none where another node sweeps."""
        ended = len(await self._database.fetch(_EXPIRE, idle_timeout, unless_after, at_most))
        if ended:
            self._room.freed()
        return ended

    async def count(self) -> int:
        """How many sessions live."""
        rows = await self._database.fetch(COUNT, repeat=True)
        return int(rows[0]["count"])

    async def page(self, *, limit: int = 100, before: str | None = None) -> list[Session]:
        """Live sessions, newest first: by their ids, which begin with the time."""
        start = None if before is None else key(before)
        if before is not None and start is None:
            return []
        return [session_from(row) for row in await self._database.fetch(_PAGE, limit, start, repeat=True)]
