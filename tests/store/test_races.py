"""Races between nodes on one Postgres, each brought about and not waited for."""

from __future__ import annotations

import asyncio
import random

import pytest

from archon_transport.sessions.port import TableFull
from archon_transport.store import PostgresStore, room
from tests.sessions.rows import done, new_session

from .test_sessions_contract import DAY


async def test_the_last_place_is_given_once(store: PostgresStore):
    """While one node opens the last session that fits, uncommitted, another waits and then finds it full."""
    async with store.pool.acquire() as connection, connection.transaction():
        await room._open(connection, room.insert_values(new_session(), "other"), 1)
        opening = asyncio.create_task(store.open(new_session(), node="a", limit=1))
        done, _ = await asyncio.wait([opening], timeout=0.3)
        assert not done
    with pytest.raises(TableFull):
        await opening
    assert await store.count() == 1


async def test_writers_never_deadlock(store: PostgresStore):
    """Batches of overlapping sessions in any order make the server break up no deadlock."""
    chance = random.Random(7)
    sessions = [new_session() for _ in range(300)]
    for session in sessions:
        await store.open(session, node="a", limit=None)
    batches = [[done(session.session_id) for session in chance.sample(sessions, 200)] for _ in range(60)]
    alive = await asyncio.gather(*(store.write(batch, {}, node="a") for batch in batches))
    assert [len(ids) for ids in alive] == [200] * 60
    totals = await store.pool.fetchrow("SELECT sum(requests)::int AS all_of_them FROM archon_mcp_sessions")
    assert totals["all_of_them"] == 60 * 200
    # A writer that was chosen as the victim is repeated by the store, so only the server knows of it.
    await store.close()
    await store.start()
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await store.pool.fetchval(query) == 0


async def test_one_node_sweeps_at_a_time(store: PostgresStore):
    """While one node's sweep is not committed another's ends nothing, and waits for nothing."""
    session = new_session()
    await store.open(session, node="a", limit=None)
    await store.pool.execute(
        "UPDATE archon_mcp_sessions SET last_activity = last_activity - interval '2 days'"
    )
    soon = (await store.clock()).replace(year=2999)
    async with store.pool.acquire() as connection, connection.transaction():
        lock = "SELECT pg_try_advisory_xact_lock(1635017580, hashtext(current_schema()))"
        assert await connection.fetchval(lock)
        assert await store.expire(DAY, unless_after=soon) == 0
    assert await store.expire(DAY, unless_after=soon) == 1


async def test_what_is_being_touched_does_not_expire(store: PostgresStore):
    """A row that an uncommitted touch holds is passed over by the sweep and by the making of room."""
    session = new_session()
    await store.open(session, node="a", limit=None)
    await store.pool.execute(
        "UPDATE archon_mcp_sessions SET last_activity = last_activity - interval '2 days'"
    )
    soon = (await store.clock()).replace(year=2999)
    async with store.pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE archon_mcp_sessions SET last_activity = clock_timestamp()")
        assert await store.expire(DAY, unless_after=soon) == 0
        with pytest.raises(TableFull):
            await store.open(new_session(), node="a", limit=1)
    assert await store.admit(session.session_id, node="a") == session


async def test_an_admission_does_not_wait_for_the_disk_and_nothing_else_skips_it(store: PostgresStore):
    """The relaxed commit of a touch is gone with its statement."""
    session = new_session()
    await store.open(session, node="a", limit=None)
    async with store.pool.acquire() as connection:
        before = await connection.fetchval("SHOW synchronous_commit")
    for _ in range(3):
        await store.admit(session.session_id, node="a")
    async with store.pool.acquire() as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == before == "on"
