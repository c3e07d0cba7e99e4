"""The table of running calls, alone: what its viewers get, whatever ends the work."""

import asyncio
import json

import pytest

from archon_transport.transport import Calls
from archon_transport.transport.calls import DuplicateId


@pytest.fixture
def calls():
    return Calls()


async def done(outcome: bytes = b"{}") -> bytes:
    return outcome


async def failing() -> bytes:
    raise RuntimeError("surprise")


async def forever() -> bytes:
    await asyncio.Event().wait()
    return b"never"


async def test_every_viewer_gets_the_outcome(calls):
    """Several may wait for a call, and one that comes late too."""
    call = calls.start("s", 1, done(b"out"))
    assert await asyncio.gather(call.wait(), call.wait()) == [b"out", b"out"]
    assert await call.wait() == b"out"
    assert calls.served == 1


async def test_a_viewer_that_leaves_leaves_the_call(calls):
    """Cancelling a wait does not cancel the work."""
    release = asyncio.Event()

    async def work() -> bytes:
        await release.wait()
        return b"out"

    call = calls.start("s", 1, work())
    leaving = asyncio.create_task(call.wait())
    staying = asyncio.create_task(call.wait())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    release.set()
    assert await staying == b"out"


async def test_work_that_fails_is_an_internal_error(calls, caplog):
    """An exception out of the work is logged and answered as -32603, without its text."""
    outcome = json.loads(await calls.start("s", "a", failing()).wait())
    assert (outcome["id"], outcome["error"]["code"]) == ("a", -32603)
    assert "surprise" not in outcome["error"]["message"]
    assert "surprise" in caplog.text


async def test_a_refused_duplicate_leaves_nothing(calls):
    """The second of two equal ids is closed unrun, and the first goes on."""
    call = calls.start("s", 1, forever())
    with pytest.raises(DuplicateId):
        calls.start("s", 1, forever())
    calls.start("s", "1", done())
    calls.start("t", 1, done())
    assert calls.runs("s", 1)
    call.stop("client")
    await call.wait()


async def test_calls_of_no_session_may_share_ids(calls):
    """Where there is no session there is nothing in which an id could be unique."""
    both = [calls.start(None, 1, done(b"x")) for _ in range(2)]
    assert [await call.wait() for call in both] == [b"x", b"x"]


async def test_what_is_stopped_before_it_began_never_begins(calls):
    """A call that is cancelled before its task first runs does nothing at all."""
    began = []

    async def work() -> bytes:
        began.append(True)
        return b"out"

    call = calls.start("s", 1, work())
    call.stop("client")
    assert json.loads(await call.wait())["error"]["code"] == -32800
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not began
    assert len(calls) == 0


async def test_the_first_end_counts(calls):
    """A call that ended for one reason does not end again for another."""
    call = calls.start("s", 1, forever())
    await asyncio.sleep(0)
    calls.end_session("s")
    call.stop("client")
    calls.cancel("s", 1)
    assert call.cause == "session"
    await call.wait()


async def test_a_result_that_comes_after_the_end_is_dropped(calls):
    """Once a call is answered its work cannot change the answer."""
    release = asyncio.Event()

    async def work() -> bytes:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return b"late"

    call = calls.start("s", 1, work())
    await asyncio.sleep(0)
    calls.cancel("s", 1)
    early = await call.wait()
    release.set()
    await asyncio.wait([call.task])
    assert await call.wait() == early
    assert b"late" not in early


async def test_a_stop_after_the_outcome_changes_nothing(calls):
    """An answer that is there stays."""
    call = calls.start("s", 1, done(b"out"))
    await call.wait()
    call.stop("session")
    assert (call.cause, await call.wait()) == (None, b"out")


@pytest.mark.parametrize("request_id", [None, True, 1.0, [], {}, "1"])
async def test_cancel_takes_any_id(calls, request_id):
    """What names no running call cancels none, whatever type it has."""
    call = calls.start("s", 1, forever())
    assert calls.cancel("s", request_id) is False
    assert calls.cancel("t", 1) is False
    assert calls.cancel("s", 1) is True
    await call.wait()


async def test_the_table_is_empty_afterwards(calls):
    """A finished call leaves no trace but a count."""
    for number in range(5):
        await calls.start("s", number, done()).wait()
    await asyncio.sleep(0)
    assert (len(calls), calls.busy("s"), calls.served) == (0, False, 5)
    assert repr(calls) == "<Calls running=0 served=5>"


async def test_drain_waits_and_then_cuts(calls):
    """What finishes in the drain time is let finish, the rest is ended and counted; loose work is ended
    too.
    """
    loose = asyncio.Event()

    async def hear() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            loose.set()

    calls.spawn(hear(), "loose")
    quick = calls.start("s", 1, asyncio.sleep(0.01, b"out"))
    endless = calls.start("s", 2, forever())
    assert await calls.drain(0.1) == (1, 1)
    assert await quick.wait() == b"out"
    assert "repeated" in json.loads(await endless.wait())["error"]["message"]
    assert loose.is_set()
    assert await calls.drain(5) == (0, 0), "nothing to wait for is not waited for"
