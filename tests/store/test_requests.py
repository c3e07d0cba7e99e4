"""Request rows and refusals in Postgres: what a row says, and that it is there once whatever breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from archon_transport.sessions import Writer
from archon_transport.sessions.port import Unwritable
from archon_transport.sessions.record import uuid7
from archon_transport.signals.refusals import Refusal
from archon_transport.store import PostgresStore
from tests.faults.proxy import Proxy
from tests.sessions.rows import done, new_session

from .test_migrations import ARCHON_SCHEMA

ARCHON_TRIGGER = """
CREATE FUNCTION update_session_status() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    UPDATE archon_mcp_sessions SET last_activity = NEW.timestamp,
        status = CASE WHEN NEW.timestamp > now() - interval '5 minutes' THEN 'active' ELSE 'idle' END
    WHERE session_id = NEW.session_id;
    RETURN NEW;
END $$;
CREATE TRIGGER update_session_status AFTER INSERT ON archon_mcp_requests
    FOR EACH ROW EXECUTE FUNCTION update_session_status();
"""
"""What an Archon has on its table of requests, told from what is known of it."""

TOTALS = "SELECT requests, errors, bytes_in, bytes_out FROM archon_mcp_sessions WHERE session_id = $1"


@pytest.fixture
async def session_id(store: PostgresStore) -> str:
    session = new_session()
    await store.open(session, node="a", limit=None)
    return session.session_id


async def totals(store: PostgresStore, session_id: str) -> tuple[int, ...]:
    return tuple(await store.pool.fetchrow(TOTALS, session_id))


async def count(store: PostgresStore) -> int:
    found: int = await store.pool.fetchval("SELECT count(*) FROM archon_mcp_requests")
    return found


async def test_a_row_says_what_became_of_a_request(store: PostgresStore, session_id: str):
    """Archon's columns have Archon's words, ours beside them have the rest."""
    late = {"outcome": "timeout", "error": "timeout", "error_code": -32001}
    row = done(session_id, "tools/call", tool="find_tasks", principal="anna", bytes_in=5, bytes_out=7, **late)
    await store.write(
        [row, done(session_id), done(session_id, outcome="detached", error="no")], {}, node="n1"
    )
    query = "SELECT * FROM archon_mcp_requests ORDER BY outcome DESC"
    found = await store.pool.fetch(query)
    assert [(each["status"], each["outcome"]) for each in found] == [
        ("timeout", "timeout"),
        ("success", "ok"),
        ("error", "detached"),
    ]
    first = dict(found[0])
    assert first.pop("request_id") == row.request_id
    assert abs(first.pop("timestamp").timestamp() - row.began) < 0.001
    assert {name: value for name, value in first.items() if value} == {
        "session_id": first["session_id"],
        "method": "tools/call",
        "tool_name": "find_tasks",
        "duration_ms": 2,
        "status": "timeout",
        "error_message": "timeout",
        "outcome": "timeout",
        "error_code": -32001,
        "principal": "anna",
        "bytes_in": 5,
        "bytes_out": 7,
        "node": "n1",
    }


async def test_a_batch_that_comes_again_adds_nothing(store: PostgresStore, session_id: str):
    """Rows decide by their ids whether they are new, and only new ones are added to the totals."""
    rows = [done(session_id, bytes_in=1) for _ in range(5)]
    await store.write(rows[:3], {}, node="a")
    for _ in range(2):
        assert await store.write(rows, {}, node="a") == {session_id: True}
    assert await totals(store, session_id) == (5, 0, 5, 0)
    assert await count(store) == 5


async def test_late_rows_of_an_ended_session_are_kept_and_wake_nobody(store: PostgresStore, session_id: str):
    """What a session did before it ended is its own, also when it is written after; its end stays as it was."""
    await store.end(session_id, "deleted")
    query = """SELECT status, disconnected_at, disconnect_reason, last_activity, ended_at
        FROM archon_mcp_sessions"""
    before = await store.pool.fetchrow(query)
    rows = [done(session_id, "delete"), done(session_id)]
    assert await store.write(rows, {}, node="a") == {session_id: False}
    assert await store.pool.fetchrow(query) == before
    assert await totals(store, session_id) == (1, 0, 0, 0)


async def test_a_session_that_is_gone_spoils_no_batch(store: PostgresStore, session_id: str):
    """Rows of a session that was deleted from the table are left out, and the store says whose."""
    gone = str(uuid7())
    rows = [done(gone), done(session_id), done(gone)]
    assert await store.write(rows, {gone: True}, node="a") == {session_id: True}
    assert await count(store) == 1


async def test_no_text_spoils_a_batch(store: PostgresStore, session_id: str):
    """NUL, half characters and long texts are cut and cleaned to their columns."""
    odd = "x\x00\ud800" + "y" * 5000
    row = done(session_id, odd, tool=odd, error=odd, principal=odd, error_code=2**31 - 1)
    row.seconds = 1e12
    await store.write([row], {}, node="a")
    found = await store.pool.fetchrow(
        "SELECT method, tool_name, error_message, duration_ms FROM archon_mcp_requests"
    )
    assert [len(text) for text in found[:3]] == [100, 100, 500]
    assert found["duration_ms"] == 2**31 - 1


async def test_what_no_column_takes_is_refused_as_such(store: PostgresStore, session_id: str):
    """A value outside of its column is `Unwritable`, writes nothing, and costs the writer that row only."""
    rows = [done(session_id), done(session_id, error="no", error_code=2**40), done(session_id)]
    with pytest.raises(Unwritable, match=r"^DataError$"):
        await store.write(rows, {}, node="a")
    assert await count(store) == 0
    writer = Writer(store, node="a")
    for row in rows:
        writer.add(row)
    await writer.flush()
    assert (await count(store), writer.lost) == (2, 1)
    assert await totals(store, session_id) == (2, 0, 0, 0)


async def test_refusals_add_up(store: PostgresStore):
    """One row for each minute, rule, network and client, whichever node counted; the first example stays."""
    for example, number in (("first", 2), ("second", 3)):
        await store.refuse(
            [
                Refusal(29_000_000, "host", "10.0.0.0/24", "curl", 421, example, number),
                Refusal(29_000_001, "host", "10.0.0.0/24", "curl", 421, example, 1),
            ]
        )
    rows = await store.pool.fetch("SELECT * FROM archon_mcp_refusals ORDER BY minute")
    assert [(row["count"], row["example"], row["status"]) for row in rows] == [
        (5, "first", 421),
        (2, "first", 421),
    ]
    assert rows[0]["minute"].timestamp() == 29_000_000 * 60


async def test_on_a_database_that_archon_made(empty_dsn: str):
    """With Archon's key and its trigger for each row a batch is written, once, and touches its session."""
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(ARCHON_SCHEMA + ARCHON_TRIGGER)
    await connection.close()
    store = PostgresStore(empty_dsn)
    await store.start()
    session = new_session()
    await store.open(session, node="a", limit=None)
    rows = [done(session.session_id, error="no") for _ in range(3)]
    for _ in range(2):
        assert await store.write(rows, {}, node="a") == {session.session_id: True}
    assert await totals(store, session.session_id) == (3, 3, 0, 0)
    await store.close()


@pytest.mark.long
async def test_a_large_batch_is_quick(store: PostgresStore):
    """Five hundred rows of as many sessions are no more than five hundred times one, also after many batches."""
    sessions = [new_session() for _ in range(500)]
    for session in sessions:
        await store.open(session, node="a", limit=None)
    for _ in range(8):  # the server plans anew, without the numbers, after the fifth
        async with asyncio.timeout(5):
            await store.write([done(session.session_id) for session in sessions], {}, node="a")
    assert await count(store) == 8 * 500


@pytest.mark.parametrize("away", [False, True], ids=["back at once", "away for a while"])
async def test_a_connection_cut_in_the_middle_of_a_commit(store: PostgresStore, dsn: str, away: bool):
    """The batch is committed, the answer is cut off: it comes again and counts once."""
    session = new_session()
    await store.open(session, node="a", limit=None)
    async with Proxy(dsn) as proxy:
        far = PostgresStore(proxy.dsn)
        await far.start()
        writer = Writer(far, node="a")
        for _ in range(10):
            writer.add(done(session.session_id, error="no", bytes_in=1))
        async with store.pool.acquire() as connection:
            async with connection.transaction():
                await connection.execute("SELECT FROM archon_mcp_sessions FOR UPDATE")
                writing = asyncio.create_task(writer.flush())
                await _until(connection, "SELECT count(*) FROM pg_locks WHERE NOT granted")
                proxy.freeze()  # from here on no answer comes through
            await _until(connection, "SELECT count(*) = 10 FROM archon_mcp_requests")
        if away:
            proxy.refuse()
        proxy.cut()
        proxy._flows.set()
        await writing
        assert repr(writer).startswith(f"<Writer waiting={10 if away else 0} ")
        proxy.heal()
        await writer.flush()
        assert writer.lost == 0
        await far.close()
    assert await totals(store, session.session_id) == (10, 10, 10, 0)
    assert await count(store) == 10


async def _until(connection: Any, query: str) -> None:
    async with asyncio.timeout(5):
        while not await connection.fetchval(query):
            await asyncio.sleep(0.01)
