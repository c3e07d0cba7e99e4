"""The table of running calls, alone: what its viewers get, whatever ends the work."""

import asyncio
import json

import pytest

from archon_transport.transport import Calls


class Answered:
    """As much of an exchange as a call needs: it keeps the answers, and whether its session ended."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.cut = False
        self._came = asyncio.Event()

    def answer(self, payload: bytes) -> None:
        self.answers.append(payload)
        self._came.set()

    async def wait(self) -> bytes:
        await asyncio.wait_for(self._came.wait(), 5)
        (answer,) = self.answers
        return answer


class Table(Calls):
    """The table, and a short way to begin a call: returns the call and its exchange."""

    def begin(self, session_id, request_id, work):
        exchange = Answered()
        begun = []

        def run(call):
            begun.append(call)
            return work

        self.start(session_id, request_id, exchange, run)
        return begun[0], exchange


@pytest.fixture
def calls():
    return Table()


async def done(payload: bytes = b"{}"):
    return {}, payload


async def failing():
    raise RuntimeError("surprise")


async def forever():
    await asyncio.Event().wait()
    return {}, b"never"


async def test_a_call_is_answered_once(calls):
    """The work's outcome is the answer, and the table is done with it."""
    _, exchange = calls.begin("s", 1, done(b"out"))
    assert await exchange.wait() == b"out"
    assert calls.served == 1


async def test_work_that_fails_is_an_internal_error(calls, caplog):
    """An exception out of the work is logged and answered as -32603, without its text."""
    _, exchange = calls.begin("s", "a", failing())
    outcome = json.loads(await exchange.wait())
    assert (outcome["id"], outcome["error"]["code"]) == ("a", -32603)
    assert "surprise" not in outcome["error"]["message"]
    assert "surprise" in caplog.text


async def test_running_calls_are_known_by_session_and_typed_id(calls):
    """1 and "1" are two ids, and another session's 1 is a third."""
    call, exchange = calls.begin("s", 1, forever())
    assert calls.runs("s", 1)
    assert not calls.runs("s", "1")
    assert not calls.runs("t", 1)
    call.stop("client")
    await exchange.wait()


async def test_calls_of_no_session_may_share_ids(calls):
    """Where there is no session there is nothing in which an id could be unique."""
    both = [calls.begin(None, 1, done(b"x"))[1] for _ in range(2)]
    assert [await exchange.wait() for exchange in both] == [b"x", b"x"]


async def test_what_is_stopped_before_it_began_never_begins(calls):
    """A call that is cancelled before its task first runs does nothing at all."""
    began = []

    async def work() -> bytes:
        began.append(True)
        return b"out"

    call, exchange = calls.begin("s", 1, work())
    call.stop("client")
    assert json.loads(await exchange.wait())["error"]["code"] == -32800
    await call.ended()
    assert not began
    assert len(calls) == 0


async def test_the_first_end_counts(calls):
    """A call that ended for one reason does not end again for another."""
    call, exchange = calls.begin("s", 1, forever())
    await asyncio.sleep(0)
    calls.end_session("s")
    call.stop("client")
    calls.cancel("s", 1)
    assert (call.cause, exchange.cut) == ("session", True)
    await exchange.wait()


async def test_a_result_that_comes_after_the_end_is_dropped(calls):
    """Once a call is answered its work cannot change the answer, and its id is in use until it lets go."""
    release = asyncio.Event()

    async def work() -> bytes:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return b"late"

    call, exchange = calls.begin("s", 1, work())
    await asyncio.sleep(0)
    calls.cancel("s", 1)
    early = await exchange.wait()
    assert calls.runs("s", 1)
    release.set()
    await call.ended()
    assert await exchange.wait() == early
    assert b"late" not in early
    assert not calls.runs("s", 1)


async def test_a_stop_after_the_outcome_changes_nothing(calls):
    """An answer that is there stays."""
    call, exchange = calls.begin("s", 1, done(b"out"))
    await exchange.wait()
    call.stop("session")
    assert (call.cause, await exchange.wait()) == (None, b"out")


@pytest.mark.parametrize("request_id", [None, True, 1.0, [], {}, "1"])
async def test_cancel_takes_any_id(calls, request_id):
    """What names no running call cancels none; only what may be an id is looked for at other nodes."""
    _, exchange = calls.begin("s", 1, forever())
    assert calls.cancel("s", request_id) is (request_id != "1")
    assert calls.cancel("t", 1) is False
    assert calls.cancel("s", 1) is True
    await exchange.wait()


async def test_the_table_is_empty_afterwards(calls):
    """A finished call leaves no trace but a count."""
    for number in range(5):
        await calls.begin("s", number, done())[1].wait()
    await asyncio.sleep(0)
    assert (len(calls), calls.busy("s"), calls.served) == (0, False, 5)
    assert repr(calls) == "<Calls running=0 served=5>"


async def test_drain_waits_and_then_cuts(calls):
    """What finishes in the drain time is let finish, the rest is ended and counted; loose work is ended too."""
    loose = asyncio.Event()

    async def hear() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            loose.set()

    calls.spawn(hear(), "loose")
    _, quick = calls.begin("s", 1, asyncio.sleep(0.01, ({}, b"out")))
    _, endless = calls.begin("s", 2, forever())
    assert await calls.drain(0.1) == (1, 1)
    assert await quick.wait() == b"out"
    assert "repeated" in json.loads(await endless.wait())["error"]["message"]
    assert loose.is_set()
    assert await calls.drain(5) == (0, 0), "nothing to wait for is not waited for"
