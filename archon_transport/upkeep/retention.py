"""Retention: request rows, refusals, ended sessions and streams are forgotten by their age.

Request rows are forgotten by their number too. Each statement deletes one small batch and holds no lock
for longer; batches follow each other with a pause until nothing is left to forget. One node works at a
time: the statement takes an advisory lock or finds nothing. The hourly sums of usage outlive the rows that
they count.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_log = logging.getLogger(__name__)

BATCH: Final = 2_000
PAUSE: Final = 0.05
USAGE: Final = 200 * 86400.0
"""Seconds that the hourly sums are kept: twice the longest time that a report looks back, and some."""

STREAMS: Final = 86400.0
"""Seconds after its end for which a stream can be read again."""

_MINE = """
WITH mine AS MATERIALIZED (
    SELECT clock_timestamp() AS at WHERE pg_try_advisory_xact_lock(1635017581, hashtext(current_schema())))
"""

_AGED = (
    _MINE
    + """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
    SELECT t.ctid FROM {table} AS t, mine WHERE {column} < mine.at - make_interval(secs => $1) LIMIT $2))
RETURNING 1"""
)

# The rows are counted only where the planner's estimate says that there may be too many of them.
_BEYOND = (
    _MINE
    + """
, bound AS MATERIALIZED (
    SELECT timestamp AS at FROM archon_mcp_requests, mine
    WHERE (SELECT reltuples FROM pg_class WHERE oid = to_regclass('archon_mcp_requests'))
        NOT BETWEEN 0 AND 0.8 * $1::bigint
    ORDER BY timestamp DESC OFFSET $1 LIMIT 1)
DELETE FROM archon_mcp_requests WHERE ctid = ANY (ARRAY(
    SELECT t.ctid FROM archon_mcp_requests AS t, bound WHERE t.timestamp <= bound.at
    ORDER BY t.timestamp LIMIT $2))
RETURNING 1"""
)

Fetch = Callable[..., Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Kept:
    """Seconds that each is kept, None for ever, and how many request rows."""

    requests: float | None
    refusals: float | None
    sessions: float | None
    rows: int


class Retention:
    """Forgets every `interval` seconds; `fetch` runs a statement with its arguments.

    `purge(seconds)` forgets a batch of streams that have been over for so long, and says how many.
    """

    def __init__(
        self, fetch: Fetch, purge: Callable[[float], Awaitable[int]], kept: Kept, *, interval: float = 60.0
    ) -> None:
        self._fetch = fetch
        self._purge = purge
        self._interval = interval
        aged = (
            ("archon_mcp_requests", "timestamp", kept.requests),
            ("archon_mcp_refusals", "minute", kept.refusals),
            ("archon_mcp_sessions", "ended_at", kept.sessions),
            ("archon_mcp_usage", "hour", USAGE),
        )
        self._statements = [
            (table, _AGED.format(table=table, column=column), age) for table, column, age in aged if age
        ]
        self._statements.append(("archon_mcp_requests", _BEYOND, kept.rows))

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            try:
                await self.tick()
            except Exception as error:
                _log.warning("old rows could not be forgotten; it is tried again", extra={"why": repr(error)})
            await asyncio.sleep(self._interval)

    async def tick(self) -> int:
        """Forget what is due, batch by batch; how many rows that were."""
        total = 0
        for table, statement, limit in self._statements:
            forgotten = 0
            while batch := len(await self._fetch(statement, limit, BATCH)):
                forgotten += batch
                await asyncio.sleep(PAUSE)
            if forgotten:
                _log.info("old rows forgotten", extra={"table": table, "count": forgotten})
            total += forgotten
        while batch := await self._purge(STREAMS):
            total += batch
            await asyncio.sleep(PAUSE)
        return total
