"""Retention: what is old is forgotten, batch by batch, by one node at a time; what is not old stays."""

import asyncpg
import pytest

from archon_transport.store import PostgresStore
from archon_transport.upkeep import Kept, Retention, retention
from tests.reports.rows import Rows

DAY = 86400.0


@pytest.fixture
async def store(dsn):
    store = PostgresStore(dsn)
    await store.start()
    yield store
    await store.close()


async def counted(store, table):
    return await store.pool.fetchval(f"SELECT count(*) FROM {table}")


async def test_what_is_old_is_forgotten_and_nothing_else(store, dsn, monkeypatch):
    """By age and by number, over several batches; while another node forgets, nothing; never means never."""
    monkeypatch.setattr(retention, "BATCH", 3)
    rows = Rows(store.pool)
    session, ended = await rows.session(), await rows.session(ended="idle")
    for age in (*range(1, 8), *(40 + n for n in range(8))):
        await rows.request(session, ago=age * DAY)
    await rows.request(ended)
    await rows.refusal()
    await store.pool.execute(
        "INSERT INTO archon_mcp_streams (session_id, stream_id, kind, closed_at) "
        "SELECT $1, n::text, 'call', now() - make_interval(hours => n) FROM unnest(ARRAY[1, 2, 30]) AS n",
        session,
    )
    await store.pool.execute("UPDATE archon_mcp_refusals SET minute = now() - interval '40 days'")
    never = Retention(store.pool.fetch, store.purge, Kept(None, None, None, 1000))
    assert await never.tick() == 1, "a stream that was over yesterday"
    monthly = Retention(store.pool.fetch, store.purge, Kept(30 * DAY, 30 * DAY, 90 * DAY, 1000))
    other = await asyncpg.connect(dsn)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(1635017581, hashtext(current_schema()))")
        assert await monthly.tick() == 0
    await other.close()
    assert await monthly.tick() == 9
    assert await counted(store, "archon_mcp_requests") == 8
    assert await counted(store, "archon_mcp_sessions") == 2
    await store.pool.execute(
        "UPDATE archon_mcp_sessions SET ended_at = now() - interval '91 days' WHERE ended_at IS NOT NULL"
    )
    assert await monthly.tick() == 1
    assert await counted(store, "archon_mcp_requests") == 7, "an ended session takes its requests along"
    assert await Retention(store.pool.fetch, store.purge, Kept(None, None, None, 5)).tick() == 2
    oldest = await store.pool.fetchval(
        "SELECT extract(day FROM now() - min(timestamp))::int FROM archon_mcp_requests"
    )
    assert oldest == 5, "the newest stay"
    assert await store.pool.fetchval("SELECT sum(requests)::int FROM archon_mcp_usage") == 16
