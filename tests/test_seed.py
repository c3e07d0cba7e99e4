"""What this project was started for, criterion by criterion, on Archon's own program.

Clients kept getting `400 Bad Request: No valid session ID provided`, and nothing of what they did was on
record. Each test is one sentence of what had to become true; the clients are well-meaning and do what real
ones do: they forget a header, keep an old id, look for a login, send less or more than the letter.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import pytest
from mcp.client import Client as SdkClient
from mcp_types import Implementation

from archon_transport import app as program
from archon_transport.archon.server import TOOLS
from archon_transport.settings import Settings
from tests.conftest import _execute, run
from tests.program import Caller, Program, data_directory

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STALE = "01900000-0000-7000-8000-000000000000.AAAAAAAAAAAAAAAAAAAAAA"
DISCOVERY = (
    ("GET", "/.well-known/oauth-protected-resource"),
    ("GET", "/.well-known/oauth-protected-resource/mcp"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/oauth-authorization-server/mcp"),
    ("GET", "/.well-known/openid-configuration"),
    ("POST", "/register"),
)
ROW = "SELECT * FROM archon_mcp_sessions WHERE session_id = $1"
LONG = "UPDATE archon_mcp_sessions SET last_activity = last_activity - interval '29 days'"


@dataclass
class Manner:
    """How a client talks: what it sends with every request, and what it does otherwise than others."""

    name: str
    revision: str = "2025-11-25"
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/mcp"
    sends_session: bool = True
    says_initialized: bool = True
    sends_version: bool = True
    stale: bool = False


MANNERS = (
    *(Manner(f"revision {revision}", revision=revision) for revision in REVISIONS),
    Manner("no session header", sends_session=False),
    Manner("a stale id beside initialize", stale=True),
    Manner("trailing slash", path="/mcp/"),
    Manner("charset", headers={"Content-Type": "application/json; charset=utf-8"}),
    Manner("only JSON accepted", headers={"Accept": "application/json"}),
    Manner("only streams accepted", headers={"Accept": "text/event-stream"}),
    Manner("anything accepted", headers={"Accept": "*/*"}),
    Manner("no version header", sends_version=False),
    Manner("nothing after initialize", says_initialized=False),
)


class Client:
    """A client of one manner; it never starts over, whatever it is told, and notes every status."""

    def __init__(self, http: aiohttp.ClientSession, manner: Manner) -> None:
        self.http = http
        self.manner = manner
        self.url = ""
        self.session_id: str | None = STALE if manner.stale else None
        self.statuses: list[int] = []
        self._opened = False

    async def send(self, verb: str, message: dict[str, Any] | None = None) -> tuple[int, Any, Any]:
        """(status, headers, the last message that came)."""
        named = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        named |= self.manner.headers
        if self._opened and self.manner.sends_version:
            named["MCP-Protocol-Version"] = self.manner.revision
        if self.session_id is not None and (self.manner.sends_session or not self._opened):
            named["Mcp-Session-Id"] = self.session_id
        body = None if message is None else json.dumps({"jsonrpc": "2.0", **message})
        url = self.url + self.manner.path
        async with self.http.request(verb, url, data=body, headers=named) as response:
            text = await response.text()
            self.statuses.append(response.status)
            if response.content_type == "text/event-stream":
                text = [line[6:] for line in text.splitlines() if line.startswith("data: {")][-1]
            return response.status, response.headers, json.loads(text) if text else None

    async def open(self) -> None:
        """The handshake."""
        info = {"name": self.manner.name, "version": "1"}
        params = {"protocolVersion": self.manner.revision, "capabilities": {}, "clientInfo": info}
        status, headers, _ = await self.send("POST", {"id": 0, "method": "initialize", "params": params})
        assert status == 200
        self.session_id = headers["Mcp-Session-Id"]
        assert self.session_id != STALE
        self._opened = True
        if self.manner.says_initialized:
            await self.send("POST", {"method": "notifications/initialized"})

    async def call(self, tool: str, **arguments: Any) -> Any:
        """What a tool answers."""
        params = {"name": tool, "arguments": arguments}
        status, _, body = await self.send("POST", {"id": 1, "method": "tools/call", "params": params})
        assert status == 200, (self.manner.name, body)
        return body["result"]["structuredContent"]

    @property
    def public_id(self) -> str:
        return str(self.session_id).partition(".")[0]


class House:
    """Archon's program in this process, on a database that stays when it is stopped."""

    def __init__(self, dsn: str, aiohttp_server: Any, http: aiohttp.ClientSession) -> None:
        self.dsn = dsn
        self.http = http
        self.app: program.App | None = None
        self.url = ""
        self._serve = aiohttp_server
        self._server: Any = None
        self.clients: list[Client] = []

    async def start(self) -> None:
        """Build it and listen; every client follows to where it listens."""
        self.app = await program.build(Settings(database_url=self.dsn, sweep_grace=0.0))
        self._server = await self._serve(self.app.web)
        self.url = str(self._server.make_url("/")).rstrip("/")
        for client in self.clients:
            client.url = self.url

    async def stop(self) -> str:
        """As a signal would: drain, close the connections, let go; the closing line."""
        assert self.app is not None
        await self.app.drain()
        await self._server.close()
        line = await self.app.close()
        self.app = None
        return line

    async def client(self, manner: Manner = MANNERS[3]) -> Client:
        """A client that has opened its session."""
        client = Client(self.http, manner)
        client.url = self.url
        self.clients.append(client)
        await client.open()
        return client

    async def sql(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The rows of one statement."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def opened(dsn: str, aiohttp_server: Any) -> AsyncIterator[House]:
    async with aiohttp.ClientSession() as http:
        house = House(dsn, aiohttp_server, http)
        await house.start()
        try:
            yield house
        finally:
            if house.app is not None:
                await house.stop()


@pytest.fixture(scope="module")
def shared(postgres: str) -> Iterator[str]:
    """One database for all tests, as for all who ever used a program: each looks at its own sessions."""
    run(_execute(postgres, "CREATE DATABASE seed"))
    yield postgres.replace("/postgres?", "/seed?")
    run(_execute(postgres, "DROP DATABASE seed WITH (FORCE)"))


@pytest.fixture
async def house(shared, aiohttp_server):
    async with opened(shared, aiohttp_server) as house:
        yield house


@pytest.mark.parametrize("event", ["nothing", "a restart", "a long sleep"])
async def test_no_well_meaning_client_gets_a_400(house, event):
    """Whatever it sends or forgets, and whatever happens between two calls: the same client goes on without a 400."""
    clients = [await house.client(manner) for manner in MANNERS]
    for client in clients:
        assert (await client.call("health_check"))["success"] is True
    if event != "nothing":
        await house.stop()
        if event == "a long sleep":
            await house.sql(LONG)
        await house.start()
    for client in clients:
        assert (await client.call("health_check"))["success"] is True
        assert not {status for status in client.statuses if status not in (200, 202)}, client.manner


async def test_a_look_for_a_login_ends_in_a_json_404(house):
    """No discovery of OAuth confuses a client: nobody has to log in, and the answer says so."""
    for verb, path in DISCOVERY:
        async with house.http.request(verb, house.url + path) as response:
            assert (response.status, response.content_type) == (404, "application/json"), path
            assert "error" in await response.json()


async def test_a_client_of_the_old_transport_is_told_what_there_is(house):
    """Its GET without a session is a 405 that names the verbs, which is how such clients find out (2025-03-26)."""
    for path in ("/mcp", "/mcp/"):
        async with house.http.get(house.url + path, headers={"Accept": "text/event-stream"}) as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST, DELETE")


async def test_an_unknown_id_is_a_404_that_says_what_to_do(house):
    """Not a 400: this is the status at which the specification has clients start over."""
    client = await house.client()
    client.session_id = STALE
    status, _, body = await client.send("POST", {"id": 1, "method": "tools/list"})
    assert status == 404
    assert "Send initialize" in body["error"]["message"]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdks_own_client_works_in_either_era(house, mode):
    """It connects, lists and calls; in the handshake era it has a session."""
    info = Implementation(name=f"sdk-{mode}", version="1")
    async with SdkClient(f"{house.url}/mcp", mode=mode, client_info=info) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {tool.name for tool in TOOLS}
        result = await client.call_tool("health_check", {})
        assert result.structured_content["success"] is True
    if mode == "legacy":
        assert await house.sql("SELECT FROM archon_mcp_sessions WHERE client_name = $1", info.name)


async def test_a_session_is_made_by_initialize(house):
    """One row, committed before the client has its id, with who it is; a refused initialize leaves none."""
    client = await house.client()
    (row,) = await house.sql(ROW, client.public_id)
    assert row["client_name"] == client.manner.name
    ((before,),) = await house.sql("SELECT count(*) FROM archon_mcp_sessions")
    refused = Client(house.http, MANNERS[0])
    refused.url = house.url
    assert (await refused.send("POST", {"id": 0, "method": "initialize", "params": {}}))[0] == 200
    assert await house.sql("SELECT count(*) FROM archon_mcp_sessions") == [(before,)]


async def test_several_calls_use_one_session(house):
    """Every call of a client is the same session's, and the totals on its record are true."""
    client = await house.client()
    for _ in range(5):
        session = (await client.call("session_info"))["session"]
        assert session["session_id"] == client.public_id
    await house.stop()
    (row,) = await house.sql(ROW, client.public_id)
    assert (row["requests"], row["ended_at"]) == (5, None)


async def test_requests_are_on_record_with_their_session(house):
    """Each admitted request is a row: which session, which method and tool, how it ended and how long it took."""
    client = await house.client()
    await client.call("health_check")
    await client.call("find_tasks", task_id="no such task")
    await house.stop()  # nothing is lost by a clean stop
    rows = await house.sql(
        "SELECT * FROM archon_mcp_requests WHERE session_id = $1 AND tool_name IS NOT NULL ORDER BY timestamp",
        client.public_id,
    )
    assert [(row["method"], row["tool_name"]) for row in rows] == [
        ("tools/call", "health_check"),
        ("tools/call", "find_tasks"),
    ]
    assert {row["status"] for row in rows} <= {"success", "error"}
    assert rows[0]["outcome"] == "ok"
    assert all(row["duration_ms"] >= 0 and row["node"] and row["bytes_out"] > 0 for row in rows)


async def test_the_dashboard_shows_the_session(house):
    """The page at / names the client and its session's public id, and never the secret."""
    client = await house.client(Manner("a-client-to-see"))
    async with house.http.get(house.url + "/") as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, "text/html")
    assert "a-client-to-see" in text
    assert client.public_id in text
    assert str(client.session_id).partition(".")[2] not in text


def least(schema: dict[str, Any]) -> dict[str, Any]:
    """The fewest arguments that a tool's schema takes."""
    made = {"string": "something", "integer": 1, "boolean": True}
    of = {name: schema["properties"][name] for name in schema.get("required", [])}
    return {name: each["enum"][0] if "enum" in each else made[each["type"]] for name, each in of.items()}


async def test_every_tool_answers(house):
    """Each tool of the registry, called with as little as its schema allows, says whether it succeeded and why not."""
    client = await house.client()
    for tool in TOOLS:
        answer = await client.call(tool.name, **least(tool.published().input_schema))
        assert answer["success"] is True or answer["error"], tool.name


async def test_a_stop_is_clean_and_keeps_every_session(house):
    """The closing line counts; afterwards the rows live, and so does the client's session at the next start."""
    clients = [await house.client() for _ in range(3)]
    await clients[0].call("health_check")
    assert await house.stop() == "stopped: 1 calls served, 0 cut off, 3 sessions opened, all sessions kept"
    for client in clients:
        assert [row["ended_at"] for row in await house.sql(ROW, client.public_id)] == [None]
    await house.start()
    for client in clients:
        await client.call("session_info")


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_no_client_gets_a_400_over_kill_9():
    """The whole matrix on the real program: opened, killed, started again, and every client goes on."""
    with data_directory() as home, Program(home) as server:
        server.start()
        async with aiohttp.ClientSession() as http:
            clients = [Client(http, manner) for manner in MANNERS]
            for client in clients:
                client.url = server.url.removesuffix("/mcp")
                await client.open()
        plain = Caller(server).open()
        assert all(f"session opened session_id={client.public_id}" in server.printed() for client in clients)
        server.kill().start()
        async with aiohttp.ClientSession() as http:
            for client in clients:
                client.http = http
                assert (await client.call("health_check"))["success"] is True
                assert 400 not in client.statuses
        assert plain.call("session_info").tool["session"]["session_id"] == plain.public_id
        server.terminate()
        assert server.ended()[0] == 0
