"""How much, how fast and how well: tools over a time, days, hours, errors; knowledge and its jobs.

Sums come from the hourly table that the database keeps with each insert, so a month of a million requests
is read as some thousand rows. Percentiles need the requests themselves and are of the newest `WINDOW`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from .activity import identity
from .question import WINDOW, Questions
from .records import TOKEN_BYTES, Interval, ToolLine

_TOOLS = f"""
WITH total AS (
    SELECT tool, sum(requests)::bigint AS requests, sum(errors)::bigint AS errors,
        sum(timeouts)::bigint AS timeouts, (sum(duration_ms) / NULLIF(sum(timed), 0))::float8 AS avg_ms,
        min(min_ms) AS min_ms, max(max_ms) AS max_ms, sum(bytes_out)::bigint AS bytes_out,
        (sum(completion_tokens) + sum(tool_bytes) / {TOKEN_BYTES})::bigint AS tokens,
        sum(cost)::float8 AS cost
    FROM archon_mcp_usage WHERE hour >= date_trunc('hour', $1::timestamptz, 'UTC') AND hour < $2 GROUP BY tool
), recent AS (
    SELECT COALESCE(tool_name, method, '(none)') AS tool, duration_ms FROM archon_mcp_requests
    WHERE timestamp >= $1 AND timestamp < $2 ORDER BY timestamp DESC LIMIT {WINDOW}
), quantile AS (
    SELECT tool, percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS p
    FROM recent GROUP BY tool
)
SELECT total.*, p[1] AS p50, p[2] AS p95, p[3] AS p99 FROM total LEFT JOIN quantile USING (tool)
ORDER BY requests DESC, tool LIMIT $3"""

_INTERVALS = f"""
SELECT date_trunc($3, hour, 'UTC') AS start, sum(requests)::bigint AS requests, sum(errors)::bigint AS errors,
    sum(timeouts)::bigint AS timeouts, sum(cost)::float8 AS cost,
    (sum(completion_tokens) + sum(tool_bytes) / {TOKEN_BYTES})::bigint AS tokens,
    (sum(duration_ms) / NULLIF(sum(timed), 0))::float8 AS avg_ms
FROM archon_mcp_usage WHERE hour >= date_trunc('hour', $1::timestamptz, 'UTC') AND hour < $2
GROUP BY 1 ORDER BY 1"""

_TOTALS = f"""
SELECT COALESCE(sum(requests), 0)::bigint AS requests, COALESCE(sum(errors), 0)::bigint AS errors,
    COALESCE(sum(timeouts), 0)::bigint AS timeouts, COALESCE(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    (COALESCE(sum(completion_tokens), 0) + COALESCE(sum(tool_bytes), 0) / {TOKEN_BYTES})::bigint
        AS completion_tokens,
    COALESCE(sum(cost), 0)::float8 AS cost, (sum(duration_ms) / NULLIF(sum(timed), 0))::float8 AS avg_ms,
    (SELECT count(*) FROM archon_mcp_sessions WHERE last_activity >= $1 AND connected_at < $2
        AND requests > 0) AS sessions
FROM archon_mcp_usage WHERE hour >= date_trunc('hour', $1::timestamptz, 'UTC') AND hour < $2"""

_QUANTILES = f"""
SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS p FROM (
    SELECT duration_ms FROM archon_mcp_requests WHERE timestamp >= $1 AND timestamp < $2
    ORDER BY timestamp DESC LIMIT {WINDOW}) AS recent"""

_SESSION_TOKENS = f"""
SELECT COALESCE(sum(bytes_out) FILTER (WHERE method = 'tools/call'), 0)::bigint / {TOKEN_BYTES} AS tokens
FROM (SELECT method, bytes_out FROM archon_mcp_requests WHERE session_id = $1
    ORDER BY timestamp DESC LIMIT {WINDOW}) AS recent"""

_HEALTH = """
SELECT count(*) FILTER (WHERE ended_at IS NULL) AS active,
    count(*) FILTER (WHERE ended_at IS NOT NULL) AS disconnected, count(*) AS total,
    count(*) FILTER (WHERE ended_at IS NULL AND age < 300) AS healthy,
    count(*) FILTER (WHERE ended_at IS NULL AND age >= 300 AND age <= 600) AS aging,
    count(*) FILTER (WHERE ended_at IS NULL AND age > 600) AS stale,
    COALESCE(avg(lasted), 0)::float8 AS avg_duration_seconds,
    count(*) FILTER (WHERE connected_at > clock_timestamp() - interval '1 day') AS total_sessions_24h,
    count(*) FILTER (WHERE ended_at > clock_timestamp() - interval '1 day') AS ended_24h
FROM (SELECT ended_at, connected_at, extract(epoch FROM clock_timestamp() - last_activity) AS age,
        extract(epoch FROM COALESCE(ended_at, last_activity) - connected_at) AS lasted
    FROM archon_mcp_sessions WHERE secret_digest IS NOT NULL
        AND (ended_at IS NULL OR ended_at > clock_timestamp() - interval '7 days')) AS s"""

_ENDED = """
SELECT count(*) AS total, COALESCE(avg(lasted), 0)::float8 AS avg, COALESCE(max(lasted), 0)::float8 AS max,
    COALESCE(min(lasted), 0)::float8 AS min
FROM (SELECT extract(epoch FROM ended_at - connected_at) AS lasted FROM archon_mcp_sessions
    WHERE ended_at > clock_timestamp() - make_interval(days => $1)) AS s"""

_REASONS = """
SELECT COALESCE(ended_reason, 'unknown') AS reason, count(*) AS count FROM archon_mcp_sessions
WHERE ended_at > clock_timestamp() - make_interval(days => $1) GROUP BY 1 ORDER BY 2 DESC"""

_SOURCES = """
SELECT source_id, COALESCE(title, source_display_name, source_id) AS title, source_url AS url,
    COALESCE(total_word_count, 0) AS words, updated_at
FROM archon_sources ORDER BY updated_at DESC LIMIT 100"""

# A job's columns are the business of the room that works on it: shown is what it has.
_JOBS = """
SELECT to_jsonb(job)::text AS job FROM archon_knowledge_jobs AS job ORDER BY created_at DESC LIMIT 50"""


class Usage(Questions):
    """Sums, percentiles and lists of what goes on beside the sessions. Times are [start, end)."""

    async def tools(self, start: datetime, end: datetime, *, limit: int = 200) -> list[ToolLine]:
        """Every tool and method that was asked for, the most used first."""
        return [ToolLine(**row) for row in await self._ask(_TOOLS, start, end, limit)]

    async def intervals(self, start: datetime, end: datetime, unit: str = "hour") -> list[Interval]:
        """What happened in each hour or day; those in which nothing did are left out."""
        return [Interval(**row) for row in await self._ask(_INTERVALS, start, end, unit)]

    async def totals(self, start: datetime, end: datetime) -> dict[str, Any]:
        """The sums, and how many sessions took part."""
        return await self._one(_TOTALS, start, end)

    async def quantiles(self, start: datetime, end: datetime) -> list[float | None]:
        """The 50th, 95th and 99th percentile of the durations in milliseconds."""
        return (await self._one(_QUANTILES, start, end))["p"] or [None, None, None]

    async def session_tokens(self, session_id: str) -> int:
        """Estimated tokens that tool answers put into a session's context."""
        return int((await self._one(_SESSION_TOKENS, identity(session_id)))["tokens"])

    async def health(self) -> dict[str, Any]:
        """How sessions are: alive, of which age, and how long they last."""
        return await self._one(_HEALTH)

    async def endings(self, days: int) -> dict[str, Any]:
        """How many sessions ended in the last days, why, and how long they had lasted."""
        reasons = {row["reason"]: row["count"] for row in await self._ask(_REASONS, days)}
        return await self._one(_ENDED, days) | {"reasons": reasons}

    async def sources(self) -> list[dict[str, Any]] | None:
        """What is in the knowledge base; None where there is none."""
        if not await self._has("archon_sources"):
            return None
        return [dict(row) for row in await self._ask(_SOURCES)]

    async def jobs(self) -> list[dict[str, Any]] | None:
        """What is being put into the knowledge base; None where nothing can be."""
        if not await self._has("archon_knowledge_jobs"):
            return None
        return [json.loads(row["job"]) for row in await self._ask(_JOBS)]
