"""The table of sessions: what it admits, when it asks, what it forgets; against a clock moved by hand."""

import asyncio
from datetime import timedelta

import pytest

from archon_transport.sessions import StoreUnavailable, TableFull, WireId
from archon_transport.sessions.table import TRUST
from tests.sessions.rows import done
from tests.sessions.scripted import ALICE, BOB, CLIENT

DAY = 86400.0


async def until(condition) -> None:
    """Let other tasks run until something holds."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")


# --- opening


async def test_a_new_session_is_a_row_before_it_is_an_id(node, store):
    """`open` commits the session with what its client said, and serves it at once."""
    session_id, wire = await node.open()
    row = store.row(session_id).session
    assert (row.client_name, row.client_version, row.user_agent) == ("cursor", "1.0", "agent")
    assert WireId.parse(wire).secret not in repr(row)
    assert (await node.table.admit(wire, None)).session_id == session_id
    assert store.count_of("admit") == 0, "a session that was just opened needs no query"
    assert node.table.opened == 1


@pytest.mark.parametrize("trouble", [StoreUnavailable("away"), TableFull("full"), asyncio.CancelledError()])
async def test_an_open_that_fails_leaves_nothing(node, store, trouble):
    """Where the row cannot be committed there is no session here either."""
    store.failure = trouble
    with pytest.raises(type(trouble)):
        await node.open()
    assert (node.table.cached, node.table.opened) == (0, 0)


@pytest.mark.spec("S-14")
async def test_the_cap_is_handed_to_the_store(make_node, store):
    """At `max_sessions` live sessions, none of them idle for long, the next is refused."""
    node = make_node(max_sessions=2)
    await node.open()
    await node.open()
    with pytest.raises(TableFull):
        await node.open()
    assert await store.count() == 2


async def test_what_is_ended_for_room_is_gone_here_too(make_node, clock):
    """A session that the full table ends makes room, and is no longer admitted."""
    node = make_node(max_sessions=1)
    session_id, wire = await node.open()
    clock.forward(3601)
    other, _ = await node.open()
    assert node.gone == [session_id]
    assert await node.table.admit(wire, None) is None
    assert other != session_id


# --- admission


@pytest.mark.spec("S-07", "C-08")
@pytest.mark.parametrize("cached", [True, False])
async def test_unknown_ended_foreign_and_wrong_are_all_none(make_node, cached):
    """Nobody can tell a session that never was from one that ended, belongs to another or has another
    secret.
    """
    maker = make_node("maker")
    other = maker if cached else make_node("other")
    ended_id, ended = await maker.open()
    await maker.table.end(ended_id, "deleted")
    _, alices = await maker.open(owner=ALICE)
    _, nobodys = await maker.open()
    wrong = WireId(WireId.parse(nobodys).session_id, WireId.mint().secret)
    for presented, owner in [
        ("", None),
        ("no id of ours", None),
        (str(WireId.mint()), None),
        (ended, None),
        (alices, None),
        (alices, BOB),
        (str(wrong), None),
        (str(wrong), BOB),
    ]:
        assert await other.table.admit(presented, owner) is None
    assert (await other.table.admit(alices, ALICE)).owner == ALICE
    assert (await other.table.admit(nobodys, None)).owner is None


async def test_what_cannot_be_an_id_is_not_asked_for(node, store):
    """A text that is no id of ours costs no query."""
    assert await node.table.admit("anything else", None) is None
    assert store.asked == []


async def test_a_wrong_secret_does_not_adopt(node, store):
    """Only who presents the secret may take an unowned session."""
    session_id, _ = await node.open()
    wrong = WireId(session_id, WireId.mint().secret)
    assert await node.table.admit(str(wrong), ALICE) is None
    assert store.count_of("adopt") == 0


async def test_a_trusted_session_costs_no_query(node, store):
    """While nothing says otherwise a cached session is served from memory."""
    _, wire = await node.open()
    for _ in range(50):
        assert await node.table.admit(wire, None) is not None
    assert store.asked == ["open"]


async def test_silence_of_the_wakeups_means_asking(node, store):
    """Where an end may have gone unheard the row is asked, each time, until the connection is heard again."""
    session_id, wire = await node.open()
    store.deaf = True
    assert await node.table.admit(wire, None) is not None
    assert await node.table.admit(wire, None) is not None
    assert store.count_of("admit") == 2
    store.vanishes(session_id)
    assert await node.table.admit(wire, None) is None
    assert node.table.cached == 0
    assert node.gone == [session_id]


async def test_an_old_touch_means_asking(make_node, store, clock):
    """A row that was last touched a quarter of the idle limit ago is asked, for a sweep may be near it."""
    node = make_node(idle_timeout=40.0)
    _, wire = await node.open()
    clock.forward(9.9)
    await node.table.admit(wire, None)
    assert store.count_of("admit") == 0
    clock.forward(0.2)
    await node.table.admit(wire, None)
    assert store.count_of("admit") == 1, "the touch is as old as the row's, not as the last request"
    await node.table.admit(wire, None)
    assert store.count_of("admit") == 1, "asking touched the row"


async def test_what_the_writer_touched_is_young(make_node, store, clock):
    """A batch of the writer touches the rows that it says live, so they need not be asked."""
    node = make_node(idle_timeout=40.0)
    session_id, wire = await node.open()
    for _ in range(5):
        clock.forward(8)
        node.writer.add(done(session_id))
        await node.writer.flush()
        assert await node.table.admit(wire, None) is not None
    assert store.count_of("admit") == 0


async def test_without_an_idle_limit_no_touch_is_old(make_node, store, clock):
    """Where no session ends by itself there is no sweep to fear."""
    node = make_node(idle_timeout=None)
    _, wire = await node.open()
    clock.forward(400 * DAY)
    assert await node.table.admit(wire, None) is not None
    assert store.count_of("admit") == 0


async def test_a_gap_means_asking_once_per_session(node, store, clock):
    """After a gap in the wake-ups every session is asked for once, and trusted again then."""
    _, first = await node.open()
    ended_id, ended = await node.open()
    clock.forward(1)
    store.vanishes(ended_id)
    store.gap()
    clock.forward(1)
    for _ in range(3):
        assert await node.table.admit(first, None) is not None
        assert await node.table.admit(ended, None) is None
    assert store.count_of("admit") == 1 + 3


async def test_a_load_that_began_before_a_gap_is_not_trusted_after_it(node, store, clock):
    """What was read while wake-ups were lost may have ended since: it is asked for again."""
    _, wire = await node.open()
    store.deaf = True
    store.late = asyncio.Event()
    reading = asyncio.create_task(node.table.admit(wire, None))
    await until(lambda: store.count_of("admit") == 1)
    clock.forward(1)
    store.gap()
    clock.forward(1)
    store.late.set()
    assert await reading is not None
    store.deaf = False
    clock.forward(1)
    await node.table.admit(wire, None)
    assert store.count_of("admit") == 2


# --- cold loads


async def test_a_hundred_requests_of_a_sleeping_session_read_once(make_node, store):
    """One read wakes a session for everybody who waits for it."""
    _, wire = await make_node("maker").open()
    node = make_node("other")
    store.gate = asyncio.Event()
    waiting = [asyncio.create_task(node.table.admit(wire, None)) for _ in range(100)]
    await until(lambda: store.count_of("admit"))
    store.gate.set()
    sessions = await asyncio.gather(*waiting)
    assert store.count_of("admit") == 1
    assert len({id(session) for session in sessions}) == 1
    assert (node.table.woken, node.table.cached) == (1, 1)


async def test_one_who_leaves_does_not_stop_the_read(make_node, store):
    """A request that is cancelled while its session is read leaves the read to the others."""
    _, wire = await make_node("maker").open()
    node = make_node("other")
    store.gate = asyncio.Event()
    first = asyncio.create_task(node.table.admit(wire, None))
    second = asyncio.create_task(node.table.admit(wire, None))
    await until(lambda: store.count_of("admit"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    store.gate.set()
    assert await second is not None
    assert store.count_of("admit") == 1


async def test_each_of_those_who_wait_is_judged_alone(make_node, store):
    """One read serves the right secret and refuses the wrong one beside it."""
    session_id, wire = await make_node("maker").open(owner=ALICE)
    node = make_node("other")
    wrong = str(WireId(session_id, WireId.mint().secret))
    store.gate = asyncio.Event()
    waiting = [
        asyncio.create_task(node.table.admit(presented, owner))
        for presented, owner in [(wire, ALICE), (wrong, ALICE), (wire, BOB), (wire, None)]
    ]
    await until(lambda: store.count_of("admit"))
    store.gate.set()
    good, *bad = await asyncio.gather(*waiting)
    assert good is not None
    assert bad == [None, None, None]


async def test_an_end_heard_while_the_row_is_read_discards_it(make_node, store):
    """The row was read alive, its end was heard before the answer came: it is not served and not cached."""
    session_id, wire = await make_node("maker").open()
    node = make_node("other")
    store.late = asyncio.Event()
    reading = asyncio.create_task(node.table.admit(wire, None))
    await until(lambda: store.count_of("admit"))
    await store.elsewhere_ends(session_id)
    store.late.set()
    assert await reading is None
    assert node.table.cached == 0


async def test_an_end_heard_while_it_is_adopted_discards_it(make_node, store):
    """An adoption that is answered after the session's end does not bring it back."""
    node = make_node()
    session_id, wire = await node.open()
    store.late = asyncio.Event()
    adopting = asyncio.create_task(node.table.admit(wire, ALICE))
    await until(lambda: store.count_of("adopt"))
    await store.elsewhere_ends(session_id)
    store.late.set()
    await adopting
    assert node.table.cached == 0
    assert await node.table.admit(wire, ALICE) is None


async def test_a_failed_read_is_not_remembered(make_node, store):
    """The next request after a failed read reads again."""
    _, wire = await make_node("maker").open()
    node = make_node("other")
    store.away = True
    with pytest.raises(StoreUnavailable):
        await node.table.admit(wire, None)
    store.away = False
    assert await node.table.admit(wire, None) is not None


# --- the database away


async def test_with_the_database_away_cached_sessions_go_on(node, store, clock):
    """What is in memory is served; what is not cannot be known and raises."""
    _, wire = await node.open()
    store.away = store.deaf = True
    clock.forward(100)
    assert await node.table.admit(wire, None) is not None
    with pytest.raises(StoreUnavailable):
        await node.table.admit(str(WireId.mint()), None)


async def test_with_the_database_away_a_wrong_secret_stays_wrong(node, store):
    """An outage opens nothing to anybody."""
    session_id, _ = await node.open(owner=ALICE)
    store.away = store.deaf = True
    assert await node.table.admit(str(WireId(session_id, WireId.mint().secret)), ALICE) is None


async def test_with_the_database_away_nobody_adopts(node, store):
    """Who a session belongs to is decided by the row alone."""
    _, wire = await node.open()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await node.table.admit(wire, ALICE)


async def test_a_database_that_hangs_holds_a_cached_session_for_two_seconds(node, store, monkeypatch):
    """A store that neither answers nor refuses is given up on, and the cached session goes on."""
    monkeypatch.setattr("archon_transport.sessions.table.TRUST", 0.05)
    _, wire = await node.open()
    store.deaf = True
    store.gate = asyncio.Event()
    async with asyncio.timeout(5):
        assert await node.table.admit(wire, None) is not None
    assert TRUST == 2.0


async def test_an_end_heard_in_an_outage_counts(node, store):
    """A session whose end was heard is not served from memory because its row cannot be read."""
    session_id, wire = await node.open()
    store.deaf = True
    store.gate = asyncio.Event()
    asking = asyncio.create_task(node.table.admit(wire, None))
    await until(lambda: store.count_of("admit"))
    await store.elsewhere_ends(session_id)
    store.away = True
    store.gate.set()
    with pytest.raises(StoreUnavailable):
        await asking
    assert node.table.cached == 0


# --- owners


@pytest.mark.spec("S-07")
async def test_an_unowned_session_is_adopted_once(make_node, store):
    """The first verified principal with the secret gets it; another and nobody at all are refused from
    then on.
    """
    one, two = make_node("one"), make_node("two")
    session_id, wire = await one.open()
    await two.table.admit(wire, None)
    assert (await one.table.admit(wire, ALICE)).owner == ALICE
    assert store.row(session_id).session.owner == ALICE
    assert await one.table.admit(wire, BOB) is None
    assert await one.table.admit(wire, None) is None
    assert await two.table.admit(wire, BOB) is None, "the other node's copy says unowned; the row decides"
    assert (await two.table.admit(wire, ALICE)).owner == ALICE
    assert (await one.table.admit(wire, ALICE)).owner == ALICE
    assert store.count_of("adopt") == 2, "who owns it is asked of the row once per node"


async def test_two_who_adopt_at_once(node, store):
    """Of two principals that present the secret at the same time exactly one gets the session."""
    _, wire = await node.open()
    store.gate = asyncio.Event()
    alice = asyncio.create_task(node.table.admit(wire, ALICE))
    bob = asyncio.create_task(node.table.admit(wire, BOB))
    await until(lambda: store.count_of("adopt") == 2)
    store.gate.set()
    assert [session is not None for session in await asyncio.gather(alice, bob)] == [True, False]


@pytest.mark.spec("S-07", "S-12")
@pytest.mark.parametrize(
    "other", [(None, "alice", "app"), ("https://issuer", "alice", None), (None, None, None)]
)
async def test_an_owner_is_the_whole_triple(node, other):
    """Another issuer, another client of the same user, and a principal without facts are all foreign."""
    _, wire = await node.open(owner=ALICE)
    assert await node.table.admit(wire, other) is None


async def test_a_session_that_ended_is_not_adopted(make_node, store):
    """Adoption of a session that ended unheard is None."""
    node = make_node()
    session_id, wire = await node.open()
    store.vanishes(session_id)
    assert await node.table.admit(wire, ALICE) is None


# --- ends


async def test_an_end_is_committed_first(node, store):
    """Where the end cannot be committed the session goes on, here too."""
    session_id, wire = await node.open()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await node.table.end(session_id, "deleted")
    assert node.gone == []
    assert await node.table.admit(wire, None) is not None


async def test_an_end_is_heard_on_every_node(make_node):
    """A session that ends on one node is let go on the others."""
    one, two = make_node("one"), make_node("two")
    session_id, wire = await one.open()
    await two.table.admit(wire, None)
    assert await one.table.end(session_id, "operator") is True
    assert session_id in two.gone
    assert two.table.cached == 0
    assert await one.table.end(session_id, "operator") is False
    assert await two.table.admit(wire, None) is None


async def test_what_the_writer_finds_dead_is_gone(node, store):
    """A session that a batch does not find alive has ended, whoever failed to tell."""
    session_id, wire = await node.open()
    store.vanishes(session_id)
    node.writer.add(done(session_id))
    await node.writer.flush()
    assert node.gone == [session_id]
    assert await node.table.admit(wire, None) is None


async def test_a_sessions_initialized_is_noted_once(node, store):
    """The client's `initialized` reaches the row, and is not written again."""
    session_id, wire = await node.open()
    session = await node.table.admit(wire, None)
    node.table.mark_initialized(session)
    await node.writer.flush()
    assert store.row(session_id).session.initialized
    again = await node.table.admit(wire, None)
    assert again.initialized
    node.table.mark_initialized(again)
    await node.writer.flush()
    assert len(store.written) == 1


# --- sleep


async def test_a_quiet_session_sleeps_and_wakes(node, store, clock):
    """After 300 s without traffic a session leaves memory, tells so, and is read again when it is needed."""
    session_id, wire = await node.open()
    clock.forward(299)
    node.table.tick()
    assert node.table.cached == 1
    clock.forward(2)
    node.table.tick()
    assert (node.table.cached, node.asleep, node.gone) == (0, [session_id], [])
    clock.forward(29 * DAY)
    assert (await node.table.admit(wire, None)).session_id == session_id
    assert node.table.woken == 1
    assert store.count_of("admit") == 1


async def test_traffic_keeps_awake(node, clock):
    """Each admission starts the 300 s anew; the session beside it sleeps."""
    _, busy = await node.open()
    quiet, _ = await node.open()
    for _ in range(4):
        clock.forward(100)
        await node.table.admit(busy, None)
        node.table.tick()
    assert node.asleep == [quiet]
    assert node.table.cached == 1


async def test_traffic_in_an_outage_keeps_awake_and_in_order(node, store, clock):
    """A session served from memory in an outage counts as used, and does not hide an idle one behind it."""
    _, used = await node.open()
    quiet, _ = await node.open()
    store.away = store.deaf = True
    clock.forward(200)
    await node.table.admit(used, None)
    clock.forward(150)
    node.table.tick()
    assert node.asleep == [quiet]


async def test_running_work_keeps_awake_and_touches_the_row(make_node, store, clock):
    """A call that runs for days is traffic: its session stays in memory and its row is touched in time."""
    node = make_node(idle_timeout=30 * DAY)
    session_id, _ = await node.open()
    node.working.add(session_id)
    for _ in range(40):
        clock.forward(DAY)
        node.table.tick()
        await node.writer.flush()
    assert node.table.cached == 1
    assert clock.now() - store.row(session_id).last_activity < timedelta(days=10)
    assert 3 <= len(store.written) <= 10
    node.working.clear()
    clock.forward(301)
    node.table.tick()
    assert node.asleep == [session_id]


async def test_the_cache_is_bounded_and_nothing_ends_for_it(make_node, store):
    """Over `max_cached` the longest unused go to sleep, however young, and none of them ends."""
    node = make_node(max_cached=3)
    opened = [await node.open() for _ in range(10)]
    await node.table.admit(opened[0][1], None)
    node.table.tick()
    assert node.table.cached == 3
    assert node.gone == []
    assert node.asleep == [session_id for session_id, _ in opened[1:8]]
    assert await store.count() == 10
    for _, wire in opened:
        assert await node.table.admit(wire, None) is not None


async def test_one_tick_is_enough_for_a_flood(make_node, clock):
    """However many sessions are over the bound, one look takes them all down."""
    node = make_node(max_cached=5)
    for _ in range(3000):
        await node.open()
    node.table.tick()
    assert node.table.cached == 5


async def test_busy_sessions_are_not_put_to_sleep_for_the_bound(make_node):
    """A session with running work stays in memory even over `max_cached`."""
    node = make_node(max_cached=1)
    opened = [await node.open() for _ in range(4)]
    node.working.update(session_id for session_id, _ in opened[:2])
    for _ in range(3):
        node.table.tick()
    assert not node.working & set(node.asleep)
    assert node.table.cached == 2


async def test_an_id_that_is_opened_is_a_new_one(node):
    """No two sessions share an id or a secret."""
    opened = [await node.open() for _ in range(20)]
    assert len({wire for _, wire in opened}) == len({session_id for session_id, _ in opened}) == 20


def test_the_table_says_its_state(node):
    """The repr tells the numbers and no names."""
    assert repr(node.table) == "<SessionTable cached=0 opened=0 woken=0>"
    assert CLIENT[0] not in repr(node.table)
