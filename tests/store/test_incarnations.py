"""Who lives and who is dead, the fence, the repair, and what is heard across broken connections."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from archon_transport.sessions.port import StoreUnavailable
from archon_transport.sessions.streams import Event, Incarnation
from archon_transport.store import PostgresStore, incarnations, streams
from tests.faults.proxy import Proxy

from .nodes import Node, Nodes, asks, grows, new_key, said, until
from .test_wakeups import WAITING, becomes_true

ERROR = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"repeat it"}}'


async def test_others_are_suspects_and_silence_is_counted(nodes: Nodes):
    """A node sees every other incarnation with what tells its process, and how long it was silent."""
    other = Incarnation(nodes.a.me, "node", "boot", "pid:[1]", 42, 4711)
    assert await nodes.b.store.suspects(10) == [(other, False)]
    await nodes.later(11)
    assert await nodes.b.store.suspects(10) == [(other, True)]
    assert await nodes.a.store.beat(nodes.a.me)
    assert await nodes.b.store.suspects(10) == [(other, False)]


async def test_one_declares_another_dead_once(nodes: Nodes):
    """The first who buries is told so; the dead one's heart does not beat again."""
    assert sorted(
        await asyncio.gather(*(store.bury(nodes.a.me) for store in (nodes.a.store, nodes.b.store)))
    ) == [False, True]
    assert not await nodes.a.store.beat(nodes.a.me)
    assert not await nodes.a.store.beat(str(uuid.uuid4()))
    assert await nodes.b.store.suspects(0) == []
    assert await nodes.b.store.beat(nodes.b.me)


async def test_the_dead_append_nothing(nodes: Nodes):
    """Neither to a stream that was theirs nor to a new one; no event and no question is stored."""
    key, new = new_key(), new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    await nodes.b.store.bury(nodes.a.me)
    late = [grows(key, said(2, "question"), questions=[asks()]), grows(new, said(1), opens=True, closes=True)]
    assert await nodes.a.append(*late) == {}
    assert await nodes.b.store.read(key, (1, 0)) == ([said(1)], False)
    assert await nodes.b.store.read(new, (1, 0)) == ([], True)
    assert not await nodes.b.store.answer((key[0], "q-1"), None, b"{}")


async def test_the_open_streams_of_the_dead_are_repaired_once(nodes: Nodes):
    """Each gets its error under the next epoch and is closed; its questions fail; its viewer is told."""
    key, closed, living = new_key(), new_key(), new_key()
    await nodes.a.append(
        grows(key, said(1), said(2, "question"), opens=True, questions=[asks()]),
        grows(closed, said(1, "response"), opens=True, closes=True),
    )
    await nodes.b.append(grows(living, said(1), opens=True))
    await nodes.b.attach(key)
    assert await nodes.b.store.orphans(10) == []
    assert not await nodes.b.store.repair(key, ERROR), "its incarnation lives"
    await nodes.b.store.bury(nodes.a.me)
    assert await nodes.b.store.orphans(10) == [key]
    heard = len(nodes.b.ears.streams)
    repaired = await asyncio.gather(*(nodes.b.store.repair(key, ERROR) for _ in range(5)))
    assert repaired.count(True) == 1
    assert nodes.b.ears.streams[heard:] == [key]
    assert await nodes.b.store.orphans(10) == []
    events = [said(1), said(2, "question"), Event(2, 1, "response", ERROR)]
    assert await nodes.b.store.read(key, (1, 0)) == (events, True)
    assert await nodes.b.store.read(closed, (1, 0)) == ([said(1, "response")], True)
    assert not await nodes.b.store.answer((key[0], "q-1"), None, b"{}")
    for each in (closed, living, new_key()):
        assert not await nodes.b.store.repair(each, ERROR)
    await nodes.later(100)
    assert await nodes.b.store.purge(60) == 2


async def test_a_process_that_was_taken_for_dead_goes_on_as_another(nodes: Nodes):
    """Under its new incarnation it opens and appends; what it had open before stays out of its reach."""
    key, new = new_key(), new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    former = nodes.a.me
    await nodes.b.store.bury(former)
    await nodes.a.begin()
    took = await nodes.a.append(grows(key, said(2)), grows(new, said(1), opens=True))
    assert took == {new: nodes.a.me}
    await nodes.b.attach(new)
    await until(lambda: nodes.a.ears.streams == [new])
    assert former not in {who.incarnation for who, _ in await nodes.b.store.suspects(0)}


async def test_nobody_views_what_the_dead_viewed(nodes: Nodes):
    """A standing stream whose viewer died is written to for a minute more, as if the viewer had left."""
    session_id, _ = new_key()
    await nodes.a.stand(session_id)
    await nodes.b.store.bury(nodes.a.me)
    assert await nodes.b.store.publish(b"{}", session_id=session_id) == 1
    await nodes.later(61)
    assert await nodes.b.store.publish(b"{}", session_id=session_id) == 0


async def test_a_dead_viewer_is_nobody(nodes: Nodes):
    """A stream whose viewer has died is viewed by none, and appending to it goes on."""
    key = new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    await nodes.b.attach(key)
    await nodes.a.store.bury(nodes.b.me)
    assert await nodes.a.append(grows(key, said(2))) == {key: None}


# -- Postgres alone: other processes, broken connections


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    async with Proxy(dsn) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[Node]:
    """A node whose every connection goes through the proxy."""
    node = Node(PostgresStore(proxy.dsn, command_timeout=1.0))
    await node.store.start()
    await node.begin()
    yield node
    proxy.heal()
    await node.store.close()


@pytest.fixture
async def near(dsn: str) -> AsyncIterator[Node]:
    """Another node, whose connections nobody touches."""
    node = Node(PostgresStore(dsn))
    await node.store.start()
    await node.begin()
    yield node
    await node.store.close()


async def test_an_append_that_meets_a_repair_is_refused(near: Node, dsn: str):
    """A commit that began before the burial and waited for the repair's lock changes nothing any more."""
    other = Node(PostgresStore(dsn))
    await other.store.start()
    await other.begin()
    key = new_key()
    await other.append(grows(key, opens=True))
    async with near.store.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT FROM archon_mcp_streams FOR UPDATE")
            late = asyncio.create_task(other.append(grows(key, said(1), closes=True)))
            await becomes_true(near.store.pool, f"SELECT count(*) = 1 {WAITING}")
            await connection.fetch(incarnations._BURY, other.me)
            assert await connection.fetch(incarnations._REPAIR, *key, ERROR)
        assert await late == {}
    assert await near.store.read(key, (1, 0)) == ([Event(2, 1, "response", ERROR)], True)
    await other.store.close()


async def test_an_append_that_meets_a_new_viewer_names_it(near: Node):
    """A commit that waited for the viewer's lock is behind the viewer's first page, so the viewer is told."""
    key, viewer = new_key(), str(uuid.uuid4())
    await near.append(grows(key, said(1), opens=True))
    await near.store.pool.fetch(incarnations._BEGIN, viewer, "n", "b", "n", 1, 1)
    async with near.store.pool.acquire() as connection:
        async with connection.transaction():
            await connection.fetch(streams._ATTACH, *key, viewer)
            append = asyncio.create_task(near.append(grows(key, said(2))))
            await becomes_true(near.store.pool, f"SELECT count(*) = 1 {WAITING}")
        assert await append == {key: viewer}


async def test_a_cut_connection_costs_an_append_nothing(proxy: Proxy, far: Node, near: Node):
    """Appends, attaches and reads on connections that broke since are done on fresh ones."""
    key = new_key()
    await far.append(grows(key, said(1), opens=True))
    proxy.cut()
    assert await far.append(grows(key, said(2))) == {key: far.me}
    proxy.cut()
    assert await far.store.beat(far.me)
    proxy.cut()
    assert (await far.attach(key)).tail == 2
    proxy.cut()
    assert await far.store.read(key, (1, 0)) == ([said(1), said(2)], False)


async def test_while_the_database_is_away_streams_say_so(proxy: Proxy, far: Node):
    """Every method raises `StoreUnavailable`, and none of what was refused is there afterwards."""
    key = new_key()
    proxy.refuse()
    store = far.store
    calls = [
        far.append(grows(key, said(1), opens=True)),
        far.attach(key),
        far.stand(key[0]),
        store.detach(key, incarnation=far.me),
        store.grown([(key, 1, 0)], incarnation=far.me),
        store.read(key, (1, 0)),
        store.publish(b"{}", session_id=key[0]),
        store.answer((key[0], "q-1"), None, b"{}"),
        store.progress((key[0], "q-1"), None, b"{}"),
        store.answers([(key[0], "q-1")]),
        store.withdraw((key[0], "q-1")),
        store.set_log_level(key[0], "debug"),
        store.subscribe_uri(key[0], "file:///a", True),
        store.beat(far.me),
        store.suspects(10),
        store.bury(str(uuid.uuid4())),
        store.orphans(10),
        store.repair(key, ERROR),
        store.purge(60),
        store.begin(Incarnation(str(uuid.uuid4()), "n", "b", "n", 1, 1), far.ears),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    proxy.heal()
    assert await store.read(key, (1, 0)) == ([], True)
    assert await store.beat(far.me)


async def test_a_node_hears_its_own_channel_again_after_a_cut(proxy: Proxy, far: Node, near: Node):
    """The channels that were added later are listened to on the next connection as well."""
    key = new_key()
    await far.append(grows(key, said(1), opens=True))
    losses = far.store._wakeups.losses
    proxy.cut()
    await until(lambda: far.store._wakeups.losses > losses)
    await until(lambda: far.store.heard_within(0.4))
    await near.attach(key)
    await until(lambda: far.ears.streams == [key])


async def test_an_incarnation_begun_while_deaf_is_heard_later(proxy: Proxy, far: Node, near: Node):
    """A channel that could not be listened to at once is listened to with the next connection."""
    wakeups = far.store._wakeups
    losses = wakeups.losses
    proxy.refuse()
    await until(lambda: wakeups.losses > losses)
    first = far.me
    far.me = str(uuid.uuid4())
    await far.store._hints.begin(far.me, far.ears)
    proxy.heal()
    await until(lambda: far.store.heard_within(0.4))
    await near.store._hints.send([(first, "stream", "s", "former"), (far.me, "stream", "s", "now")])
    await until(lambda: far.ears.streams == [("s", "now")])


async def test_a_hint_that_is_lost_fails_no_commit(proxy: Proxy, far: Node, near: Node):
    """What was committed stays committed where its wake-up could not be sent."""
    key = new_key()
    await far.append(grows(key, said(1), opens=True))
    await near.attach(key)
    proxy.refuse()
    await far.store._hints.send([(near.me, "stream", *key)])
    await far.store._hints.announce("changed", key[0])
    assert far.ears.changes == [key[0]]


async def test_news_stay_in_their_schema(dsn: str):
    """Two programs in two schemas of one database hear nothing of each other; two in one schema do."""
    stores = [PostgresStore(dsn, schema=schema) for schema in ("one", "one", "two")]
    heard: list[list[str]] = [[], [], []]
    for store, texts in zip(stores, heard, strict=True):
        await store.start()
        store.hear(texts.append)
    for store, text in ((stores[2], "two"), (stores[0], "one")):
        await store.publish(b"{}", bus=text)
    await until(lambda: heard[1] == ["one"])
    await stores[0].publish(b"{}", bus="end")
    await until(lambda: heard[1] == ["one", "end"])
    assert heard[0] == ["one", "end"]
    assert heard[2] == ["two"]
    for store in stores:
        await store.close()


async def test_news_too_long_for_postgres_are_heard_at_home(near: Node, caplog: pytest.LogCaptureFixture):
    """They are logged and no error: a notification has no room for them."""
    heard: list[str] = []
    near.store.hear(heard.append)
    await near.store.publish(b"{}", bus="x" * 8000)
    assert heard == ["x" * 8000]
    assert "too long" in caplog.text


async def test_the_long_dead_are_forgotten(near: Node, dsn: str):
    """After a day their rows go, and what they opened in spite of all is still found and repaired."""
    key = new_key()
    other = Node(PostgresStore(dsn))
    await other.store.start()
    await other.begin()
    await other.append(grows(key, said(1), opens=True))
    await other.store.close()
    await near.store.bury(other.me)
    query = "UPDATE archon_mcp_incarnations SET dead_at = dead_at - interval '25 hours'"
    await near.store.pool.execute(query)
    await near.store.purge(3600)
    assert await near.store.pool.fetchval("SELECT count(*) FROM archon_mcp_incarnations") == 1
    assert await near.store.orphans(10) == [key]
    assert await near.store.repair(key, ERROR)
