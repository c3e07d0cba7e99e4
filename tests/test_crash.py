"""What a crash may cost: processes are killed and frozen, Postgres is killed, in the middle of streaming calls.

A lost call is answered with the error that says it may be repeated, wherever its client asks; the session goes
on; nothing arrives twice. The client here keeps every event of every connection, so that each test can say so.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from archon_transport.embedded.cluster import Cluster
from tests.conftest import run
from tests.history.checker import Log
from tests.history.client import LOST, Call, Client, Connection
from tests.history.process import ServerProcess, until

pytestmark = pytest.mark.long

REPAIRED_WITHIN = 5.0
"""Seconds after the restart within which a lost call has its answer."""

DEAD_AFTER = 10.0
"""Seconds of silence after which a process is declared dead."""


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        yield http


@pytest.fixture
async def server(dsn: str) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(dsn) as server:
        yield server


@pytest.fixture
async def client(http: aiohttp.ClientSession, server: ServerProcess) -> AsyncIterator[Client]:
    client = await Client(http, server.port).connect()
    yield client
    await client.close()


async def begun(client: Client, tool: str, port: int | None = None, **arguments: object) -> Call:
    """A call that has said something, so that its client can come back for the rest."""
    call = client.call(tool, port=port, **arguments)
    await until(lambda: call.post.events)
    return call


def is_lost(response: dict[str, object] | None) -> bool:
    """Whether it is the error of a call that may be repeated."""
    return "error" in (response or {}) and LOST in json.dumps(response)


async def assert_goes_on(client: Client, port: int | None = None) -> None:
    """The session serves a new call, with a stream of its own."""
    call = client.call("count", port=port, n=3, pause_ms=1)
    await call.response()
    assert call.said == ["0:", f"1:{'x' * 8}", f"2:{'x' * 16}"]


async def come_back(call: Call) -> Connection:
    """Retry a GET every fifth of a second until the server takes it, as clients do."""
    while True:
        connection = await call.resume()
        await begins_or_breaks(connection)
        if connection.status is not None:
            return connection
        await asyncio.sleep(0.2)


async def begins_or_breaks(connection: Connection) -> None:
    """Wait until it has a status or has ended without one."""
    await until(lambda: connection.status is not None or not connection.is_open)


async def responses_in_the_log(dsn: str, call: Call) -> list[bytes]:
    """Every response that the log has for the stream of a call."""
    log = await Log.read(dsn)
    name = call.ids[0].rpartition(".")[0].rpartition(".")[0]
    events = log.events[(call.client.public_id, name)]
    return [bytes(event["data"]) for event in events if event["kind"] == "response"]


async def test_after_kill_9_a_resumed_call_has_its_error_and_the_session_goes_on(
    dsn: str, server: ServerProcess, client: Client
) -> None:
    """Whoever resumes, waits with a retry, or asks again gets one and the same error within 5 s of the restart."""
    slow, silent = await begun(client, "slow", seconds=60), client.call("silent", seconds=60)
    await until(lambda: silent.ids)  # silent, but a stream after a quarter of a second
    await server.kill()
    await until(lambda: not slow.post.is_open and not silent.post.is_open)
    retrying = asyncio.create_task(come_back(silent))
    await server.start()
    restarted = time.monotonic()
    await slow.resume()
    assert is_lost(await slow.response(REPAIRED_WITHIN))
    await retrying
    assert is_lost(await silent.response(REPAIRED_WITHIN))
    assert time.monotonic() - restarted < REPAIRED_WITHIN
    for call in (slow, silent):
        assert call.responses[0]["id"] == call.request_id
        await call.connections[-1].finished()
        again = await (await call.resume(call.ids[0])).finished()
        assert [event.message for event in again.events if event.is_response] == call.responses[:1]
        assert len(await responses_in_the_log(dsn, call)) == 1
    await assert_goes_on(client)


async def test_a_question_that_waited_is_failed_and_its_answers_have_no_effect(
    dsn: str, server: ServerProcess, client: Client
) -> None:
    """After kill -9 an answer to a question of the dead is 202 and changes nothing."""
    call = await begun(client, "ask", k=1)
    (question,) = call.questions
    await server.restart()
    row = (await Log.read(dsn)).questions[question]
    assert row["withdrawn_at"] is not None and row["answered_at"] is None
    assert (await client.answer(question, "too late")).status == 202
    assert (await Log.read(dsn)).questions[question] == row
    await call.resume()
    assert is_lost(await call.response(REPAIRED_WITHIN))
    await assert_goes_on(client)


async def test_another_process_repairs_and_who_waits_there_is_told(
    dsn: str, server: ServerProcess, client: Client
) -> None:
    """A client that resumes elsewhere before the repair waits there, and gets the error when it is made."""
    async with ServerProcess(dsn) as other:
        call = await begun(client, "slow", seconds=60)
        waiting = await call.resume(port=other.port)
        await until(lambda: waiting.received)  # it follows a stream that another process still appends to
        assert not waiting.events
        killed = time.monotonic()
        await server.kill()
        assert is_lost(await call.response(REPAIRED_WITHIN))
        assert time.monotonic() - killed < REPAIRED_WITHIN
        await waiting.finished()
        await assert_goes_on(client, other.port)
        assert len(await responses_in_the_log(dsn, call)) == 1


@pytest.mark.long
@pytest.mark.timeout(90)
async def test_a_frozen_process_that_was_repaired_does_no_harm(
    dsn: str, server: ServerProcess, http: aiohttp.ClientSession, client: Client
) -> None:
    """SIGSTOP, repair by another process, SIGCONT: its result is dropped, it goes on, nothing comes twice."""
    async with ServerProcess(dsn) as other:
        quick = await begun(client, "slow", seconds=3)  # would be done while frozen
        asking = await begun(client, "ask", k=1)
        listener = client.listen()
        await until(lambda: listener.received)
        frozen = time.monotonic()
        await server.freeze()
        seen = [await call.resume(port=other.port) for call in (quick, asking)]
        await until(lambda: all(connection.received for connection in seen))
        assert is_lost(await quick.response(DEAD_AFTER + REPAIRED_WITHIN))
        assert is_lost(await asking.response(REPAIRED_WITHIN))
        assert time.monotonic() - frozen > DEAD_AFTER - 2.5  # not before its heartbeat was missed
        assert (await client.answer(asking.questions[0], "too late", other.port)).status == 202

        await server.thaw()
        await until(lambda: not quick.post.is_open and not asking.post.is_open)  # they are told nothing more
        await until(lambda: not listener.is_open)  # it comes back, and is the new incarnation's
        for call in (quick, asking):
            places = [event.place for event in call.events]
            assert len(places) == len(set(places)), f"something came twice: {call.connections}"
            assert len(call.responses) == 1
            (stored,) = await responses_in_the_log(dsn, call)
            assert is_lost(json.loads(stored))
        await assert_goes_on(client)
        incarnations = await of_node(dsn, server.port)
        assert [row["dead_at"] is None for row in incarnations] == [False, True]


async def of_node(dsn: str, port: int) -> list[asyncpg.Record]:
    """The incarnations of the server on a port, oldest first."""
    connection = await asyncpg.connect(dsn)
    try:
        query = "SELECT * FROM archon_mcp_incarnations WHERE node LIKE $1 ORDER BY began_at"
        return await connection.fetch(query, f"history:{port}/%")
    finally:
        await connection.close()


async def test_what_begins_right_after_the_thaw_is_not_lost(
    dsn: str, server: ServerProcess, client: Client
) -> None:
    """A call that comes before the thawed process knows that it was declared dead has its result all the same."""
    await server.freeze()
    call = client.call("count", n=3, pause_ms=150)
    await bury(dsn, server.port)
    await server.thaw()
    assert "result" in await call.response()
    assert len(call.said) == 3
    assert len(await responses_in_the_log(dsn, call)) == 1


async def bury(dsn: str, port: int) -> None:
    """Declare the server on a port dead, as another process would after ten seconds."""
    connection = await asyncpg.connect(dsn)
    try:
        query = "UPDATE archon_mcp_incarnations SET dead_at = clock_timestamp() WHERE node LIKE $1"
        assert await connection.execute(query, f"history:{port}/%") == "UPDATE 1"
    finally:
        await connection.close()


@pytest.fixture
def own_postgres() -> Iterator[tuple[Cluster, str]]:
    """A Postgres that a test may kill, and its address, which stays the same over a restart."""
    home = Path(tempfile.mkdtemp(prefix="archon-test-"))
    cluster = Cluster(home)
    try:
        run(cluster.start())
        yield cluster, cluster.layout.dsn("postgres")
    finally:
        run(cluster.stop())
        shutil.rmtree(home)


def kill_postgres(cluster: Cluster) -> None:
    """kill -9 of the postmaster."""
    pid = int((cluster.layout.pgdata / "postmaster.pid").read_text().split()[0])
    assert Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    os.kill(pid, signal.SIGKILL)
    until_dead = time.monotonic() + 10
    while cluster.alive:
        assert time.monotonic() < until_dead


async def test_kill_9_of_postgres_loses_nothing_of_a_running_call(
    own_postgres: tuple[Cluster, str], http: aiohttp.ClientSession
) -> None:
    """Calls that run meanwhile say what they have to say, and the log has all of it when Postgres is back."""
    cluster, dsn = own_postgres
    async with ServerProcess(dsn) as server:
        client = await Client(http, server.port).connect()
        before, asking = await begun(client, "count", n=40, pause_ms=50), await begun(client, "ask", k=1)
        kill_postgres(cluster)
        during = await begun(client, "count", n=40, pause_ms=50)  # no ids: its row could not be committed
        short = client.call("count", n=3, pause_ms=1)
        assert len((await short.response())["result"]["content"]) == 1  # nobody waits for the database
        refused = await client.answer(asking.questions[0], "not now")
        assert refused.status == 503 and int(refused.headers["Retry-After"]) >= 1
        await cluster.start()
        for call in (before, during):
            await call.response()
            assert len(call.said) == 40
            assert not any(connection.ended == "broken" for connection in call.connections)
        assert all(event.event_id for event in before.events)
        assert not during.ids
        await answered(client, asking)
        assert asking.said == ["now"]
        (response,) = await responses_in_the_log(dsn, before)
        assert json.loads(response) == before.responses[0]
        again = await (await before.resume(before.ids[0])).finished()
        assert [event.raw for event in again.events] == [event.raw for event in before.post.events]
        await until_all_closed(dsn)
        await assert_goes_on(client)
        await client.close()


async def answered(client: Client, call: Call) -> None:
    """Answer its question, again while the server says that the database is away."""
    while (await client.answer(call.questions[0], "now")).status == 503:
        await asyncio.sleep(0.2)
    await call.response()


async def until_all_closed(dsn: str) -> None:
    """Wait until no call's stream is open in the log: also those that began while it was away."""
    deadline = time.monotonic() + REPAIRED_WITHIN
    while [row for row in (await Log.read(dsn)).streams.values() if row["closed_at"] is None]:
        assert time.monotonic() < deadline, (await Log.read(dsn)).streams
        await asyncio.sleep(0.1)
