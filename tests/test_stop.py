"""What a stop costs: SIGTERM with a thousand listeners and fifty running calls.

The server is ready no more at once, takes nothing new, gives running calls their time, answers the rest with an
error that the log has too, and is gone a second later. Sessions live on.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.history.checker import Log
from tests.history.client import Call, Client, Connection
from tests.history.process import ServerProcess, until

pytestmark = pytest.mark.long

LISTENERS = 1000
IN_TIME, TOO_LONG = 25, 25
DRAIN = 4.0
STOPPED = "The server stopped while this call ran; it may be repeated."


@pytest.fixture
def many_files() -> None:
    """Room for a socket per listener, here and in the server, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * LISTENERS
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        yield http


async def connected(http: aiohttp.ClientSession, port: int, count: int) -> list[Client]:
    """So many sessions, each with its standing stream open."""
    clients = []
    for start in range(0, count, 50):
        size = min(50, count - start)
        clients += await asyncio.gather(*(Client(http, port).connect() for _ in range(size)))
    for client in clients:
        client.listen()
    await until(lambda: all(client.standing[0].received for client in clients), limit=30)
    return clients


async def ready(http: aiohttp.ClientSession, port: int) -> tuple[int, str]:
    """What monitors are told."""
    async with http.get(f"http://127.0.0.1:{port}/ready") as response:
        return response.status, (await response.text()).strip()


async def stop_with(
    dsn: str, http: aiohttp.ClientSession, drain: float, listeners: int, in_time: int, too_long: int
) -> None:
    """Stop a server with so much to do, and see what came of it."""
    async with ServerProcess(dsn, "--drain", str(drain)) as server:
        clients = await connected(http, server.port, listeners)
        late = [clients[i % listeners].call("slow", seconds=600) for i in range(too_long)]
        timely = [clients[i % listeners].call("slow", seconds=drain / 2) for i in range(in_time)]
        asked = clients[0].call("ask", k=1)
        calls = [*late, *timely, asked]
        await until(lambda: all(call.post.events for call in calls))
        assert await ready(http, server.port) == (200, "ready")

        began = time.monotonic()
        server.terminate()
        await assert_draining(http, server, clients[0], asked)
        code = await server.ended()
        took = time.monotonic() - began
        assert code == 0, server.printed()
        assert took < drain + 1, f"it took {took:.1f} s to stop"
        assert took > drain - 0.5  # some of the calls would have run for minutes

        await until(lambda: not any(connection.is_open for connection in all_of(clients)), limit=5)
        assert all(client.standing[0].ended == "closed" for client in clients)
        for call in timely:
            assert call.said == "done"
        assert asked.said == ["just in time"]
        for call in late:
            assert call.responses[0]["error"]["message"] == STOPPED
        await assert_logged(dsn, calls)
        await server.start()
        await assert_lives_on(clients, late)


async def assert_draining(
    http: aiohttp.ClientSession, server: ServerProcess, client: Client, asked: Call
) -> None:
    """Not ready at once; new work is 503 and says when to come back; what ends running calls is taken."""
    told = time.monotonic()
    while await ready(http, server.port) == (200, "ready"):
        assert time.monotonic() - told < 0.5
    assert await ready(http, server.port) == (503, "draining")
    for refused in (await client.call("count", n=1).post.finished(), await client.listen().finished()):
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert "try again" in json.loads(refused.body)["error"]["message"]
    assert (await client.answer(asked.questions[0], "just in time")).status == 202


def all_of(clients: list[Client]) -> list[Connection]:
    """Every connection of every client."""
    found = [connection for client in clients for connection in client.standing]
    return found + [
        connection for client in clients for call in client.calls for connection in call.connections
    ]


async def assert_logged(dsn: str, calls: list[Call]) -> None:
    """The log has each call's one response, the one that its client was sent."""
    log = await Log.read(dsn)
    for call in calls:
        name = call.ids[0].rpartition(".")[0].rpartition(".")[0]
        events = log.events[(call.client.public_id, name)]
        stored = [json.loads(event["data"]) for event in events if event["kind"] == "response"]
        assert stored == call.responses


async def assert_lives_on(clients: list[Client], late: list[Call]) -> None:
    """After the restart every session serves, and who comes back for a call has its error once more."""
    for client in clients[::50] or clients:
        call = client.call("count", n=2)
        await call.response()
        assert len(call.said) == 2
    again = await (await late[0].resume()).finished()
    assert (again.status, again.events) == (405, [])  # its client had the last word
    again = await (await late[0].resume(late[0].ids[0])).finished()
    assert [event.message for event in again.events if event.is_response] == late[0].responses[:1]


async def test_a_stop_lets_calls_finish_and_answers_the_rest(dsn: str, http: aiohttp.ClientSession) -> None:
    """Within drain + 1 s: what ended in time was delivered, what did not has its error, sessions live on."""
    await stop_with(dsn, http, drain=1.5, listeners=20, in_time=3, too_long=3)


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_stop_with_a_thousand_listeners(
    dsn: str, many_files: None, http: aiohttp.ClientSession
) -> None:
    """So it is with 1,000 open streams and 50 running calls."""
    await stop_with(dsn, http, drain=DRAIN, listeners=LISTENERS, in_time=IN_TIME, too_long=TOO_LONG)


async def test_a_stop_with_nothing_to_do_takes_no_time(dsn: str, http: aiohttp.ClientSession) -> None:
    """Listeners alone are no reason to wait: the drain time is for calls."""
    async with ServerProcess(dsn) as server:
        await connected(http, server.port, 20)
        began = time.monotonic()
        server.terminate()
        assert await server.ended() == 0
        assert time.monotonic() - began < 2
