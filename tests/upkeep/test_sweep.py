"""The sweep: whom it ends, and when it does not believe a clock."""

import asyncio
import logging

import pytest

from archon_transport.sessions import IDLE, Limits, SessionTable, StoreUnavailable, Writer
from archon_transport.sessions.record import Inferred
from archon_transport.upkeep import Sweep
from tests.sessions.scripted import CLIENT, Clock, Scripted

DAY = 86400.0
GRACE = 600.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Scripted(clock)


@pytest.fixture
def sweep(store, clock):
    return Sweep(store, idle_timeout=30 * DAY, grace=GRACE, clock=clock)


@pytest.fixture
def open_session(store, clock):
    table = SessionTable(
        store, Writer(store, node="n", clock=clock), node="n", limits=Limits(), clock=clock, now=clock.now
    )

    async def open_session() -> str:
        session, _ = await table.open(
            revision="2025-11-25", initialize_params=b"{}", client=CLIENT, owner=None, user_agent=None
        )
        return session.session_id

    return open_session


async def pass_time(sweep, clock, seconds, step=60.0) -> int:
    """Time passes and the sweep looks, as it does by itself; how many it ended."""
    ended = 0
    while seconds > 0:
        clock.forward(min(step, seconds))
        seconds -= step
        ended += await sweep.tick()
    return ended


async def settle(sweep, clock) -> None:
    await sweep.tick()
    await pass_time(sweep, clock, GRACE + 60)


@pytest.mark.spec("H-48", "S-14")
async def test_it_ends_who_was_idle_for_too_long_and_nobody_else(sweep, store, clock, open_session):
    """After 30 days of idleness a session ends; one that is younger does not."""
    await settle(sweep, clock)
    await open_session()
    assert await pass_time(sweep, clock, 29 * DAY, step=3600) == 0
    young = await open_session()
    assert await pass_time(sweep, clock, 2 * DAY, step=3600) == 1
    assert [session.session_id for session in await store.page()] == [young]
    assert sweep.ended == 1


async def test_a_start_is_followed_by_a_grace(sweep, store, clock, open_session):
    """A server that was off for a year ends nothing for ten minutes, and then what nobody came back for."""
    returned, forgotten = await open_session(), await open_session()
    clock.forward(365 * DAY)
    assert await sweep.tick() == 0
    assert await pass_time(sweep, clock, GRACE - 120) == 0
    await store.admit(returned, node="n")
    assert await pass_time(sweep, clock, 240) == 1
    assert [session.session_id for session in await store.page()] == [returned]
    assert forgotten


@pytest.mark.parametrize("days", [40, -40])
async def test_a_clock_that_jumps_is_followed_by_a_grace(sweep, clock, open_session, days):
    """A database clock that moves by 40 days while the program ran is not believed for ten minutes, either
    way.
    """
    await settle(sweep, clock)
    await open_session()
    clock.jump(days * DAY)
    assert await pass_time(sweep, clock, GRACE) == 0
    assert await pass_time(sweep, clock, 120) == (1 if days > 0 else 0)


async def test_a_clock_that_jumps_back_again_ends_nobody(sweep, store, clock, open_session):
    """A wrong clock that is put right within the grace did no harm."""
    await settle(sweep, clock)
    await open_session()
    clock.jump(40 * DAY)
    assert await pass_time(sweep, clock, GRACE - 60) == 0
    clock.jump(-40 * DAY)
    assert await pass_time(sweep, clock, DAY) == 0
    assert await store.count() == 1


async def test_each_jump_begins_the_grace_anew(sweep, clock, open_session):
    """The grace counts from the last jump."""
    await settle(sweep, clock)
    await open_session()
    for _ in range(5):
        clock.jump(40 * DAY)
        assert await pass_time(sweep, clock, GRACE - 60) == 0


@pytest.mark.parametrize("seconds", [29.0, -29.0])
async def test_a_clock_that_is_corrected_a_little_is_believed(sweep, clock, open_session, seconds):
    """Seconds of correction are no jump."""
    await settle(sweep, clock)
    await open_session()
    assert await pass_time(sweep, clock, 30 * DAY - 30, step=3600) == 0
    clock.jump(seconds)
    clock.forward(120)
    assert await sweep.tick() == 1


@pytest.mark.parametrize("seconds", [31.0, -31.0])
async def test_more_than_seconds_is_a_jump_either_way(sweep, clock, open_session, seconds):
    """Half a minute forth or back is a jump: a session past its limit is left for the grace."""
    await settle(sweep, clock)
    await open_session()
    assert await pass_time(sweep, clock, 30 * DAY - 30, step=3600) == 0
    clock.jump(seconds)
    clock.forward(120)
    assert await sweep.tick() == 0
    assert await pass_time(sweep, clock, GRACE) == 1


async def test_a_program_that_slept_is_followed_by_a_grace(sweep, clock, open_session):
    """A laptop that was closed for 31 days: the wall went on and our time did not."""
    await settle(sweep, clock)
    await open_session()
    clock.jump(31 * DAY)
    assert await sweep.tick() == 0


@pytest.mark.parametrize("method", ["clock", "expire"])
async def test_an_outage_is_followed_by_a_grace(sweep, store, clock, open_session, method):
    """After the store was away, whichever statement noticed it, whoever comes back first gets ten minutes."""
    await settle(sweep, clock)
    await open_session()
    clock.forward(31 * DAY)
    store.failing = method
    enter = store._enter

    async def fail(name):
        await enter(name)
        if name == store.failing:
            raise StoreUnavailable("away")

    store._enter = fail
    assert await sweep.tick() == 0
    store.failing = ""
    assert await pass_time(sweep, clock, GRACE) == 0
    assert await pass_time(sweep, clock, 120) == 1


async def test_a_clock_that_jumps_between_two_statements_ends_nobody(sweep, store, clock, open_session):
    """The statement that ends is bound to the time that was read before it."""
    await settle(sweep, clock)
    await open_session()
    read = store.clock

    async def read_and_jump():
        moment = await read()
        clock.jump(40 * DAY)
        return moment

    store.clock = read_and_jump
    clock.forward(60)
    assert await sweep.tick() == 0
    assert store.count_of("expire") > 0
    assert await store.count() == 1


async def test_a_slow_answer_is_taken_for_a_jump(sweep, store, clock, open_session):
    """A clock that took a minute to answer may be anything: nothing ends on its word."""
    await settle(sweep, clock)
    await open_session()
    clock.forward(31 * DAY)
    read = store.clock

    async def read_slowly():
        clock.forward(60)
        return await read()

    store.clock = read_slowly
    assert await sweep.tick() == 0


async def test_without_a_limit_no_session_ends(store, clock):
    """Where no session ends by itself, only what was recorded of requests without one is closed."""
    sweep = Sweep(store, idle_timeout=None, grace=600.0, clock=clock)
    await store.infer([Inferred("an-id", "none", None, "2025-03-26", "curl", "8", False)], node="a")
    assert await sweep.tick() == 0
    clock.forward(IDLE + 1)
    assert await sweep.tick() == 0
    assert (store.count_of("expire"), store._inferred) == (0, {})


async def test_inferred_records_have_the_grace_too(store, clock):
    """After a start nothing is closed for a while, and a record that is used stays open."""
    sweep = Sweep(store, idle_timeout=None, grace=600.0, clock=clock)
    record = Inferred("an-id", "none", None, "2025-03-26", "curl", "8", False)
    await store.infer([record], node="a")
    clock.forward(IDLE + 1)
    await sweep.tick()
    assert list(store._inferred) == ["an-id"]
    await store.write([], {"an-id": False}, node="a")
    clock.forward(IDLE - 1)
    await sweep.tick()
    assert list(store._inferred) == ["an-id"]


async def test_it_goes_on_after_a_surprise(store, clock, caplog):
    """An error that nobody planned is logged and the sweep looks again."""
    sweep = Sweep(store, idle_timeout=DAY, interval=0.01, grace=0.04, clock=clock)
    store.failure = RuntimeError("surprise")
    running = asyncio.create_task(sweep.run())
    try:
        with caplog.at_level(logging.ERROR):
            async with asyncio.timeout(10):
                while store.count_of("clock") < 2:
                    await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert "tries again" in caplog.text
