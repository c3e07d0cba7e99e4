"""The batching writer: what it writes, when, and what it loses only when it must."""

import asyncio
import logging

import pytest

from archon_transport.sessions import StoreUnavailable, Writer
from archon_transport.sessions.port import Unwritable
from archon_transport.sessions.record import Inferred
from tests.sessions.rows import done

RECORD = Inferred("r", "none", None, "2025-03-26", "curl", "8", False)


class Sink:
    """Takes batches, each row once; `failure` refuses them, `during` is called in the middle of one.

    `forgetful` takes a batch and says that it did not: a commit that nobody heard of.
    """

    def __init__(self) -> None:
        self.batches: list[tuple[list, dict[str, bool]]] = []
        self.rows: dict[str, object] = {}
        self.inferred: list[str] = []
        self.refusals: list = []
        self.failure: Exception | None = None
        self.forgetful = False
        self.during = lambda: None
        self.gate: asyncio.Event | None = None
        self.dead: set[str] = set()
        self.gone: set[str] = set()
        self.bad: set[str] = set()

    async def write(self, rows, alive, *, node):
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        self.during()
        if self.failure is not None:
            raise self.failure
        if self.bad & {row.method for row in rows}:
            raise Unwritable("DataError")
        self.batches.append((list(rows), alive))
        names = {row.session_id for row in rows} | alive.keys()
        self.rows |= {row.request_id: row for row in rows if row.session_id not in self.gone}
        if self.forgetful:
            raise StoreUnavailable("the connection broke")
        return {name: name not in self.dead for name in names - self.gone}

    async def infer(self, records, *, node):
        self.inferred += [record.session_id for record in records]

    async def refuse(self, refusals):
        if self.failure is not None:
            raise self.failure
        self.refusals += refusals

    def methods(self) -> list[str]:
        return [row.method for row in self.rows.values()]


@pytest.fixture
def sink():
    return Sink()


def rows(writer: Writer, *methods: object, session: str = "a") -> None:
    for method in methods:
        writer.add(done(session, str(method)))


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to hold")


async def test_every_request_is_a_row_with_an_id(sink):
    """Requests are written in the order in which they ended, each under an id of its own, and once."""
    writer = Writer(sink, node="n")
    rows(writer, 1, 2, 3)
    await writer.flush()
    assert sink.methods() == ["1", "2", "3"]
    assert len(sink.rows) == 3 and all(name.version == 7 for name in sink.rows)
    await writer.flush()
    assert len(sink.batches) == 1, "nothing is written twice"


async def test_a_note_is_a_touch(sink):
    """A session that did nothing countable was still alive; that it is initialized is not unsaid."""
    writer = Writer(sink, node="n")
    writer.note("a")
    writer.note("b", initialized=True)
    writer.note("b")
    await writer.flush()
    assert sink.batches == [([], {"a": False, "b": True})]


async def test_batches_have_a_size(sink):
    """More rows or touches than fit one batch are written in several, in the order in which they came."""
    writer = Writer(sink, node="n", batch=4)
    rows(writer, *range(10))
    for number in range(6):
        writer.note(str(number))
    await writer.flush()
    assert [(len(batch), len(alive)) for batch, alive in sink.batches] == [(4, 4), (4, 2), (2, 0)]
    assert sink.methods() == [str(number) for number in range(10)]


async def test_rows_that_go_on_coming_wait_for_the_next_time(sink):
    """A flush writes what was there before it: under load that is one batch an interval, not one a request."""
    writer = Writer(sink, node="n")
    sink.during = lambda: rows(writer, "more")
    rows(writer, "first")
    async with asyncio.timeout(5):
        await writer.flush()
    assert len(sink.batches) == 1
    await writer.flush()
    assert sink.methods() == ["first", "more"]


async def test_what_was_written_is_told_with_who_lives(sink):
    """After each batch the table hears what was asked, who of them lives, and when it was asked."""
    told = []
    moments = iter([5.0, 6.0])
    writer = Writer(
        sink, node="n", batch=2, on_written=lambda *facts: told.append(facts), clock=lambda: next(moments)
    )
    sink.dead = {"b"}
    for name in ("a", "b", "c"):
        rows(writer, "ping", session=name)
    writer.note("d")
    await writer.flush()
    assert told == [({"a", "b", "d"}, {"a", "d"}, 5.0), ({"c"}, {"c"}, 6.0)]


async def test_nothing_is_lost_while_the_store_is_away(sink):
    """What the store did not take is kept, in order, with what came meanwhile."""
    writer = Writer(sink, node="n", batch=3)
    sink.failure = StoreUnavailable("away")
    for number in range(5):
        rows(writer, number)
        writer.note("b", initialized=True)
        writer.refusals.add("host", "local", "curl", 421, "Host x is not allowed here.")
        await writer.flush()
    sink.failure = None
    rows(writer, 5)
    await writer.flush()
    assert sink.methods() == ["0", "1", "2", "3", "4", "5"]
    assert sink.batches[0][1] == {"b": True}
    assert [refusal.count for refusal in sink.refusals] == [5]
    assert repr(writer) == "<Writer waiting=0 refusals=0 lost=0>"


async def test_a_commit_that_nobody_heard_of_is_sent_again_with_the_same_ids(sink):
    """A batch whose fate is unknown comes again as it was: the store tells by the ids that it has it."""
    writer = Writer(sink, node="n", batch=2)
    rows(writer, 1, 2, 3)
    sink.forgetful = True
    await writer.flush()
    sink.forgetful = False
    await writer.flush()
    assert [len(batch) for batch, _ in sink.batches] == [2, 2, 1]
    assert sink.methods() == ["1", "2", "3"]


async def test_memory_is_bounded_and_what_is_lost_is_counted(sink):
    """Past the bound the newest rows are dropped and counted, whatever fails and however often."""
    writer = Writer(sink, node="n", bound=3)
    sink.failure = StoreUnavailable("away")
    rows(writer, *range(5))
    await writer.flush()
    rows(writer, 5)
    await writer.flush()
    assert repr(writer) == "<Writer waiting=3 refusals=0 lost=3>"
    sink.failure = None
    await writer.flush()
    assert sink.methods() == ["0", "1", "2"]
    assert writer.lost == 3


@pytest.mark.parametrize("bad", [{"0"}, {"6"}, {"2", "3"}, {str(number) for number in range(7)}])
async def test_what_a_store_refuses_is_found_by_halves(sink, caplog, bad):
    """Only the rows that the store refuses for their data are dropped; they are counted, and said to be."""
    told = []
    writer = Writer(sink, node="n", on_written=lambda asked, alive, started: told.append(asked - alive))
    sink.bad = bad
    rows(writer, *range(7))
    writer.note("b")
    with caplog.at_level(logging.WARNING):
        await writer.flush()
    assert sink.methods() == [str(number) for number in range(7) if str(number) not in bad]
    assert writer.lost == len(bad) == caplog.text.count("a request row was dropped")
    assert not any(told), "a session is not gone because a row of it was refused"
    await writer.flush()
    assert writer.lost == len(bad)


async def test_an_outage_in_the_middle_of_the_halves_counts_nothing_twice(sink):
    """A bad row that was dropped stays dropped when the rest has to wait."""
    writer = Writer(sink, node="n")
    sink.bad = {"0"}
    rows(writer, *range(4))

    def fall():
        if writer.lost:
            sink.failure = StoreUnavailable("away")

    sink.during = fall
    await writer.flush()
    sink.failure, sink.during = None, lambda: None
    await writer.flush()
    assert sink.methods() == ["1", "2", "3"]
    assert writer.lost == 1


async def test_rows_of_what_is_gone_are_counted(sink):
    """A row whose session was deleted from the table cannot be kept: it is lost, and the session is gone."""
    told = []
    writer = Writer(sink, node="n", on_written=lambda asked, alive, started: told.append((asked, alive)))
    sink.gone = {"b"}
    rows(writer, 1, session="a")
    rows(writer, 2, 3, session="b")
    await writer.flush()
    assert (sink.methods(), writer.lost) == (["1"], 2)
    assert told == [({"a", "b"}, {"a"})]


async def test_records_come_before_their_rows(sink):
    """A request without a session has its record made sure of first, once a batch; a record is no session."""
    told = []
    writer = Writer(sink, node="n", on_written=lambda asked, alive, started: told.append((asked, alive)))
    sink.dead = {"r"}
    for _ in range(2):
        writer.add(done("r", inferred=RECORD))
    rows(writer, 1)
    await writer.flush()
    assert sink.inferred == ["r"]
    assert len(sink.rows) == 3
    assert told == [({"a"}, {"a"})]


async def test_two_flushes_at_once_write_once(sink):
    """A flush that somebody asks for and the writer's own do not get into each other's way."""
    writer = Writer(sink, node="n")
    sink.gate = asyncio.Event()
    rows(writer, 1, 2)
    both = asyncio.gather(writer.flush(), writer.flush())
    await asyncio.sleep(0)
    rows(writer, 3)
    sink.gate.set()
    await both
    assert [len(batch) for batch, _ in sink.batches] == [2, 1]


async def test_it_writes_by_itself(sink):
    """A row is written within an interval, without anybody waiting for it."""
    writer = Writer(sink, node="n", interval=0.01)
    writer.start()
    rows(writer, 1)
    await until(lambda: sink.methods() == ["1"])
    await writer.stop()


async def test_a_surprise_does_not_stop_it(sink, caplog):
    """An error that nobody planned is logged; the row is kept and written when it is over."""
    writer = Writer(sink, node="n", interval=0.01)
    writer.start()
    sink.failure = RuntimeError("surprise")
    with caplog.at_level(logging.ERROR):
        rows(writer, 1)
        await until(lambda: "tries again" in caplog.text)
    sink.failure = None
    await until(lambda: sink.methods() == ["1"])
    await writer.stop()
    assert writer.lost == 0


async def test_stop_writes_what_is_left(sink):
    """The last rows and refusals before a stop are written."""
    writer = Writer(sink, node="n", interval=3600)
    writer.start()
    rows(writer, 1)
    writer.refusals.add("host", "local", "curl", 421, "Host x is not allowed here.")
    await writer.stop()
    assert (sink.methods(), len(sink.refusals), writer.lost) == (["1"], 1, 0)


async def test_stop_in_the_middle_of_a_write_loses_nothing(sink):
    """A write that the stop interrupts is made again."""
    writer = Writer(sink, node="n", interval=0.001)
    sink.gate = asyncio.Event()
    writer.start()
    rows(writer, 1)
    writer.note("b", initialized=True)
    await until(lambda: not writer._touched)
    stopping = asyncio.create_task(writer.stop())
    await asyncio.sleep(0)
    sink.gate.set()
    await stopping
    assert sink.methods() == ["1"]
    assert sink.batches[-1][1] == {"b": True}


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), RuntimeError("surprise")])
async def test_stop_without_a_store_counts_what_is_lost(sink, caplog, failure):
    """Where the last rows cannot be written the stop goes on, says so and counts them."""
    writer = Writer(sink, node="n")
    sink.failure = failure
    rows(writer, 1, 2)
    writer.refusals.add("host", "local", "curl", 421, "Host x is not allowed here.")
    with caplog.at_level(logging.WARNING):
        await writer.stop()
    assert writer.lost == 2
    assert "2 request rows and the count of 1 refusals are lost" in caplog.text


async def test_stop_waits_for_a_hanging_store_for_so_long_only(sink):
    """A store that does not answer holds the stop for `timeout` seconds."""
    writer = Writer(sink, node="n")
    sink.gate = asyncio.Event()
    rows(writer, 1)
    async with asyncio.timeout(5):
        await writer.stop(timeout=0.05)
    assert writer.lost == 1
