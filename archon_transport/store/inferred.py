"""Inferred records: rows beside the sessions that have no secret, so no query about sessions sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from ..sessions.record import HANDSHAKE, Finished, Inferred
from .pool import Database
from .rows import NOBODY, clean, client_type
from .statements import TOUCHED

_T = TypeVar("_T")

# Rows are locked in the order of their ids, as everywhere. A record that was closed is open again.
_INFER = f"""
INSERT INTO archon_mcp_sessions AS s (
    session_id, era, owner_issuer, owner_subject, owner_client_id, revision, client_name, client_version,
    client_type, told_apart, node, inferred, last_activity, status
)
SELECT t.*, $11, true, clock_timestamp(), 'active' FROM unnest($1::uuid[], $2::text[], $3::text[],
    $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::boolean[])
    AS t (id) ORDER BY t.id
ON CONFLICT (session_id) DO UPDATE SET {TOUCHED}, node = excluded.node, ended_at = NULL, ended_reason = NULL
WHERE s.inferred AND s.ended_at IS NOT NULL"""

_CLOSE = """
UPDATE archon_mcp_sessions AS s SET ended_at = clock_timestamp(), ended_reason = 'idle',
    status = 'disconnected', disconnected_at = clock_timestamp(), disconnect_reason = 'timeout_no_activity'
FROM (
    SELECT session_id FROM archon_mcp_sessions WHERE inferred AND ended_at IS NULL
        AND clock_timestamp() <= $2 AND last_activity < clock_timestamp() - make_interval(secs => $1)
    LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
) AS idle WHERE s.session_id = idle.session_id RETURNING s.session_id"""


def _values(record: Inferred) -> tuple[object, ...]:
    owner = (None if part is None else clean(part, 1000) for part in record.owner or NOBODY)
    name = clean(record.client_name, 200)
    said = (record.revision, name, clean(record.client_version, 50), client_type(name))
    return (record.session_id, record.era, *owner, *said, record.told_apart)


class InferredRows:
    """Their part of the port, in Postgres."""

    _database: Database

    async def infer(self, records: Sequence[Inferred], *, node: str) -> None:
        """Make sure that records are there and open; every record stands here once."""
        columns = zip(*map(_values, records), strict=True)
        await self._database.fetch(_INFER, *map(list, columns), node, repeat=True)

    async def close_inferred(self, idle: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """Close records without a request for `idle` seconds, unless the clock is past `unless_after`."""
        return len(await self._database.fetch(_CLOSE, idle, unless_after, at_most))


@dataclass(slots=True)
class Kept(Generic[_T]):
    """A session or a record in memory, and what its requests add up to."""

    session: _T
    last_activity: datetime
    requests: int = 0
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def add(self, row: Finished) -> None:
        """One request more."""
        self.requests += row.method not in HANDSHAKE
        self.errors += row.error is not None
        self.bytes_in += row.bytes_in
        self.bytes_out += row.bytes_out


class MemoryInferred:
    """Their part of the port, in a dictionary."""

    _clock: Callable[[], datetime]
    _inferred: dict[str, Kept[Inferred]]

    async def infer(self, records: Sequence[Inferred], *, node: str) -> None:
        """Make sure that records are there."""
        for record in records:
            self._inferred.setdefault(record.session_id, Kept(record, self._clock()))

    async def close_inferred(self, idle: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """Forget records without a request for `idle` seconds."""
        now = self._clock()
        if now > unless_after:
            return 0
        oldest = now - timedelta(seconds=idle)
        old = [name for name, kept in self._inferred.items() if kept.last_activity < oldest]
        for name in old[:at_most]:
            del self._inferred[name]
        return len(old[:at_most])
