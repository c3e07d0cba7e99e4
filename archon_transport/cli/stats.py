"""`archon-transport stats`: how many, how fast, and what went wrong, over the last hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .database import with_store
from .parser import command_parser, read_command
from .table import as_json, table

if TYPE_CHECKING:
    from ..store import PostgresStore


def command(argv: Sequence[str]) -> int:
    """Print the figures and return the exit code."""
    parser = command_parser("stats", "Sessions, tools with their times, and refusals.")
    parser.add_argument("--hours", type=int, default=24, metavar="N", help="how far back [default: 24]")
    parser.add_argument("--json", action="store_true", help="for machines")
    settings, typed = read_command(parser, argv)
    if not 1 <= typed.hours <= 2160:
        parser.error("--hours must be a whole number from 1 to 2160")

    async def work(store: PostgresStore) -> int:
        from ..reports import Reports

        reports, end = Reports(store.pool), datetime.now(UTC)
        start = end - timedelta(hours=typed.hours)
        now, totals = await reports.now(), await reports.totals(start, end)
        tools, refusals = await reports.tools(start, end), await reports.refusals(hours=typed.hours)
        if typed.json:
            print(as_json({"now": now, "totals": totals, "tools": tools, "refusals": refusals}))
            return 0
        print(
            f"{now['sessions']} sessions, {now['calls']} open streams, {now['questions']} waiting questions\n"
            f"{totals['requests']} requests in {typed.hours} h, {totals['errors']} failed, "
            f"{totals['timeouts']} timed out, {totals['completion_tokens']} tokens (estimated)\n"
        )
        headings = (
            "TOOL OR METHOD",
            "REQUESTS",
            "FAILED",
            "P50 MS",
            "P95 MS",
            "P99 MS",
            "TOKENS (ESTIMATED)",
        )
        lines = [(t.tool, t.requests, t.errors + t.timeouts, t.p50, t.p95, t.p99, t.tokens) for t in tools]
        print(table(headings, lines))
        for refusal in refusals:
            print(f"refused {refusal.count} x: " + table((refusal.words,), ()))
        return 0

    return with_store(settings, work)
