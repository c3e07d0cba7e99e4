"""A million request rows: no view takes longer than 200 ms."""

import statistics
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.web.house import opened

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FILL = """
INSERT INTO archon_mcp_requests (request_id, session_id, method, tool_name, timestamp, duration_ms, status, outcome,
    error_message, bytes_in, bytes_out)
SELECT gen_random_uuid(), ($1::uuid[])[1 + n % 200], CASE WHEN n % 10 = 0 THEN 'tools/list' ELSE 'tools/call' END,
    CASE WHEN n % 10 > 0 THEN 'tool_' || n % 29 END, now() - make_interval(secs => n * 2.5),
    (random() * 1000)::int, CASE WHEN n % 50 = 0 THEN 'error' ELSE 'success' END,
    CASE WHEN n % 50 = 0 THEN 'tool_error' ELSE 'ok' END, CASE WHEN n % 50 = 0 THEN repeat('wrong ', 40) END, 200, 4000
FROM generate_series($2::int, $3::int) AS n"""

LIMIT = 0.2


VIEWS = (
    "/",
    "/requests?q=not+there",
    "/requests?tool=tool_3&outcome=failed",
    "/tools?over=month",
    "/problems",
    "/system",
    "/sessions/{one}",
    "/api/mcp/clients",
    "/api/mcp/sessions/health",
    "/api/mcp/sessions/{one}",
    "/api/mcp/usage/summary?days=90",
    "/api/mcp/errors",
    "/api/mcp/analytics?days=90",
    "/api/mcp/logs?search=not+there",
)


async def test_no_view_takes_longer_than_200_ms(reports, rows, store, dsn):
    """Every question that a view asks, filters and searches that find nothing among them: the median of five."""
    sessions = [await rows.session(f"client {n}") for n in range(200)]
    for start in range(0, 1_000_000, 100_000):
        await store.pool.execute(FILL, sessions, start, start + 99_999, timeout=300)
    await store.pool.execute("ANALYZE", timeout=300)
    end = datetime.now(UTC)
    month, one = (end - timedelta(days=30), end), sessions[7]
    questions = {
        "now": reports.now,
        "pulse": reports.pulse,
        "sessions": reports.sessions,
        "sessions searched": lambda: reports.sessions("now", "nobody"),
        "requests": reports.requests,
        "requests, late page": lambda: reports.requests(limit=50, offset=10_000),
        "requests counted": lambda: reports.requests(counted=True, limit=1000),
        "requests failed": lambda: reports.requests(outcomes=("tool_error",)),
        "requests of a tool": lambda: reports.requests(tool="tool_3"),
        "requests searched": lambda: reports.requests(search="not there at all"),
        "session": lambda: reports.requests(session=one),
        "session failed": lambda: reports.requests(session=one, outcomes=("timeout",)),
        "session tokens": lambda: reports.session_tokens(one),
        "tools": lambda: reports.tools(*month),
        "totals": lambda: reports.totals(*month),
        "hours": lambda: reports.intervals(*month),
        "days": lambda: reports.intervals(*month, "day"),
        "quantiles": lambda: reports.quantiles(*month),
        "health": reports.health,
        "endings": lambda: reports.endings(30),
        "refusals": reports.refusals,
        "nodes": reports.nodes,
    }
    async with opened(dsn) as site:
        for view in VIEWS:
            path = view.format(one=one)
            fresh = (f"{path}{'&' if '?' in path else '?'}fresh={n}" for n in range(100))
            questions[view] = lambda fresh=fresh: site.text(next(fresh))
        took = await medians(questions)
    print(*(f"{name}: {seconds * 1000:.0f} ms" for name, seconds in took.items()), sep="\n")
    assert {name: seconds for name, seconds in took.items() if seconds > LIMIT} == {}
    assert (await reports.totals(end - timedelta(days=200), end))["requests"] == 1_000_000


async def medians(questions):
    return {name: statistics.median([await timed(ask) for _ in range(5)]) for name, ask in questions.items()}


async def timed(ask):
    started = time.perf_counter()
    await ask()
    return time.perf_counter() - started
