"""Sums and percentiles: exact against the rows, whenever and however these come."""

from datetime import UTC, datetime, timedelta

NOW = datetime.now(UTC)
DAY = (NOW - timedelta(days=1), NOW + timedelta(hours=1))


async def test_tools_are_summed_with_their_percentiles(reports, rows):
    """Counts, errors, durations and estimated tokens of each tool, the most used first."""
    session = await rows.session()
    for ms in range(1, 101):
        await rows.request(session, ms=ms)
    await rows.request(session, "manage_task", outcome="tool_error")
    await rows.request(session, None, method="ping", outcome="timeout")
    tools = await reports.tools(*DAY)
    assert [(t.tool, t.requests, t.errors, t.timeouts) for t in tools] == [
        ("find_tasks", 100, 0, 0),
        ("manage_task", 1, 1, 0),
        ("ping", 1, 0, 1),
    ]
    first = tools[0]
    assert (first.min_ms, first.max_ms, first.avg_ms, first.p50, first.tokens) == (1, 100, 50.5, 50.5, 10_000)
    assert first.p99 > first.p95 > first.p50
    assert tools[2].tokens == 0
    assert await reports.session_tokens(session) == 10_100


async def test_days_hours_and_sums_agree(reports, rows):
    """The same rows, cut differently, add up to the same; what is out of the time is left out."""
    session = await rows.session()
    for ago in (1, 5000, 80_000, 100 * 86_400):
        await rows.request(session, ago=ago, outcome="error", code=-32603)
    totals = await reports.totals(*DAY)
    assert (totals["requests"], totals["errors"], totals["sessions"]) == (3, 3, 1)
    for unit in ("hour", "day"):
        assert sum(each.requests for each in await reports.intervals(*DAY, unit)) == 3


async def test_a_tool_that_never_succeeded_has_no_row_of_its_own(reports, rows):
    """A client that invents names does not fill the table."""
    session = await rows.session()
    await rows.request(session, "real")
    for name in ("real", "x1", "x2", "x3"):
        await rows.request(session, name, outcome="error", code=-32602)
    assert {t.tool: t.requests for t in await reports.tools(*DAY)} == {"(unknown)": 3, "real": 2}


async def test_usage_outlives_its_requests(reports, rows, store):
    """Rows that are forgotten stay counted."""
    await rows.request(await rows.session())
    await store.pool.execute("DELETE FROM archon_mcp_requests")
    assert (await reports.totals(*DAY))["requests"] == 1
    assert await reports.quantiles(*DAY) == [None, None, None]


async def test_a_row_that_comes_twice_counts_once(reports, rows, store):
    """A batch that is repeated after an uncertain commit changes nothing."""
    request = await rows.request(await rows.session())
    await store.pool.execute(
        "INSERT INTO archon_mcp_requests SELECT * FROM (SELECT request_id, session_id, method, tool_name "
        "FROM archon_mcp_requests) AS r ON CONFLICT DO NOTHING"
    )
    assert request
    assert (await reports.totals(*DAY))["requests"] == 1


async def test_health_and_endings_count_sessions(reports, rows):
    """Alive, ended and why."""
    await rows.session()
    await rows.session(idle=400)
    await rows.session(idle=4000)
    await rows.session(ended="operator")
    health = await reports.health()
    assert (health["active"], health["healthy"], health["aging"], health["stale"]) == (3, 1, 1, 1)
    endings = await reports.endings(7)
    assert (endings["total"], endings["reasons"]) == (1, {"operator": 1})
    assert endings["max"] > 3000


async def test_knowledge_may_be_absent(reports, store):
    """A database without the tables of knowledge has none, which is no error."""
    assert await reports.sources() == []
    async with store.pool.acquire() as connection:
        await connection.execute("ALTER TABLE archon_sources RENAME TO hidden")
        try:
            assert await reports.sources() is None
        finally:
            await connection.execute("ALTER TABLE hidden RENAME TO archon_sources")


async def test_jobs_are_shown_where_there_are_any(reports, store):
    """The newest first, with what they have; a change of one is told to whoever watches."""
    await store.pool.execute(
        "CREATE TABLE IF NOT EXISTS archon_knowledge_jobs (source_id TEXT NOT NULL, request JSONB NOT NULL, "
        "status TEXT NOT NULL DEFAULT 'queued', created_at TIMESTAMPTZ NOT NULL DEFAULT now())"
    )
    for source in ("a", "b"):
        await store.pool.execute(
            "INSERT INTO archon_knowledge_jobs (source_id, request) VALUES ($1, '{}')", source
        )
    assert [job["source_id"] for job in await reports.jobs()] == ["b", "a"]
    before = await reports.pulse()
    await store.pool.execute("UPDATE archon_knowledge_jobs SET status = 'running' WHERE source_id = 'a'")
    assert (await reports.pulse())["jobs"] != before["jobs"]
