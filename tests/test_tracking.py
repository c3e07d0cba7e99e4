"""Tracking, caused for real: each way in which a request can end is a row that says so, each refusal a count.

The house is a real server on a real socket over a real Postgres; the long tests cut its database for half a
minute, and stop the real program in full load.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Event, Thread
from typing import Any

import aiohttp
import asyncpg
import mcp_types as types
import pytest
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError

from archon_transport.protocol.messages import internal_error
from archon_transport.store import PostgresStore
from tests.faults.proxy import Proxy
from tests.program import Caller, Program, data_directory
from tests.transport.house import House, Works, post_bytes, request, running, text, tool_call
from tests.transport.modern_house import call, meta, modern_running

INFO = "io.modelcontextprotocol/clientInfo"
SLOW = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"slow"}}'


class Late(Works):
    """Works with a tool that runs out of time, and one whose answer says so."""

    async def refuse(self, context: Any) -> types.CallToolResult:
        raise MCPError(types.REQUEST_TIMEOUT, "Too late.")

    async def iserror(self, context: Any, kind: str = "not_found") -> types.CallToolResult:
        error = {"type": kind, "message": "a text that may say what was asked"}
        return text("no", is_error=True, structured_content={"success": False, "error": error})


@pytest.fixture
async def house(store: PostgresStore) -> AsyncIterator[House]:
    async with running(store, works=Late()) as house:
        yield house


async def rows(store: PostgresStore, count: int) -> list[asyncpg.Record]:
    """The rows, oldest first, once there are so many; the writer is not asked to hurry."""
    query = "SELECT *, clock_timestamp() AS now FROM archon_mcp_requests ORDER BY timestamp, method"
    async with asyncio.timeout(5):
        while len(found := await store.pool.fetch(query)) < count:
            await asyncio.sleep(0.005)
    assert len(found) == count
    return found


async def ends(
    store: PostgresStore, count: int
) -> list[tuple[str, str | None, str, str, str | None, int | None]]:
    """How each request ended."""
    return [
        tuple(
            row[name] for name in ("method", "tool_name", "status", "outcome", "error_message", "error_code")
        )
        for row in await rows(store, count)
    ]


async def test_a_request_is_a_row_within_a_quarter_of_a_second(house: House, store: PostgresStore):
    """From its answer on, what has been asked is in the table in 250 ms."""
    session = await house.connect()
    await rows(store, 1)
    took = []
    for number in range(2, 6):
        assert (await house.ask("ping", session=session)).status == 200
        answered = time.monotonic()
        await rows(store, number)
        took.append(time.monotonic() - answered)
    assert min(took) < 0.25, "the machine may be busy, but not each time"


async def test_how_a_call_ended_is_its_outcome(house: House, store: PostgresStore):
    """Success, a tool's error, an error and a time-out are told apart, and nothing that was said is kept."""
    session = await house.connect()
    await house.call("echo", session, value="what-was-asked")
    await house.call("iserror", session)
    await house.call("iserror", session, kind="timeout")
    await house.call("iserror", session, kind="what was asked")
    await house.call("boom", session)
    await house.call("refuse", session)
    await house.ask("no/such", session=session)
    assert (await ends(store, 8))[1:] == [
        ("tools/call", "echo", "success", "ok", None, None),
        ("tools/call", "iserror", "error", "tool_error", "not_found", None),
        ("tools/call", "iserror", "timeout", "timeout", "timeout", None),
        ("tools/call", "iserror", "error", "tool_error", "tool_error", None),
        ("tools/call", "boom", "error", "error", internal_error().message, -32603),
        ("tools/call", "refuse", "timeout", "timeout", "Too late.", -32001),
        ("no/such", None, "error", "error", "Method not found", -32601),
    ]
    found = await store.pool.fetch("SELECT r::text FROM archon_mcp_requests r")
    assert not [row for row in found if "asked" in row[0]]
    totals = await store.pool.fetchrow("SELECT requests, errors, bytes_out FROM archon_mcp_sessions")
    sent = sum(row["bytes_out"] for row in await rows(store, 8))
    assert tuple(totals) == (7, 6, sent)


async def test_a_sessions_whole_life_is_rows(house: House, store: PostgresStore):
    """initialize, ping, a list, each member of a batch, the listening and the end are rows of the session."""
    session = await house.connect("2025-03-26")
    await house.ask("ping", session=session)
    await house.ask("tools/list", session=session)
    batch = [request(7, "ping"), tool_call(8, "iserror")]
    assert (await house.post(batch, session)).status == 200
    async with house.http.get(
        house.url, headers={"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    ) as listening:
        assert listening.status == 200
        assert (await house.send("DELETE", session=session)).status == 200
        await listening.read()
    found = await rows(store, 7)
    assert sorted(row["method"] for row in found) == sorted(
        ("initialize", "ping", "tools/list", "ping", "tools/call", "listen", "delete")
    )
    assert {str(row["session_id"]) for row in found} == {session.partition(".")[0]}
    assert all(row["node"] == "house" for row in found)
    members = [row["bytes_in"] for row in found if row["method"] in ("ping", "tools/call")][1:]
    assert sum(members) in (len(json.dumps(batch)), len(json.dumps(batch)) - 1)
    ended = await store.pool.fetchrow("SELECT ended_reason, status FROM archon_mcp_sessions")
    assert tuple(ended) == ("deleted", "disconnected"), "late rows do not wake it"


async def cancel(house: House, session: str) -> None:
    await house.note("notifications/cancelled", {"requestId": 5}, session)


async def delete(house: House, session: str) -> None:
    assert (await house.send("DELETE", session=session)).status == 200


async def stop(house: House, session: str) -> None:
    assert await house.transport.drain(0.0) == (0, 1)


@pytest.mark.parametrize(
    ("cut", "said", "code"),
    [
        (cancel, "The client cancelled this request.", -32800),
        (delete, "The session ended while this call ran.", -32800),
        (stop, "The server stopped while this call ran; it may be repeated.", -32603),
    ],
)
@pytest.mark.parametrize("tool", ["slow", "stubborn"])
async def test_a_call_that_was_cut_is_one_row(
    house: House, store: PostgresStore, cut: Callable[..., Awaitable[None]], said: str, code: int, tool: str
):
    """Whoever ends a call early, its row says so, once, whatever its handler does afterwards; it is no refusal."""
    session = await house.connect()
    calling = asyncio.create_task(house.call(tool, session, id=5))
    await house.works.began.wait()
    await cut(house, session)
    await calling
    house.works.release.set()
    await asyncio.wait_for(house.works.cancelled.wait(), 5)
    found = [end for end in await ends(store, 3 if cut is delete else 2) if end[0] == "tools/call"]
    assert found == [("tools/call", tool, "error", "cancelled", said, code)]
    assert len(house.transport.writer.refusals) == 0


async def test_a_client_that_left_is_detached(house: House, store: PostgresStore):
    """A call whose client left before there was an answer went on, and its row says that nobody has it."""
    session = await house.connect()
    _, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(post_bytes(SLOW, f"Mcp-Session-Id: {session}"))
    await house.works.began.wait()
    writer.transport.abort()
    assert (await house.ask("ping", session=session)).status == 200
    house.works.release.set()
    found = [end for end in await ends(store, 3) if end[0] == "tools/call"]
    assert found == [("tools/call", "slow", "success", "detached", None, None)]


async def test_requests_without_a_session_are_rows_of_their_record(store: PostgresStore):
    """A modern request, answered, refused by its tool or left, is a row of the record that it seems to be of."""
    async with modern_running(store, InMemorySubscriptionBus(), require_session_id=False) as house:
        said = meta(**{INFO: {"name": "probe", "version": "3.1"}})
        assert (await call(house, "region", said=said)).status == 200
        leaving = asyncio.create_task(call(house, "slow", said=said))
        await house.works.began.wait()
        leaving.cancel()
        await asyncio.wait_for(house.works.cancelled.wait(), 5)
        assert (await house.ask("ping", **{"User-Agent": "curl/8.5"})).status == 200
        found = await ends(store, 3)
    assert [end[:4] for end in found] == [
        ("tools/call", "region", "success", "ok"),
        ("tools/call", "slow", "error", "cancelled"),
        ("ping", None, "success", "ok"),
    ]
    records = await store.pool.fetch(
        "SELECT client_name, requests FROM archon_mcp_sessions WHERE inferred ORDER BY client_name"
    )
    assert [tuple(row) for row in records] == [("curl", 1), ("probe", 2)]


async def test_a_refusal_is_counted_in_words(house: House, store: PostgresStore):
    """What was refused before it was admitted is counted by its rule, with the sentence that the client read."""
    agent = {"User-Agent": "probe/1.0 (secret-words)"}
    for _ in range(3):
        assert (await house.ask("ping", Host="example.com", **agent)).status == 421
    said = (await house.ask("ping", session="unknown", **agent)).error["message"]
    bad = {"protocolVersion": 7}
    assert (await house.ask("initialize", bad, **agent)).status == 200
    await house.transport.writer.flush()
    found = await store.pool.fetch("SELECT * FROM archon_mcp_refusals ORDER BY count DESC, rule DESC")
    assert [(row["rule"], row["status"], row["count"]) for row in found] == [
        ("host", 421, 3),
        ("session", 404, 1),
        ("initialize", 200, 1),
    ]
    assert found[0]["example"] == (
        "Host example.com is not allowed here; start the server with --allow-host example.com."
    )
    assert found[1]["example"] == said
    assert {(row["client"], row["bucket"]) for row in found} == {("probe", "127.0.0.0/24")}
    assert await store.pool.fetchval("SELECT count(*) FROM archon_mcp_requests") == 0


@asynccontextmanager
async def _steady(house: House, session: str, rate: float) -> AsyncIterator[list[int]]:
    """So many pings a second in the background; what this gives counts the answers."""
    answered = [0]
    headers = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
    body = json.dumps(request(1, "ping"))
    headers["Content-Type"] = "application/json"

    async def one(http: aiohttp.ClientSession, number: int) -> None:
        async with http.post(
            house.url, data=body.replace('"id": 1', f'"id": {number}'), headers=headers
        ) as response:
            answered[0] += response.status == 200
            await response.read()

    async def send() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
            began, number = time.monotonic(), 0
            while not enough.is_set():
                number += 1
                group.create_task(one(http, number))
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))

    enough = asyncio.Event()
    sending = asyncio.create_task(send())
    yield answered
    enough.set()
    await sending


@pytest.mark.long
@pytest.mark.parametrize("bound", [100_000, 1000])
async def test_half_a_minute_without_a_database(dsn: str, bound: int):
    """Under 200 requests a second rows come late and none is lost; past the bound the told loss is the true one."""
    async with Proxy(dsn) as proxy:
        store = PostgresStore(proxy.dsn)
        await store.start()
        async with running(store) as house:
            writer = house.transport.writer
            writer._bound = bound
            session = await house.connect()
            async with _steady(house, session, 200) as answered:
                await asyncio.sleep(1)
                proxy.refuse()
                await asyncio.sleep(30)
                before = answered[0]
                proxy.heal()
                await asyncio.sleep(2)
            assert before > 4000
            await writer.flush()
            assert repr(writer).startswith("<Writer waiting=0 ")
            count = await store.pool.fetchval(
                "SELECT count(*) FROM archon_mcp_requests WHERE method = 'ping'"
            )
            totals = await store.pool.fetchval("SELECT requests FROM archon_mcp_sessions")
            lost = writer.lost
        await store.close()
    assert count == totals == answered[0] - lost
    assert (lost > 0) == (bound == 1000)


@pytest.mark.long
def test_a_stop_in_full_load_loses_nothing(dsn: str):
    """What was answered before and while the program stops is in the table when it has ended."""
    answered = []
    with data_directory() as home, Program(home, "--database-url", dsn, "--drain", "1") as program:
        program.start()
        stopping = Event()

        def work() -> None:
            caller = Caller(program).open()
            count = 0
            try:
                while True:
                    count += caller.send({"id": count, "method": "ping"}).status == 200
            except OSError:
                assert stopping.is_set()
            finally:
                answered.append((caller.public_id, count))

        threads = [Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(3)
        stopping.set()
        program.terminate()
        for thread in threads:
            thread.join()
        code, printed = program.ended()
        assert code == 0, printed
    kept = asyncio.run(_pings(dsn))
    assert dict(answered) == kept
    assert sum(kept.values()) > 200


async def _pings(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    query = "SELECT session_id, count(*) FROM archon_mcp_requests WHERE method = 'ping' GROUP BY 1"
    found = {str(name): count for name, count in await connection.fetch(query)}
    await connection.close()
    return found
