"""Incarnations in Postgres: who lives, who is dead, and the end of what the dead left open.

Silence is judged by the database's clock. Declaring somebody dead and repairing his streams are separate
commits: after the first he can open nothing more, and each repair moves one stream out of his reach.
"""

from __future__ import annotations

from dataclasses import astuple

from ..sessions.streams import Incarnation, Key, Wakes
from .hints import Hints
from .pool import Database

_BEGIN = """
INSERT INTO archon_mcp_incarnations (incarnation, node, boot_id, namespace, pid, started)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (incarnation) DO NOTHING"""

_BEAT = """
UPDATE archon_mcp_incarnations SET heartbeat_at = clock_timestamp()
WHERE incarnation = $1 AND dead_at IS NULL RETURNING incarnation"""

_SUSPECTS = """
SELECT incarnation, node, boot_id, namespace, pid, started,
    heartbeat_at < clock_timestamp() - make_interval(secs => $1) AS silent
FROM archon_mcp_incarnations WHERE dead_at IS NULL AND incarnation <> $2"""

# Nobody has left the standing streams that he viewed, but nobody is there any more.
_BURY = """
WITH buried AS (
    UPDATE archon_mcp_incarnations SET dead_at = clock_timestamp()
    WHERE incarnation = $1 AND dead_at IS NULL RETURNING incarnation
), detached AS (
    UPDATE archon_mcp_streams SET detached_at = clock_timestamp() FROM buried
    WHERE kind = 'standing' AND detached_at IS NULL AND viewer_incarnation = buried.incarnation
)
SELECT incarnation FROM buried"""

_DEAD = """NOT EXISTS (
        SELECT FROM archon_mcp_incarnations AS i WHERE i.incarnation = s.incarnation AND i.dead_at IS NULL)"""

_ORPHANS = f"""
SELECT session_id, stream_id FROM archon_mcp_streams AS s
WHERE kind = 'call' AND closed_at IS NULL AND {_DEAD} LIMIT $1"""

_REPAIR = f"""
WITH closed AS (
    UPDATE archon_mcp_streams AS s
    SET epoch = epoch + 1, tail = 1, size = size + octet_length($3::bytea), closed_at = clock_timestamp()
    WHERE session_id = $1 AND stream_id = $2 AND kind = 'call' AND closed_at IS NULL AND {_DEAD}
    RETURNING session_id, stream_id, epoch, viewer_incarnation
), said AS (
    INSERT INTO archon_mcp_events (session_id, stream_id, epoch, n, kind, data)
    SELECT session_id, stream_id, epoch, 1, 'response', $3 FROM closed
), failed AS (
    UPDATE archon_mcp_questions AS q SET withdrawn_at = clock_timestamp() FROM closed
    WHERE q.session_id = closed.session_id AND q.stream_id = closed.stream_id
        AND q.answered_at IS NULL AND q.withdrawn_at IS NULL
)
SELECT viewer_incarnation FROM closed"""

# now() and not clock_timestamp(): an index can be searched for the first. A standing stream that somebody
# attached to while he was being buried is detached with the last that is known of him.
_PURGE = """
WITH done AS (
    DELETE FROM archon_mcp_streams WHERE (session_id, stream_id) IN (
        SELECT session_id, stream_id FROM archon_mcp_streams
        WHERE COALESCE(closed_at, detached_at) < now() - make_interval(secs => $1)
        ORDER BY COALESCE(closed_at, detached_at) LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING session_id, stream_id
), events AS (
    DELETE FROM archon_mcp_events AS e USING done
    WHERE e.session_id = done.session_id AND e.stream_id = done.stream_id
), questions AS (
    DELETE FROM archon_mcp_questions WHERE (session_id, question_id) IN (
        SELECT session_id, question_id FROM archon_mcp_questions
        WHERE deadline < now() - make_interval(secs => $1) ORDER BY deadline LIMIT $2)
), subscriptions AS (
    DELETE FROM archon_mcp_subscriptions AS u USING archon_mcp_sessions AS s
    WHERE s.session_id = u.session_id AND s.ended_at < now() - make_interval(secs => $1)
), incarnations AS (
    DELETE FROM archon_mcp_incarnations WHERE dead_at < now() - interval '1 day' RETURNING incarnation
), detached AS (
    UPDATE archon_mcp_streams AS s SET detached_at = clock_timestamp() FROM incarnations
    WHERE s.kind = 'standing' AND s.detached_at IS NULL AND s.viewer_incarnation = incarnations.incarnation
)
SELECT count(*) AS streams FROM done"""


class IncarnationRows:
    """The part of the streams' port that is about processes and what they leave behind."""

    _database: Database
    _hints: Hints

    async def begin(self, incarnation: Incarnation, wakes: Wakes) -> None:
        """Make an incarnation known and listen for its wake-ups, no longer for an earlier one's."""
        await self._database.fetch(_BEGIN, *astuple(incarnation), repeat=True)
        await self._hints.begin(incarnation.incarnation, wakes)

    async def beat(self, incarnation: str) -> bool:
        """Say that it lives; False where it has been declared dead."""
        return bool(await self._database.fetch(_BEAT, incarnation, repeat=True))

    async def suspects(self, silent: float) -> list[tuple[Incarnation, bool]]:
        """The other incarnations not yet declared dead, and whether each was silent for so many seconds."""
        rows = await self._database.fetch(_SUSPECTS, silent, self._hints.me, repeat=True)
        return [(Incarnation(*who), silent) for *who, silent in rows]

    async def bury(self, incarnation: str) -> bool:
        """Declare an incarnation dead; False where somebody else has."""
        return bool(await self._database.fetch(_BURY, incarnation))

    async def orphans(self, at_most: int) -> list[Key]:
        """Open call streams of the dead."""
        rows = await self._database.fetch(_ORPHANS, at_most, repeat=True)
        return [(str(session_id), stream_id) for session_id, stream_id in rows]

    async def repair(self, key: Key, data: bytes) -> bool:
        """End a dead one's stream with an error response under the next epoch; its questions fail."""
        rows = await self._database.fetch(_REPAIR, *key, data)
        await self._hints.send((row["viewer_incarnation"], "stream", *key) for row in rows)
        return bool(rows)

    async def purge(self, older_than: float, at_most: int = 1000) -> int:
        """Forget streams closed or left for so many seconds, and questions whose time was up as long ago."""
        rows = await self._database.fetch(_PURGE, older_than, at_most)
        return int(rows[0]["streams"])
