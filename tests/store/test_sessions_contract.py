"""One suite for both stores: whatever a session table may rely on holds for memory and for Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from archon_transport.sessions.port import TableFull
from archon_transport.sessions.record import uuid7
from archon_transport.store import MemoryStore, PostgresStore
from tests.sessions.rows import done, new_session

HOUR, DAY = 3600.0, 86400.0
OWNER = ("https://issuer.example", "anna", None)


class Case:
    """A store under test, and the two things a test does behind its back: move time and read totals."""

    def __init__(self, stores: list[Any]) -> None:
        self.store, self.other = stores

    async def age(self, session_id: str, seconds: float) -> None:
        """Make a session's last activity longer ago."""
        if isinstance(self.store, MemoryStore):
            self.store._rows[session_id].last_activity -= timedelta(seconds=seconds)
            return
        await self.store.pool.execute(
            "UPDATE archon_mcp_sessions SET last_activity = last_activity - make_interval(secs => $2) "
            "WHERE session_id = $1",
            session_id,
            seconds,
        )

    async def totals(self, session_id: str) -> tuple[int, int, int, int]:
        if isinstance(self.store, MemoryStore):
            row = self.store._rows[session_id]
            return row.requests, row.errors, row.bytes_in, row.bytes_out
        columns = "requests, errors, bytes_in, bytes_out"
        query = f"SELECT {columns} FROM archon_mcp_sessions WHERE session_id = $1"
        return tuple(await self.store.pool.fetchrow(query, session_id))

    async def opened(self, *, aged: float = 0.0, requests: int = 0, limit: int | None = None) -> str:
        session = new_session()
        await self.store.open(session, node="a", limit=limit)
        if requests:
            rows = [done(session.session_id) for _ in range(requests)]
            await self.store.write(rows, {}, node="a")
        if aged:
            await self.age(session.session_id, aged)
        return session.session_id

    async def live(self) -> set[str]:
        return {session.session_id for session in await self.store.page(limit=10_000)}


@pytest.fixture(params=["memory", "postgres"])
def where(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "memory" else request.getfixturevalue("dsn")


@pytest.fixture
async def case(where: str | None) -> AsyncIterator[Case]:
    if where is None:
        store = MemoryStore()
        stores: list[Any] = [store, store]
    else:
        stores = [PostgresStore(where), PostgresStore(where)]
    for store in stores:
        await store.start()
    yield Case(stores)
    for store in stores:
        await store.close()


async def test_what_is_opened_is_admitted_as_it_was(case: Case):
    """A session is read back as it was written, by any store on the same database."""
    session = new_session(owner=OWNER, client_title="Probe", initialized=True, log_level="warning")
    await case.store.open(session, node="a", limit=10)
    assert await case.other.admit(session.session_id, node="b") == session
    assert json.loads(session.initialize_params)["x"] == "\x00"


async def test_names_are_cut_and_cleaned(case: Case):
    """What a client calls itself never keeps its session from being stored."""
    session = new_session(
        client_name="n\x00\ud800" + "x" * 5000,
        client_title="t\x00" * 500,
        client_version="9" * 80,
        user_agent="\udfff" * 3000,
        initialize_params=json.dumps(
            {"capabilities": {"a\x00": ["\ud800", {"b": "\x00"}, 1e300, None, True]}}
        ).encode(),
    )
    await case.store.open(session, node="a", limit=None)
    stored = await case.store.admit(session.session_id, node="a")
    assert stored is not None
    assert stored.client_name == "n?" + "x" * 198
    assert stored.client_title == "t" * 200
    assert stored.client_version == "9" * 50
    assert stored.user_agent == "?" * 500
    assert stored.initialize_params == session.initialize_params


async def test_strange_params_are_kept(case: Case):
    """Capabilities that JSONB cannot hold cost the mirror, not the session."""
    for params in (
        b"{}",
        b"[]",
        b"null",
        b'{"capabilities": 1e999}',
        b'{"capabilities": 1' + b"0" * 5000 + b"}",
    ):
        session = new_session(initialize_params=params)
        await case.store.open(session, node="a", limit=None)
        stored = await case.store.admit(session.session_id, node="a")
        assert stored is not None
        assert stored.initialize_params == params


async def test_what_is_no_id_of_ours_is_unknown(case: Case):
    """An id in another shape is unknown, not an error, also where it names a live session."""
    known = await case.opened()
    for wrong in ("", "x", "0" * 36, known.upper(), known.replace("-", ""), "{" + known + "}"):
        assert await case.store.admit(wrong, node="a") is None
        assert await case.store.adopt(wrong, OWNER) is None
        assert not await case.store.end(wrong, "operator")
    assert await case.store.count() == 1


async def test_an_unknown_session_is_not_admitted(case: Case):
    """An id that nobody opened is None, everywhere."""
    unknown = str(uuid7())
    assert await case.store.admit(unknown, node="a") is None
    assert await case.store.adopt(unknown, OWNER) is None
    assert not await case.store.end(unknown, "deleted")
    assert await case.store.write([done(unknown)], {unknown: True}, node="a") == {}


async def test_a_wrong_secret_touches_nothing(case: Case):
    """Who knows only the public id does not keep a session alive; with the right digest it is a touch."""
    session = new_session()
    await case.store.open(session, node="a", limit=None)
    for digest, left in ((b"?" * 32, 1), (session.secret_digest, 0)):
        await case.age(session.session_id, 1000.0)
        admitted = await case.store.admit(session.session_id, digest, node="a")
        assert (admitted is None) == bool(left)
        bound = await case.store.clock() + timedelta(seconds=30)
        if not left:
            assert await case.store.expire(500.0, unless_after=bound) == 0
    await case.age(session.session_id, 1000.0)
    assert await case.store.admit(session.session_id, b"?" * 32, node="a") is None
    assert await case.store.expire(500.0, unless_after=bound) == 1


async def test_an_ended_session_is_gone_for_every_statement(case: Case):
    """After its end a session is not admitted, adopted, counted, listed, written or ended again."""
    session_id = await case.opened()
    assert await case.store.end(session_id, "deleted")
    assert await case.other.admit(session_id, node="a") is None
    assert await case.other.adopt(session_id, OWNER) is None
    assert not (await case.other.write([done(session_id)], {session_id: True}, node="a")).get(session_id)
    assert not await case.other.end(session_id, "operator")
    assert await case.other.count() == 0
    assert await case.other.page() == []


async def test_of_many_who_end_one_did(case: Case):
    """However many end a session at once, exactly one is told that it ended it."""
    session_id = await case.opened()
    ends = [store.end(session_id, "deleted") for store in (case.store, case.other) * 4]
    assert sorted(await asyncio.gather(*ends)) == [False] * 7 + [True]


async def test_a_session_is_adopted_once(case: Case):
    """The first owner stays; who comes later is shown whose it is."""
    session_id = await case.opened()
    first = await case.store.adopt(session_id, OWNER)
    second = await case.other.adopt(session_id, (None, "bert", "app"))
    assert first is not None
    assert second is not None
    assert first.owner == second.owner == OWNER


async def test_of_many_adopters_all_see_the_same_owner(case: Case):
    """Adopters that race are all shown the one owner that the row has got."""
    session_id = await case.opened()
    owners = [(None, f"subject {number}", None) for number in range(8)]
    stores = (case.store, case.other) * 4
    adopted = await asyncio.gather(
        *(store.adopt(session_id, owner) for store, owner in zip(stores, owners, strict=True))
    )
    assert len({session.owner for session in adopted}) == 1
    assert adopted[0].owner in owners


async def test_writes_are_added_up(case: Case):
    """Totals are sums over every batch, also where one batch has several rows of a session."""
    one, two = await case.opened(), await case.opened()
    rows = [done(one, error="no", bytes_in=3, bytes_out=4) for _ in range(3)]
    assert await case.store.write(rows[:2], {two: False}, node="a") == {one: True, two: True}
    assert await case.other.write([rows[2], done(str(uuid7()))], {}, node="b") == {one: True}
    assert await case.totals(one) == (3, 3, 9, 12)
    assert await case.totals(two) == (0, 0, 0, 0)
    assert await case.store.write([], {}, node="a") == {}


async def test_the_handshake_is_not_among_a_sessions_requests(case: Case):
    """What makes, follows and ends a session is kept as rows, its bytes are added, and nothing was asked yet."""
    session_id = await case.opened()
    rows = [done(session_id, method, bytes_in=5) for method in ("initialize", "listen", "delete", "ping")]
    await case.store.write(rows, {}, node="a")
    assert await case.totals(session_id) == (1, 0, 20, 0)


async def test_initialized_is_never_unsaid(case: Case):
    """A batch that does not say `initialized` leaves it as it was."""
    session_id = await case.opened()
    await case.store.write([], {session_id: True}, node="a")
    await case.store.write([done(session_id)], {}, node="a")
    await case.store.write([], {session_id: False}, node="a")
    session = await case.store.admit(session_id, node="a")
    assert session is not None
    assert session.initialized


async def test_batches_in_any_order_lose_nothing(case: Case):
    """Nodes that write the same sessions in opposite orders at once neither lock up nor lose a count."""
    ids = [await case.opened() for _ in range(20)]
    batches = []
    for number in range(20):
        order = ids if number % 2 else ids[::-1]
        store = case.store if number % 2 else case.other
        batches.append(store.write([done(name) for name in order], {}, node="a"))
    assert all(known == dict.fromkeys(ids, True) for known in await asyncio.gather(*batches))
    assert [(await case.totals(name))[0] for name in ids] == [20] * 20


async def test_only_the_idle_expire(case: Case):
    """A session idle for longer than the limit ends, one that was touched since lives."""
    old, touched, fresh = (
        await case.opened(aged=31 * DAY),
        await case.opened(aged=31 * DAY),
        await case.opened(),
    )
    young = await case.opened(aged=29 * DAY)
    await case.store.admit(touched, node="a")
    soon = await case.store.clock() + timedelta(minutes=1)
    assert await case.store.expire(30 * DAY, unless_after=soon) == 1
    assert await case.live() == {touched, fresh, young}
    assert await case.store.admit(old, node="a") is None


async def test_a_write_is_traffic(case: Case):
    """What the writer touches does not expire."""
    session_id = await case.opened(aged=31 * DAY)
    await case.store.write([], {session_id: False}, node="a")
    soon = await case.store.clock() + timedelta(minutes=1)
    assert await case.store.expire(30 * DAY, unless_after=soon) == 0


async def test_past_the_bound_nothing_expires(case: Case):
    """A clock past the bound has jumped, and ends nothing."""
    session_id = await case.opened(aged=31 * DAY)
    past = await case.store.clock() - timedelta(seconds=1)
    assert await case.store.expire(30 * DAY, unless_after=past) == 0
    assert await case.live() == {session_id}


async def test_expiry_goes_in_portions(case: Case):
    """At most the given number ends in one statement."""
    for _ in range(5):
        await case.opened(aged=2 * HOUR)
    soon = await case.store.clock() + timedelta(minutes=1)
    ended = [await case.store.expire(HOUR, unless_after=soon, at_most=2) for _ in range(4)]
    assert ended == [2, 2, 1, 0]


async def test_room_is_made_in_order(case: Case):
    """At the limit the unused go after an hour, then the idle after a day, longest idle first, then none."""
    unused_young = await case.opened(aged=0.9 * HOUR)
    used_young = await case.opened(aged=23 * HOUR, requests=1)
    used_old = await case.opened(aged=30 * HOUR, requests=1)
    used_older = await case.opened(aged=40 * HOUR, requests=1)
    unused_old = await case.opened(aged=2 * HOUR)
    unused_older = await case.opened(aged=3 * HOUR)
    live = {unused_young, used_young, used_old, used_older, unused_old, unused_older}
    for goes in (unused_older, unused_old, used_older, used_old):
        live.remove(goes)
        live.add(await case.opened(limit=6))
        assert await case.live() == live
    with pytest.raises(TableFull):
        await case.opened(limit=6)
    assert await case.live() == live


async def test_a_full_table_has_room_again_after_an_end(case: Case):
    """A refusal is not remembered past the end of a session."""
    first = await case.opened(limit=2)
    await case.opened(limit=2)
    with pytest.raises(TableFull):
        await case.opened(limit=2)
    await case.store.end(first, "operator")
    await case.opened(limit=2)
    assert await case.store.count() == 2


async def test_a_lowered_limit_ends_nothing_in_vain(case: Case):
    """Where too few may be ended to admit one more, none is ended."""
    ids = {await case.opened() for _ in range(4)} | {await case.opened(aged=2 * DAY)}
    with pytest.raises(TableFull):
        await case.opened(limit=3)
    assert await case.live() == ids


async def test_the_limit_holds_when_many_open_at_once(case: Case):
    """Two nodes that open at once stop exactly at the limit."""
    stores = (case.store, case.other) * 8
    results = await asyncio.gather(
        *(store.open(new_session(), node="a", limit=10) for store in stores), return_exceptions=True
    )
    assert sorted(str(type(result).__name__) for result in results) == ["NoneType"] * 10 + ["TableFull"] * 6
    assert await case.store.count() == 10


async def test_one_node_never_passes_a_large_limit(case: Case):
    """Opening without counting, where there is much room, ends before the room does."""
    for _ in range(60):
        await case.opened(limit=60)
    with pytest.raises(TableFull):
        await case.opened(limit=60)
    assert await case.store.count() == 60


async def test_an_end_is_heard_by_every_store(case: Case):
    """Whatever ends a session, every subscriber on every node is told its id."""
    heard: list[asyncio.Queue[str]] = [asyncio.Queue(), asyncio.Queue()]
    case.store.subscribe(heard[0].put_nowait, lambda: None)
    case.other.subscribe(heard[1].put_nowait, lambda: None)
    deleted = await case.opened()
    await case.store.end(deleted, "deleted")
    idle = await case.opened(aged=2 * DAY)
    await case.other.expire(DAY, unless_after=await case.store.clock() + timedelta(minutes=1))
    pushed_out = await case.opened(aged=2 * DAY)
    await case.opened(limit=1)
    for queue in heard:
        async with asyncio.timeout(5):
            assert [await queue.get() for _ in range(3)] == [deleted, idle, pushed_out]
    assert case.store.heard_within(2)
    assert case.other.heard_within(2)


async def test_pages_go_from_the_newest_on(case: Case):
    """Pages follow each other without a gap or a repetition, newest first."""
    ids = sorted([await case.opened() for _ in range(7)], reverse=True)
    ended = ids.pop(2)
    await case.store.end(ended, "operator")
    pages, before = [], None
    while page := await case.store.page(limit=3, before=before):
        pages.append([session.session_id for session in page])
        before = page[-1].session_id
    assert pages == [ids[:3], ids[3:]]
    assert len(await case.store.page(before=ended)) == 4
    assert await case.store.page(before="nonsense") == []


async def test_the_clock_goes_forward(case: Case):
    """The store's time is an aware time near ours."""
    first, second = await case.store.clock(), await case.store.clock()
    assert first <= second
    assert abs(first - datetime.now(UTC)) < timedelta(minutes=1)


async def test_it_answers(case: Case):
    """A store that has been started can be asked."""
    assert await case.store.ping()
