"""The servers under measurement: the same low-level `Server` behind each transport.

    python -m tests.benchmarks.servers KIND PORT [--dsn DSN] [--untracked]

KIND is `ours` (this transport, guards on, the Postgres store when a DSN is given, else memory), `sdk`
(the SDK's own `json_response` app on uvicorn with uvloop and httptools), `sdk-sse` (the same with event
streams), `sdk-store` (and with an event store in memory) or `floor` (the least that can be served with
aiohttp and the SDK's kernel: no session, no guard, no record, nothing that this project is for).
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import mcp_types as types
import uvloop
from mcp.server import Server
from mcp.server.streamable_http import EventMessage, EventStore


class _Events(EventStore):
    """The least that an event store can do: remember, and replay what followed."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[str, types.JSONRPCMessage | None]] = {}

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        event_id = str(len(self._events))
        self._events[event_id] = (stream_id, message)
        return event_id

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        stream_id = self._events[last_event_id][0]
        for event_id, (stream, message) in self._events.items():
            if stream == stream_id and int(event_id) > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, event_id))
        return stream_id


async def _list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    names = ("echo", "progress")
    tools = [types.Tool(name=name, description="Echo.", input_schema=schema) for name in names]
    return types.ListToolsResult(tools=tools)


async def _call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name == "progress":
        for step in (1, 2, 3):
            await ctx.session.report_progress(step, 3, "working")
    text = str((params.arguments or {})["text"])
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def server() -> Server[Any]:
    """A server with two trivial tools, one of which reports progress three times."""
    return Server("bench", version="1", on_list_tools=_list_tools, on_call_tool=_call_tool)


async def ours(port: int, dsn: str | None, sleep_after: float, tracked: bool) -> None:
    """Serve with this transport, put together as the program itself is; `tracked` False drops every row."""
    from aiohttp import web

    from archon_transport.app import assemble
    from archon_transport.sessions import Limits
    from archon_transport.store import MemoryStore, PostgresStore

    store: Any = PostgresStore(dsn) if dsn else MemoryStore()
    if dsn:
        await store.start()
    parts = assemble(
        server(), store, node="bench", limits=Limits(sleep_after=sleep_after, max_cached=200_000)
    )
    if not tracked:
        parts.writer.add = lambda row: None  # type: ignore[method-assign]
    app = web.Application()
    parts.endpoint.attach(app, "/mcp")
    async with parts.running():
        await _answer(app, port)


async def floor(port: int) -> None:
    """Serve with aiohttp and the kernel alone: what no transport between the two can be faster than."""
    from aiohttp import web
    from pydantic_core import from_json

    from archon_transport.protocol.messages import Error, Request, encode, result_of
    from archon_transport.transport.kernel import CLOSED, Kernel
    from tests.sessions.rows import new_session

    kernel = Kernel(server())
    known: list[Any] = []

    async def handle(http: web.Request) -> web.Response:
        body = from_json(await http.read())
        request = Request(body.get("id"), body["method"], body.get("params"))
        if request.method == "initialize":
            handshake = await kernel.initialize(request, http)
            assert not isinstance(handshake, Error)
            params, revision = handshake.params, handshake.revision
            known.append(new_session(revision=revision, initialize_params=params, initialized=True))
            payload = encode(result_of(request.id, handshake.result))
            return web.Response(body=payload, headers={"Mcp-Session-Id": "any"})
        if request.id is None:
            return web.Response(status=202)
        outcome = await kernel.answer(known[0], request, CLOSED, http)
        assert not isinstance(outcome, Error)
        return web.Response(
            body=encode(result_of(request.id, outcome)), headers={"Content-Type": "application/json"}
        )

    app = web.Application()
    app.router.add_post("/mcp", handle)
    async with kernel.lifespan():
        await _answer(app, port)


async def _answer(app: Any, port: int) -> None:
    from aiohttp import web

    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def sdk(port: int, kind: str) -> None:
    """Serve with the SDK's own transport, as fast as it goes."""
    import uvicorn

    store = _Events() if kind == "sdk-store" else None
    app = server().streamable_http_app(json_response=kind == "sdk", event_store=store)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


def main() -> None:
    """Run one server until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["ours", "floor", "sdk", "sdk-sse", "sdk-store"])
    parser.add_argument("port", type=int)
    parser.add_argument("--dsn")
    parser.add_argument("--sleep-after", type=float, default=300.0)
    parser.add_argument("--untracked", action="store_true")
    options = parser.parse_args()
    if options.kind == "floor":
        uvloop.run(floor(options.port))
    elif options.kind != "ours":
        sdk(options.port, options.kind)
    else:
        uvloop.run(ours(options.port, options.dsn, options.sleep_after, not options.untracked))


if __name__ == "__main__":
    main()
