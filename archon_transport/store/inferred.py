"""Inferred records: rows beside the sessions that have no secret, so no query about sessions sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ..sessions.record import Inferred, Touch
from .pool import Database
from .rows import clean, client_type
from .statements import TOUCHED

# Rows are locked in the order of their ids, as everywhere. A record that was closed is open again.
_INFER = f"""
INSERT INTO archon_mcp_sessions AS s (
    session_id, era, owner_issuer, owner_subject, owner_client_id, revision, client_name, client_version,
    client_type, told_apart, requests, errors, bytes_in, bytes_out, node, inferred, last_activity, status
)
SELECT t.*, $15, true, clock_timestamp(), 'active' FROM unnest($1::uuid[], $2::text[], $3::text[],
    $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::boolean[], $11::bigint[],
    $12::bigint[], $13::bigint[], $14::bigint[]) AS t (id) ORDER BY t.id
ON CONFLICT (session_id) DO UPDATE SET {TOUCHED}, node = excluded.node, ended_at = NULL, ended_reason = NULL,
    requests = s.requests + excluded.requests, errors = s.errors + excluded.errors,
    bytes_in = s.bytes_in + excluded.bytes_in, bytes_out = s.bytes_out + excluded.bytes_out
WHERE s.inferred"""

_CLOSE = """
UPDATE archon_mcp_sessions AS s SET ended_at = clock_timestamp(), ended_reason = 'idle',
    status = 'disconnected', disconnected_at = clock_timestamp(), disconnect_reason = 'timeout_no_activity'
FROM (
    SELECT session_id FROM archon_mcp_sessions WHERE inferred AND ended_at IS NULL
        AND clock_timestamp() <= $2 AND last_activity < clock_timestamp() - make_interval(secs => $1)
    LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
) AS idle WHERE s.session_id = idle.session_id RETURNING s.session_id"""


def _values(record: Inferred, touch: Touch) -> tuple[object, ...]:
    owner = (None if part is None else clean(part, 1000) for part in record.owner or (None, None, None))
    name = clean(record.client_name, 200)
    said = (record.revision, name, clean(record.client_version, 50), client_type(name))
    totals = (touch.requests, touch.errors, touch.bytes_in, touch.bytes_out)
    return (record.session_id, record.era, *owner, *said, record.told_apart, *totals)


class InferredRows:
    """Their part of the port, in Postgres."""

    _database: Database

    async def infer(self, records: Sequence[tuple[Inferred, Touch]], *, node: str) -> None:
        """Add what requests without a session did to their records; every record at most once."""
        columns = zip(*(_values(*record) for record in records), strict=True)
        await self._database.fetch(_INFER, *map(list, columns), node)

    async def close_inferred(self, idle: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """Close records without a request for `idle` seconds, unless the clock is past `unless_after`."""
        return len(await self._database.fetch(_CLOSE, idle, unless_after, at_most))


class MemoryInferred:
    """Their part of the port, in a dictionary: (record, totals, last activity)."""

    _clock: Callable[[], datetime]
    _inferred: dict[str, tuple[Inferred, Touch, datetime]]

    async def infer(self, records: Sequence[tuple[Inferred, Touch]], *, node: str) -> None:
        """Add what requests without a session did to their records."""
        for record, touch in records:
            total = self._inferred.get(record.session_id, (record, Touch(record.session_id)))[1]
            total.add(touch)
            self._inferred[record.session_id] = (record, total, self._clock())

    async def close_inferred(self, idle: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """Forget records without a request for `idle` seconds."""
        now = self._clock()
        if now > unless_after:
            return 0
        old = [name for name, (*_, at) in self._inferred.items() if at < now - timedelta(seconds=idle)]
        for name in old[:at_most]:
            del self._inferred[name]
        return len(old[:at_most])
