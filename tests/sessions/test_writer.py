"""The batching writer: what it sums, when it writes, and what it loses only when it must."""

import asyncio
import logging

import pytest

from archon_transport.sessions import StoreUnavailable, Writer
from archon_transport.sessions.record import Inferred, Touch


class Sink:
    """Takes batches; `away` refuses them, `during` is called in the middle of one."""

    def __init__(self) -> None:
        self.batches: list[list[Touch]] = []
        self.failure: Exception | None = None
        self.during = lambda: None
        self.gate: asyncio.Event | None = None
        self.dead: set[str] = set()
        self.inferred: list[str] = []

    async def write(self, touches, *, node):
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        self.during()
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(touches))
        return {touch.session_id for touch in touches} - self.dead

    async def infer(self, records, *, node):
        self.inferred += [record.session_id for record, touch in records for _ in range(touch.requests)]

    def total(self, session_id: str) -> int:
        return sum(t.requests for batch in self.batches for t in batch if t.session_id == session_id)


@pytest.fixture
def sink():
    return Sink()


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to hold")


async def test_notes_of_one_session_are_one_touch(sink):
    """What a session did between two writes is summed and written once."""
    writer = Writer(sink, node="n")
    writer.note("a", requests=1, bytes_in=10, bytes_out=5)
    writer.note("a", requests=1, errors=1, bytes_in=1)
    writer.note("a", initialized=True)
    writer.note("a")
    await writer.flush()
    assert sink.batches == [[Touch("a", requests=2, errors=1, bytes_in=11, bytes_out=5, initialized=True)]]
    await writer.flush()
    assert len(sink.batches) == 1, "nothing is written twice"


async def test_a_note_of_nothing_is_a_touch(sink):
    """A session that did nothing countable was still alive."""
    writer = Writer(sink, node="n")
    writer.note("a")
    await writer.flush()
    assert sink.batches == [[Touch("a")]]


async def test_batches_have_a_size(sink):
    """More sessions than fit one batch are written in several, in the order in which they were noted."""
    writer = Writer(sink, node="n", batch=4)
    for number in range(10):
        writer.note(str(number))
    await writer.flush()
    assert [len(batch) for batch in sink.batches] == [4, 4, 2]
    assert [touch.session_id for batch in sink.batches for touch in batch] == [str(n) for n in range(10)]


async def test_notes_that_go_on_coming_wait_for_the_next_time(sink):
    """A flush writes what was noted before it: under load that is one batch an interval, not one a
    request.
    """
    writer = Writer(sink, node="n")
    sink.during = lambda: writer.note("busy", requests=1)
    writer.note("busy", requests=1)
    async with asyncio.timeout(5):
        await writer.flush()
    assert len(sink.batches) == 1
    await writer.flush()
    assert sink.total("busy") == 2


async def test_what_was_written_is_told_with_who_lives(sink):
    """After each batch the table hears what was asked, who of them lives, and when it was asked."""
    told = []
    moments = iter([5.0, 6.0])
    writer = Writer(
        sink, node="n", batch=2, on_written=lambda *facts: told.append(facts), clock=lambda: next(moments)
    )
    sink.dead = {"b"}
    for name in ("a", "b", "c"):
        writer.note(name)
    await writer.flush()
    assert told == [({"a", "b"}, {"a"}, 5.0), ({"c"}, {"c"}, 6.0)]


async def test_nothing_is_lost_while_the_store_is_away(sink):
    """What the store did not take is put back and summed with what came meanwhile."""
    writer = Writer(sink, node="n")
    sink.failure = StoreUnavailable("away")
    for _ in range(5):
        writer.note("a", requests=1, bytes_in=1)
        writer.note("b", initialized=True)
        await writer.flush()
    sink.failure = None
    writer.note("a", requests=1)
    await writer.flush()
    assert sink.batches == [
        [Touch("b", initialized=True), Touch("a", requests=6, bytes_in=5)]
    ] or sink.batches == [[Touch("a", requests=6, bytes_in=5), Touch("b", initialized=True)]]
    assert writer.lost == 0


async def test_an_outage_in_the_second_batch_keeps_the_rest(sink):
    """What was written stays written, what was not is kept."""
    writer = Writer(sink, node="n", batch=1)
    for name in ("a", "b", "c"):
        writer.note(name, requests=1)

    def fall():
        if sink.batches:
            sink.failure = StoreUnavailable("away")

    sink.during = fall
    await writer.flush()
    sink.failure, sink.during = None, lambda: None
    await writer.flush()
    assert [sink.total(name) for name in ("a", "b", "c")] == [1, 1, 1]


async def test_memory_is_bounded_and_what_is_lost_is_counted(sink):
    """At the bound a new session's note is dropped and counted; those that wait already go on summing."""
    writer = Writer(sink, node="n", bound=3)
    sink.failure = StoreUnavailable("away")
    for number in range(5):
        writer.note(str(number), requests=1)
    writer.note("0", requests=1)
    assert writer.lost == 2
    await writer.flush()
    assert writer.lost == 2, "putting back what was taken out fits"
    sink.failure = None
    await writer.flush()
    assert [sink.total(str(number)) for number in range(5)] == [2, 1, 1, 0, 0]


async def test_what_is_put_back_into_a_full_writer_is_counted(sink):
    """A batch that comes back and finds its place taken is lost, and counted as such."""
    writer = Writer(sink, node="n", bound=2)
    writer.note("a")
    writer.note("b")
    sink.failure = StoreUnavailable("away")
    sink.during = lambda: [writer.note(name) for name in ("c", "d")]
    await writer.flush()
    assert writer.lost == 2
    assert repr(writer) == "<Writer waiting=2 lost=2>"


async def test_it_writes_by_itself(sink):
    """A note is written within an interval, without anybody waiting for it."""
    writer = Writer(sink, node="n", interval=0.01)
    writer.start()
    writer.note("a", requests=1)
    await until(lambda: sink.total("a") == 1)
    await writer.stop()


async def test_a_surprise_does_not_stop_it(sink, caplog):
    """An error that nobody planned is logged; the note is kept and written when it is over."""
    writer = Writer(sink, node="n", interval=0.01)
    writer.start()
    sink.failure = RuntimeError("surprise")
    with caplog.at_level(logging.ERROR):
        writer.note("a", requests=1)
        await until(lambda: "tries again" in caplog.text)
    sink.failure = None
    await until(lambda: sink.total("a") == 1)
    await writer.stop()
    assert writer.lost == 0


async def test_stop_writes_what_is_left(sink):
    """The last notes before a stop are written."""
    writer = Writer(sink, node="n", interval=3600)
    writer.start()
    writer.note("a", requests=1)
    await writer.stop()
    assert sink.total("a") == 1
    assert writer.lost == 0


async def test_stop_in_the_middle_of_a_write_loses_nothing(sink):
    """A write that the stop interrupts is made again."""
    writer = Writer(sink, node="n", interval=0.001)
    sink.gate = asyncio.Event()
    writer.start()
    writer.note("a", requests=1)
    await until(lambda: repr(writer).startswith("<Writer waiting=0"))
    stopping = asyncio.create_task(writer.stop())
    await asyncio.sleep(0)
    sink.gate.set()
    await stopping
    assert sink.total("a") == 1


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), RuntimeError("surprise")])
async def test_stop_without_a_store_counts_what_is_lost(sink, caplog, failure):
    """Where the last notes cannot be written the stop goes on, says so and counts them."""
    writer = Writer(sink, node="n")
    sink.failure = failure
    writer.note("a")
    writer.note("b")
    with caplog.at_level(logging.WARNING):
        await writer.stop()
    assert writer.lost == 2
    assert "2 sessions" in caplog.text


async def test_stop_waits_for_a_hanging_store_for_so_long_only(sink):
    """A store that does not answer holds the stop for `timeout` seconds."""
    writer = Writer(sink, node="n")
    sink.gate = asyncio.Event()
    writer.note("a")
    async with asyncio.timeout(5):
        await writer.stop(timeout=0.05)
    assert writer.lost == 1


async def test_inferred_records_go_their_own_way(sink):
    """A record's touch is no session's, and is written once though the sessions' batch has to come again."""
    told = []
    writer = Writer(sink, node="n", on_written=lambda asked, alive, started: told.append((asked, alive)))
    record = Inferred("r", "none", None, "2025-03-26", "curl", "8", False)
    for _ in range(2):
        writer.add(Touch("r", requests=1, inferred=record))
    writer.note("a", requests=1)
    sink.failure = StoreUnavailable("away")
    await writer.flush()
    assert (sink.inferred, sink.batches) == (["r", "r"], [])
    sink.failure = None
    await writer.flush()
    assert sink.inferred == ["r", "r"]
    assert (sink.total("a"), sink.total("r")) == (1, 0)
    assert told == [({"a"}, {"a"})]
