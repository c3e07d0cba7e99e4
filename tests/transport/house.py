"""A real server on a real socket: an SDK server whose tools can be held, broken and watched, and a plain
client.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import mcp_types as types
from aiohttp import web
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from archon_transport.app import Transport, assemble
from archon_transport.sessions import current

SECRET = "a-text-that-no-client-may-see"
TOOLS = (
    "echo",
    "slow",
    "stubborn",
    "boom",
    "refuse",
    "iserror",
    "whoami",
    "meet",
    "nan",
    "surrogate",
    "lost",
    "tell",
    "ask",
)


def text(value: str, **facts: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)], **facts)


class Works:
    """What the tools do, and the events by which a test holds and watches them."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()
        self.noted = asyncio.Event()
        self.lifespans = 0
        self.barrier = asyncio.Barrier(2)
        self.server: Server[Any] = Server(
            "house",
            version="1",
            instructions="Knock.",
            lifespan=self._lifespan,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_prompts=self._list_prompts,
        )
        self.server.add_notification_handler("notifications/noted", types.NotificationParams, self._noted)

    @asynccontextmanager
    async def _lifespan(self, server: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        self.lifespans += 1
        yield {"open": True}

    async def _list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in TOOLS]
        )

    async def _list_prompts(self, context: Any, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])

    async def _call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        return await getattr(self, params.name)(context, **(params.arguments or {}))

    async def _noted(self, context: Any, params: Any) -> None:
        self.noted.set()
        raise RuntimeError(SECRET)

    async def echo(self, context: Any, value: str = "") -> types.CallToolResult:
        return text(value)

    async def slow(self, context: Any) -> types.CallToolResult:
        self.began.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.finished.set()
        return text("done")

    async def stubborn(self, context: Any) -> types.CallToolResult:
        self.began.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
        self.finished.set()
        return text("done all the same")

    async def boom(self, context: Any) -> types.CallToolResult:
        raise RuntimeError(SECRET)

    async def refuse(self, context: Any) -> types.CallToolResult:
        raise MCPError(-32050, "Not today.", {"until": "tomorrow"})

    async def iserror(self, context: Any) -> types.CallToolResult:
        return text("no", is_error=True)

    async def whoami(self, context: Any) -> types.CallToolResult:
        facts = current()
        session = facts.session
        return text(
            json.dumps(
                {
                    "session": session and session.session_id,
                    "revision": session and session.revision,
                    "client": session and session.client_name,
                    "owner": facts.owner,
                    "lifespan": context.lifespan_context,
                    "protocol_version": context.protocol_version,
                }
            )
        )

    async def meet(self, context: Any) -> types.CallToolResult:
        await self.barrier.wait()
        return text("met")

    async def nan(self, context: Any) -> types.CallToolResult:
        return text("nan", structured_content={"score": float("nan")})

    async def surrogate(self, context: Any) -> types.CallToolResult:
        raise MCPError(-32050, "half a character: \ud800")

    async def lost(self, context: Any) -> types.CallToolResult:
        raise asyncio.CancelledError

    async def tell(self, context: Any) -> types.CallToolResult:
        await context.session.send_progress_notification("token", 1.0)
        await context.session.send_tool_list_changed()
        return text("told")

    async def ask(self, context: Any) -> types.CallToolResult:
        await context.session.send_ping()
        return text("asked")


@dataclass
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Any
    raw: bytes

    @property
    def body(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        assert self.body["jsonrpc"] == "2.0"
        return self.body["error"]

    @property
    def said(self) -> str:
        return self.body["result"]["content"][0]["text"]


@dataclass
class House:
    """One running node at `http://127.0.0.1:port/mcp`."""

    works: Works
    transport: Transport
    port: int
    http: aiohttp.ClientSession
    _ids: list[int] = field(default_factory=lambda: [100])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def send(
        self, verb: str, body: bytes | None = None, session: str | None = None, path: str = "", **headers
    ) -> Answer:
        named = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if session is not None:
            named["Mcp-Session-Id"] = session
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        named = {name: value for name, value in named.items() if value is not None}
        async with self.http.request(verb, self.url + path, data=body, headers=named) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, value: Any, session: str | None = None, **headers) -> Answer:
        return await self.send("POST", json.dumps(value).encode(), session, **headers)

    async def ask(
        self, method: str, params: Any = None, session: str | None = None, id: Any = None, **headers
    ) -> Answer:
        if id is None:
            self._ids[0] += 1
            id = self._ids[0]
        return await self.post(request(id, method, params), session, **headers)

    async def call(self, tool: str, session: str | None = None, id: Any = None, **arguments) -> Answer:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments}, session, id)

    async def note(self, method: str, params: Any = None, session: str | None = None) -> Answer:
        return await self.post({"jsonrpc": "2.0", "method": method, "params": params or {}}, session)

    async def initialize(self, revision: str = "2025-11-25", session: str | None = None, **headers) -> Answer:
        return await self.ask("initialize", handshake(revision), session, id=1, **headers)

    async def connect(self, revision: str = "2025-11-25", **headers) -> str:
        """A new session's id, ready for use."""
        answer = await self.initialize(revision, **headers)
        assert answer.status == 200, answer.raw
        return answer.headers["Mcp-Session-Id"]


def request(id: Any, method: str, params: Any = None) -> dict[str, Any]:
    value = {"jsonrpc": "2.0", "id": id, "method": method}
    return value if params is None else value | {"params": params}


def tool_call(id: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    return request(id, "tools/call", {"name": tool, "arguments": arguments})


def handshake(revision: str) -> dict[str, Any]:
    return {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "tester", "version": "1"}}


@asynccontextmanager
async def running(
    store: Any,
    port: int = 0,
    *,
    works: Works | None = None,
    handler_cancellation: bool = False,
    path: str = "/mcp",
    **options: Any,
) -> AsyncIterator[House]:
    """A house over a store, until it is left."""
    works = works or Works()
    options.setdefault("stream_after", 30.0)  # what is held here is held by the test, not slow
    transport = assemble(works.server, store, node="house", **options)
    application = web.Application()
    transport.endpoint.attach(application, path)
    runner = web.AppRunner(
        application, handler_cancellation=handler_cancellation, shutdown_timeout=1.0, access_log=None
    )
    async with transport.running(), aiohttp.ClientSession() as http:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        try:
            yield House(works, transport, runner.addresses[0][1], http)
        finally:
            works.release.set()
            await runner.cleanup()


async def raw(port: int, *parts: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Write bytes to a connection and read so many answers: (status, headers, body)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(10):
            return [await _read_answer(reader) for _ in range(answers)]
    finally:
        writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(first.split()[1]), headers, body


def post_bytes(body: bytes, *headers: str, host: str = "localhost") -> bytes:
    """A POST as it stands on the wire, with more header lines."""
    lines = [
        "POST /mcp HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


async def until(condition) -> None:
    """Wait for something to hold, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
