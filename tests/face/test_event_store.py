"""An SDK `EventStore` that somebody has: every event of a call is in it first, and calls are resumed from it."""

import asyncio
import json

import pytest
from aiohttp import web
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.streamable_http import EventMessage, EventStore

from archon_transport import PostgresStore, StreamableHTTP
from tests.face.mounted import Client, events, served


class Shelf(EventStore):
    """As the SDK's own example keeps them: one list, ids that count; None is a priming event."""

    def __init__(self):
        self.kept = []
        self.broken = False

    async def store_event(self, stream_id, message):
        if self.broken:
            raise OSError("the shelf broke")
        self.kept.append((stream_id, message))
        return f"e{len(self.kept) - 1}"

    async def replay_events_after(self, last_event_id, send_callback):
        place = int(last_event_id[1:])
        if place >= len(self.kept):
            return None
        stream_id = self.kept[place][0]
        for n, (stream, message) in enumerate(self.kept[place + 1 :], place + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, f"e{n}"))
        return stream_id


class Works:
    """A tool that says two things and, when it is let go, a third and its result."""

    def __init__(self):
        self.said = asyncio.Event()
        self.go = asyncio.Event()
        self.server = MCPServer("works")
        self.server.tool()(self.work)
        self.server.tool()(self.hang_up)

    async def work(self, ctx: Context) -> str:
        for n in (1, 2):
            await ctx.report_progress(n)
        self.said.set()
        await self.go.wait()
        await ctx.report_progress(3)
        return "worked"

    async def hang_up(self, ctx: Context) -> str:
        await ctx.report_progress(1)
        await ctx.request_context.close_sse_stream()
        await self.go.wait()
        return "worked"


@pytest.fixture
def works():
    return Works()


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
async def client(works, shelf):
    app = web.Application()
    StreamableHTTP(works.server, event_store=shelf, retry_interval=50).attach(app, "/mcp")
    async with served(app) as (http, url):
        client = Client(http, f"{url}/mcp")
        await client.open()
        yield client
        works.go.set()


def work(tool="work"):
    return {"name": tool, "arguments": {}, "_meta": {"progressToken": "t"}}


def words(found):
    """What each event says: its progress, or what the tool answered; None for a priming event."""
    return [
        None
        if message is None
        else message["params"]["progress"]
        if "method" in message
        else message["result"]["content"][0]["text"]
        for _, message in found
    ]


async def begin(client, works, tool="work"):
    """Read a call's stream until it has said both things; leave it; the events so far."""
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": work(tool)}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Mcp-Session-Id": client.session_id,
    }
    async with client.http.post(client.url, data=json.dumps(message), headers=headers) as response:
        text = ""
        async for chunk in response.content.iter_any():
            text += chunk.decode()
            if '"progress":2' in text and text.endswith("\r\n\r\n"):
                break
        response.close()
    return events(text)


async def test_every_event_is_in_the_store_before_it_is_sent(client, works, shelf):
    """In the order of the wire, a priming event first, and its id is the stream's name and the store's own."""
    works.go.set()
    status, _, found = await client.ask("tools/call", work(), 7)
    assert (status, words(found)) == (200, [None, 1, 2, 3, "worked"])
    streams = {stream for stream, _ in shelf.kept}
    assert len(streams) == 1
    assert [id for id, _ in found] == [f"{stream}~e{n}" for stream in streams for n in range(5)]
    assert [message is None for _, message in shelf.kept] == [True, False, False, False, False]


async def test_a_call_is_resumed_and_followed_to_its_end(client, works):
    """What was missed comes out of the store, what follows from the call: nothing twice and nothing lost."""
    seen = await begin(client, works)
    assert words(seen) == [None, 1, 2]
    resumed = asyncio.create_task(client.send("GET", Last_Event_ID=seen[1][0]))
    await asyncio.sleep(0)
    works.go.set()
    status, _, found = await resumed
    assert (status, words(found)) == (200, [2, 3, "worked"])
    assert found[0] == seen[2]


async def test_a_call_that_ended_is_replayed(client, works):
    """From any of its events; behind its last one there is nothing, and that is said."""
    works.go.set()
    _, _, found = await client.ask("tools/call", work(), 7)
    for n in range(4):
        status, _, again = await client.send("GET", Last_Event_ID=found[n][0])
        assert (status, again) == (200, found[n + 1 :])
    assert (await client.send("GET", Last_Event_ID=found[4][0]))[0] == 405


async def test_nobody_elses_events_are_replayed(client, works):
    """Neither by another's stream name, nor by one's own with another's event id behind it."""
    works.go.set()
    _, _, mine = await client.ask("tools/call", work(), 7)
    other = Client(client.http, client.url)
    await other.open()
    _, _, theirs = await other.ask("tools/call", work(), 7)
    name = mine[1][0].partition("~")[0]
    for stolen in (theirs[1][0], f"{name}~{theirs[1][0].partition('~')[2]}", f"nonsense~{mine[1][0]}"):
        assert (await client.send("GET", Last_Event_ID=stolen))[0] == 400


async def test_a_connection_that_a_handler_closes_is_taken_up_again(client, works):
    """The client is asked to come back and finds the result."""
    status, _, found = await client.ask("tools/call", work("hang_up"), 7)
    assert (status, words(found)) == (200, [None, 1])
    works.go.set()
    status, _, rest = await client.send("GET", Last_Event_ID=found[-1][0])
    assert (status, words(rest)) == (200, ["worked"])


async def test_a_store_that_fails_delays_nobody(client, works, shelf, caplog):
    """Events go out without an id, and the log says so."""
    shelf.broken = True
    works.go.set()
    status, _, found = await client.ask("tools/call", work(), 7)
    assert (status, words(found)) == (200, [1, 2, 3, "worked"])
    assert {id for id, _ in found} == {None}
    assert "the event store did not take an event" in caplog.text


async def test_another_node_replays_what_is_in_the_store(dsn, works, shelf):
    """With one database and one event store: a running call's events, and where it waits the wish to come back."""
    nodes = [web.Application() for _ in range(2)]
    for app in nodes:
        server = works.server if app is nodes[0] else Works().server
        StreamableHTTP(server, PostgresStore(dsn), event_store=shelf).attach(app, "/mcp")
    async with served(nodes[0]) as (http, one), served(nodes[1]) as (_, two):
        here = Client(http, f"{one}/mcp")
        await here.open()
        there = Client(http, f"{two}/mcp")
        there.session_id = here.session_id
        seen = await begin(here, works)
        status, _, found = await there.send("GET", Last_Event_ID=seen[1][0])
        assert (status, found) == (200, seen[2:])
        works.go.set()
        async with asyncio.timeout(5):
            while words(found)[-1:] != ["worked"]:
                _, _, found = await there.send("GET", Last_Event_ID=seen[2][0])
        assert words(found) == [3, "worked"]


async def test_a_standing_stream_keeps_the_sessions_own_ids(client):
    """It is not in the event store: a GET that names nothing of it listens anew."""
    headers = {"Accept": "text/event-stream", "Mcp-Session-Id": client.session_id}
    async with client.http.get(client.url, headers=headers) as response:
        assert response.status == 200
        first = (await response.content.readuntil(b"\r\n\r\n")).decode()
        assert "~" not in first
