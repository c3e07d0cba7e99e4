"""The servers under measurement: the same low-level `Server` behind each transport.

    python -m tests.benchmarks.servers KIND PORT [--dsn DSN]

KIND is `ours` (this transport, guards on, the Postgres store when a DSN is given, else memory) or
`sdk` (the SDK's own `json_response` app on uvicorn with uvloop and httptools).
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import mcp_types as types
import uvloop
from mcp.server import Server


async def _list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return types.ListToolsResult(tools=[types.Tool(name="echo", description="Echo.", input_schema=schema)])


async def _call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    text = str((params.arguments or {})["text"])
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def server() -> Server[Any]:
    """A server with one trivial tool."""
    return Server("bench", version="1", on_list_tools=_list_tools, on_call_tool=_call_tool)


async def ours(port: int, dsn: str | None, sleep_after: float) -> None:
    """Serve with this transport, put together as the program itself is."""
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
    app = web.Application()
    parts.endpoint.attach(app, "/mcp")
    async with parts.running():
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


def sdk(port: int) -> None:
    """Serve with the SDK's own transport, as fast as it goes."""
    import uvicorn

    app = server().streamable_http_app(json_response=True)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


def main() -> None:
    """Run one server until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["ours", "sdk"])
    parser.add_argument("port", type=int)
    parser.add_argument("--dsn")
    parser.add_argument("--sleep-after", type=float, default=300.0)
    options = parser.parse_args()
    if options.kind == "sdk":
        sdk(options.port)
    else:
        uvloop.run(ours(options.port, options.dsn, options.sleep_after))


if __name__ == "__main__":
    main()
