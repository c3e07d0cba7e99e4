"""Rows of finished requests, the totals that they add up to, and the counts of what was refused.

A row decides by its own id whether it is new, and only new rows are added to the totals, in the same
statement: so a batch whose commit is uncertain is simply sent again. Sessions and records are locked in the
order of their ids first: two nodes that write the same ones wait for each other and never both, and none of
them can go while its rows are written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ..sessions.record import HANDSHAKE, Finished, Session
from ..signals.refusals import Refusal
from .inferred import Kept, MemoryInferred
from .pool import Database
from .rows import clean
from .statements import LIVE

# What has ended is added to and not touched. A touch of ours is HOT: no index has any of these columns.
_WRITE = f"""
WITH known AS (
    SELECT session_id, ended_at IS NULL AS open, {LIVE} AS lives FROM archon_mcp_sessions
    WHERE session_id = ANY($1::uuid[]) AND (secret_digest IS NOT NULL OR inferred)
    ORDER BY session_id FOR NO KEY UPDATE
), done AS (
    INSERT INTO archon_mcp_requests (request_id, session_id, method, tool_name, timestamp, duration_ms,
        status, outcome, error_code, error_message, principal, bytes_in, bytes_out, node)
    SELECT t.*, $3 FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::int[],
        $10::text[], $11::text[], $12::int[], $13::text[], $14::text[], $15::bigint[], $16::bigint[])
        AS t (request_id, session_id) JOIN known USING (session_id)
    ON CONFLICT DO NOTHING RETURNING session_id, method, status, bytes_in, bytes_out
), total AS (
    SELECT session_id, count(*) FILTER (WHERE method NOT IN {HANDSHAKE}) AS requests,
        count(*) FILTER (WHERE status <> 'success') AS errors,
        sum(bytes_in)::bigint AS bytes_in, sum(bytes_out)::bigint AS bytes_out
    FROM done GROUP BY session_id
)
UPDATE archon_mcp_sessions AS s SET node = $3, initialized = s.initialized OR asked.initialized,
    last_activity = CASE WHEN open THEN clock_timestamp() ELSE s.last_activity END,
    status = CASE WHEN open THEN 'active' ELSE s.status END,
    disconnected_at = CASE WHEN open THEN NULL ELSE s.disconnected_at END,
    disconnect_reason = CASE WHEN open THEN NULL ELSE s.disconnect_reason END,
    requests = s.requests + COALESCE(total.requests, 0), errors = s.errors + COALESCE(total.errors, 0),
    bytes_in = s.bytes_in + COALESCE(total.bytes_in, 0),
    bytes_out = s.bytes_out + COALESCE(total.bytes_out, 0)
FROM unnest($1::uuid[], $2::boolean[]) AS asked (session_id, initialized)
JOIN known USING (session_id) LEFT JOIN total USING (session_id)
WHERE s.session_id = known.session_id RETURNING s.session_id, lives"""

_REFUSE = """
INSERT INTO archon_mcp_refusals AS r (minute, rule, bucket, client, status, example, count)
SELECT to_timestamp(t.minute * 60), rule, bucket, client, status, example, count
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::bigint[])
    AS t (minute, rule, bucket, client, status, example, count) ORDER BY 1, 2, 3, 4
ON CONFLICT (minute, rule, bucket, client) DO UPDATE SET count = r.count + excluded.count"""

_text = lru_cache(maxsize=4096)(clean)


def _values(row: Finished) -> tuple[object, ...]:
    tool, error = row.tool and _text(row.tool, 100), row.error and _text(row.error, 500)
    began, milliseconds = datetime.fromtimestamp(row.began, UTC), min(round(row.seconds * 1000), 2**31 - 1)
    said = (row.request_id, row.session_id, _text(row.method, 100), tool, began, milliseconds)
    status = "timeout" if row.outcome == "timeout" else "success" if row.error is None else "error"
    ended = (status, row.outcome, row.error_code, error)
    return (*said, *ended, row.principal and _text(row.principal, 1000), row.bytes_in, row.bytes_out)


def _asked(rows: Sequence[Finished], alive: dict[str, bool]) -> dict[str, bool]:
    """Every session and record of a batch once."""
    return {**dict.fromkeys((row.session_id for row in rows), False), **alive}


class RequestRows:
    """Their part of the port, in Postgres."""

    _database: Database

    async def write(self, rows: Sequence[Finished], alive: dict[str, bool], *, node: str) -> dict[str, bool]:
        """Keep what requests did, add it to the totals and touch what lives; who is known, and who lives."""
        asked = _asked(rows, alive)
        columns = list(zip(*map(_values, rows), strict=True)) or [()] * 13
        found = await self._database.fetch(_WRITE, [*asked], [*asked.values()], node, *columns, repeat=True)
        return {str(name): lives for name, lives in found}

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Add to how often requests were refused."""
        await self._database.fetch(_REFUSE, *zip(*map(astuple, refusals), strict=True))


class MemoryRequests(MemoryInferred):
    """Their part of the port, in memory, where nothing is sent twice: the last rows and refusals."""

    _rows: dict[str, Kept[Session]]
    _requests: deque[Finished]
    _refusals: deque[Refusal]

    async def write(self, rows: Sequence[Finished], alive: dict[str, bool], *, node: str) -> dict[str, bool]:
        """Keep what requests did, add it to the totals and touch what lives; who is known, and who lives."""
        known: dict[str, bool] = {}
        for name, initialized in _asked(rows, alive).items():
            kept: Kept[Any] | None = self._rows.get(name) or self._inferred.get(name)
            if kept is not None:
                kept.last_activity, known[name] = self._clock(), name in self._rows
                if initialized:
                    kept.session = replace(kept.session, initialized=True)
        for row in rows:
            if row.session_id in known:
                (self._rows.get(row.session_id) or self._inferred[row.session_id]).add(row)
                self._requests.append(row)
        return known

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Add to how often requests were refused."""
        self._refusals.extend(refusals)
