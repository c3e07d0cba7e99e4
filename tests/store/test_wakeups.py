"""What a store does when its database goes away: cut, frozen, refused, restarted; and how it hears again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from archon_transport.embedded.cluster import Cluster
from archon_transport.sessions.port import StoreUnavailable
from archon_transport.store import PostgresStore
from tests.faults.proxy import Proxy
from tests.sessions.rows import done, new_session

pytestmark = pytest.mark.long


async def until(true: Callable[[], Any], seconds: float = 8.0) -> float:
    """Wait until it is true; how long that took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, "it did not come true"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


WAITING = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def becomes_true(connection: Any, query: str) -> None:
    """Ask until the answer is true; the only news of another backend's waiting is in its table."""
    for _ in range(500):
        if await connection.fetchval(query):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it did not come true: {query}")


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    async with Proxy(dsn) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[PostgresStore]:
    """A store whose every connection goes through the proxy."""
    store = PostgresStore(proxy.dsn, command_timeout=1.0)
    await store.start()
    yield store
    proxy.heal()
    await store.close()


@pytest.fixture
async def near(dsn: str) -> AsyncIterator[PostgresStore]:
    """Another node, whose connections nobody touches."""
    store = PostgresStore(dsn)
    await store.start()
    yield store
    await store.close()


class Ears:
    """A subscriber that notes what it hears, in order; None is a gap."""

    def __init__(self, store: PostgresStore) -> None:
        self.heard: list[str | None] = []
        store.subscribe(self.heard.append, lambda: self.heard.append(None))


async def test_a_store_that_has_started_hears(dsn: str):
    """The start returns when the node listens, after the subscribers were told to begin anew."""
    store = PostgresStore(dsn)
    ears = Ears(store)
    assert not store.heard_within(1e9)
    await store.start()
    assert store.heard_within(1.0)
    assert ears.heard == [None]
    await store.close()
    assert not store.heard_within(1e9)


async def test_a_quiet_connection_stays_trusted(near: PostgresStore):
    """Signs of life keep the trust while nothing ends."""
    first = near._wakeups._heard_at
    await until(lambda: near._wakeups._heard_at > first + 1)
    assert near.heard_within(1.0)


async def test_after_a_cut_the_node_is_told_of_the_gap(proxy: Proxy, far: PostgresStore, near: PostgresStore):
    """An end during the gap is not heard, but the gap is; ends after it are heard again."""
    ears = Ears(far)
    sessions = [new_session() for _ in range(2)]
    for session in sessions:
        await near.open(session, node="a", limit=None)
    proxy.refuse()
    await until(lambda: not far.heard_within(2.0), 3.0)
    await near.end(sessions[0].session_id, "deleted")
    proxy.heal()
    await until(lambda: None in ears.heard)
    assert ears.heard == [None]
    await near.end(sessions[1].session_id, "deleted")
    await until(lambda: len(ears.heard) == 2)
    assert ears.heard == [None, sessions[1].session_id]
    await until(lambda: far.heard_within(1.0))


@pytest.mark.parametrize("fault", [Proxy.freeze, Proxy.refuse])
async def test_trust_ends_within_two_seconds(proxy: Proxy, far: PostgresStore, fault: Any):
    """Frozen or broken, the wake-up connection is distrusted when it has been silent for two seconds."""
    fault(proxy)
    assert await until(lambda: not far.heard_within(2.0), 3.0) < 2.1
    proxy.heal()
    await until(lambda: far.heard_within(1.0))


async def test_a_subscriber_that_fails_makes_nobody_deaf(near: PostgresStore):
    """One subscriber's exception keeps no other from hearing, nor the task from running."""

    def fail(*args: Any) -> None:
        raise RuntimeError("a subscriber's mistake")

    near.subscribe(fail, fail)
    ears = Ears(near)
    for heard in (1, 2):
        session = new_session()
        await near.open(session, node="a", limit=None)
        await near.end(session.session_id, "deleted")
        await until(lambda heard=heard: len(ears.heard) == heard)


async def every_method(store: PostgresStore, session_id: str) -> list[Any]:
    """What each method of the port says or raises now."""
    now = new_session().connected_at
    calls = [
        store.open(new_session(), node="a", limit=None),
        store.open(new_session(), node="a", limit=1000),
        store.admit(session_id, node="a"),
        store.adopt(session_id, ("i", "s", None)),
        store.write([done(session_id)], {}, node="a"),
        store.clock(),
        store.expire(3600, unless_after=now),
        store.count(),
        store.page(),
        store.end(session_id, "operator"),
    ]
    return [(await asyncio.gather(call, return_exceptions=True))[0] for call in calls]


async def test_while_the_database_is_away_every_method_says_so(proxy: Proxy, far: PostgresStore):
    """A refused connection is `StoreUnavailable` from every method, and over when the database is back."""
    session = new_session()
    await far.open(session, node="a", limit=None)
    proxy.refuse()
    away = await every_method(far, session.session_id)
    assert [type(answer) for answer in away] == [StoreUnavailable] * 10
    assert not await far.ping()
    proxy.heal()
    back = await every_method(far, session.session_id)
    assert not [answer for answer in back if isinstance(answer, BaseException)]
    assert await far.ping()


async def test_a_frozen_database_costs_one_time_out(proxy: Proxy, far: PostgresStore):
    """A server that does not answer costs its caller the time-out once, and a cancelled caller nothing."""
    session = new_session()
    await far.open(session, node="a", limit=None)
    proxy.freeze()
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await far.admit(session.session_id, node="a")
    assert time.monotonic() - started < 1.8
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await far.admit(session.session_id, node="a")
    assert time.monotonic() - started < 0.6
    proxy.heal()
    assert await far.admit(session.session_id, node="a") == session


async def test_many_newcomers_wait_one_time_out_together(proxy: Proxy, far: PostgresStore):
    """Who waits for a place in line, for a connection and for an answer waits for all of it one time-out long."""
    proxy.freeze()
    started = time.monotonic()
    waiting = [far.open(new_session(), node="a", limit=1000) for _ in range(30)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert time.monotonic() - started < 1.8


async def test_a_broken_pooled_connection_is_not_the_callers_trouble(proxy: Proxy, far: PostgresStore):
    """Where every pooled connection was cut and the server is there, nobody is told."""
    session = new_session()
    await far.open(session, node="a", limit=None)
    for _ in range(5):
        await asyncio.gather(*(far.admit(session.session_id, node="a") for _ in range(8)))
        proxy.cut()
        # The cut is made, but not seen: all eight meet a connection that breaks under them.
        answers = await asyncio.gather(*(far.admit(session.session_id, node="a") for _ in range(8)))
        assert answers == [session] * 8


async def test_a_backend_that_is_ended_while_it_works(far: PostgresStore, near: PostgresStore):
    """A statement that may be repeated survives the end of its backend, a batch too; one that may not does not."""
    session = new_session()
    await far.open(session, node="a", limit=None)
    async with near.pool.acquire() as connection:
        for work, outcome in (
            (far.admit(session.session_id, node="a"), session),
            (far.write([done(session.session_id)], {}, node="a"), {session.session_id: True}),
            (far.end(session.session_id, "deleted"), StoreUnavailable),
        ):
            async with connection.transaction():
                await connection.execute("SELECT FROM archon_mcp_sessions FOR UPDATE")
                waiting = asyncio.create_task(work)
                await becomes_true(connection, f"SELECT count(pg_terminate_backend(pid)) {WAITING}")
            answer = (await asyncio.gather(waiting, return_exceptions=True))[0]
            assert answer == outcome or type(answer) is outcome
    assert await near.pool.fetchval("SELECT requests FROM archon_mcp_sessions") == 1


async def test_closing_does_not_wait_for_a_frozen_database(dsn: str):
    """The end of the program is bounded also while the database is silent."""
    async with Proxy(dsn) as proxy:
        store = PostgresStore(proxy.dsn)
        await store.start()
        await store.count()
        proxy.freeze()
        async with asyncio.timeout(8):
            await store.close()
        with pytest.raises(StoreUnavailable):
            await store.count()


async def test_before_the_start_the_store_is_away():
    """A store that has not been started is unavailable, and closing it is nothing."""
    store = PostgresStore("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable):
        await store.count()
    assert not await store.ping()
    await store.close()


async def test_a_server_that_comes_up_late_is_waited_for(dsn: str):
    """A start that meets a server which refuses at first goes on when it accepts."""
    async with Proxy(dsn) as proxy:
        proxy.refuse()
        store = PostgresStore(proxy.dsn)
        starting = asyncio.create_task(store.start())
        await until(lambda: proxy.accepted >= 2)
        proxy.heal()
        await starting
        assert await store.count() == 0
        await store.close()


async def test_deadlocks_are_tried_again(near: PostgresStore):
    """A write that the server chose as the victim of a deadlock is made once, by the second attempt."""
    first, second = sorted((new_session(), new_session()), key=lambda session: session.session_id)
    for session in (first, second):
        await near.open(session, node="a", limit=None)
    lock = "SELECT FROM archon_mcp_sessions WHERE session_id = $1 FOR UPDATE"
    async with near.pool.acquire() as connection:
        await connection.execute("SET deadlock_timeout = '60s'")  # ours is the other one's victim
        async with connection.transaction():
            await connection.execute(lock, second.session_id)
            rows = [done(first.session_id), done(second.session_id)]
            writing = asyncio.create_task(near.write(rows, {}, node="a"))
            await becomes_true(near.pool, f"SELECT count(*) {WAITING}")
            await connection.execute(lock, first.session_id)
        await connection.execute("RESET deadlock_timeout")
        async with asyncio.timeout(5):
            assert await writing == {first.session_id: True, second.session_id: True}
    totals = await near.pool.fetch("SELECT requests FROM archon_mcp_sessions")
    assert [row["requests"] for row in totals] == [1, 1]


async def test_sessions_outlive_postgres(cluster: Cluster):
    """After a clean restart and after kill -9 of Postgres the store goes on with the sessions it had."""
    store = PostgresStore(cluster.layout.dsn("postgres"))
    ears = Ears(store)
    await store.start()
    session = new_session()
    await store.open(session, node="a", limit=None)
    for clean in (True, False):
        await asyncio.gather(*(store.admit(session.session_id, node="a") for _ in range(8)))
        gaps = len(ears.heard)
        if clean:
            await cluster.stop()
        else:
            assert cluster._child is not None
            cluster._child.kill()
            await until(lambda: not cluster.alive)
        with pytest.raises(StoreUnavailable):
            await store.admit(session.session_id, node="a")
        await cluster.start()
        answers = await asyncio.gather(*(store.admit(session.session_id, node="a") for _ in range(8)))
        assert answers == [session] * 8
        await until(lambda gaps=gaps: len(ears.heard) > gaps)
        await until(lambda: store.heard_within(1.0))
    await store.close()


async def test_an_operators_statement_ends_no_connection_for_long(dsn: str, near: PostgresStore):
    """When an administrator ends every connection at once, the next request and the next end are served."""
    ears = Ears(near)
    session = new_session()
    await near.open(session, node="a", limit=None)
    admin = await asyncpg.connect(dsn)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await admin.close()
    assert await near.admit(session.session_id, node="a") == session
    await until(lambda: None in ears.heard)
    assert await near.end(session.session_id, "operator")
    await until(lambda: session.session_id in ears.heard)
