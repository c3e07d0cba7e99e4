"""A server program to be killed, frozen and stopped: the real transport and store around tools that take their time.

    python -m tests.history.server --port N --dsn DSN [--drain SECONDS]

It is built as the real program is: bound first, served by `archon_transport.process`, with the two words for
monitors. Its tools say what they do in their results, so that whoever reads a result knows what must stand in
the log before it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import mcp_types as types
from aiohttp import web
from mcp.server import Server
from mcp.server.context import ServerRequestContext

from archon_transport import process
from archon_transport.app import Transport, assemble
from archon_transport.store import PostgresStore, migrations
from archon_transport.web import Health

Tool = Callable[..., Awaitable[Any]]


def server() -> Server[Any]:
    """The SDK server with the tools below."""
    return Server("history", version="1", on_list_tools=_list_tools, on_call_tool=_call_tool)


async def _list_tools(context: ServerRequestContext, params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in TOOLS]
    )


async def _call_tool(
    context: ServerRequestContext, params: types.CallToolRequestParams
) -> types.CallToolResult:
    said = await TOOLS[params.name](context, **(params.arguments or {}))
    return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(said))])


async def count(context: ServerRequestContext, n: int, pause_ms: float = 0, size: int = 8) -> list[str]:
    """Say `n` things, each longer than the one before, and list them."""
    said = []
    for i in range(n):
        words = f"{i}:{'x' * (size * i)}"
        if i % 2:
            await log(context, words, context.request_id)
        else:
            await context.session.report_progress(i, n, words)
        said.append(words)
        await asyncio.sleep(pause_ms / 1000)
    return said


async def ask(context: ServerRequestContext, k: int) -> list[str]:
    """Ask `k` questions in turn and list the answers."""
    answers = []
    for i in range(k):
        answer = await context.session.elicit_form(
            f"question {i}",
            {"type": "object", "properties": {"word": {"type": "string"}}},
            context.request_id,
        )
        answers.append(str((answer.content or {}).get("word")))
    return answers


async def slow(context: ServerRequestContext, seconds: float) -> str:
    """Say one thing, be long about it, and be done."""
    await context.session.report_progress(0, 1, "begun")
    await asyncio.sleep(seconds)
    return "done"


async def silent(context: ServerRequestContext, seconds: float) -> str:
    """Be long about it without a word."""
    await asyncio.sleep(seconds)
    return "done"


async def leave(context: ServerRequestContext, seconds: float) -> str:
    """Say one thing, close the client's connection, and be done some time later."""
    await context.session.report_progress(0, 2, "before")
    assert context.close_sse_stream is not None
    await context.close_sse_stream()
    await asyncio.sleep(seconds / 2)
    await context.session.report_progress(1, 2, "between")
    await asyncio.sleep(seconds / 2)
    return "done"


async def publish(context: ServerRequestContext, words: str) -> str:
    """Say something outside of any call, on the session's standing stream."""
    await log(context, words, None)
    return words


async def log(context: ServerRequestContext, words: str, request_id: types.RequestId | None) -> None:
    params = types.LoggingMessageNotificationParams(level="info", data=words)
    await context.session.send_notification(types.LoggingMessageNotification(params=params), request_id)


TOOLS: dict[str, Tool] = {
    tool.__name__: tool
    for tool in (count, ask, slow, silent, leave, publish)  # type: ignore[attr-defined]
}


class Served:
    """The program, as `process.serve` wants it."""

    def __init__(self, transport: Transport, store: PostgresStore, drain: float) -> None:
        self.transport = transport
        self.store = store
        self.seconds = drain
        self.cut = 0
        self.cleanup = AsyncExitStack()
        self.web = web.Application()
        Health(lambda: transport.endpoint.draining, store.ping).attach(self.web)
        transport.endpoint.attach(self.web, "/mcp")

    async def drain(self) -> None:
        """Take nothing new and let calls finish."""
        _, self.cut = await self.transport.drain(self.seconds)

    async def close(self) -> str:
        """Let go of everything."""
        await self.cleanup.aclose()
        return f"stopped: {self.transport.calls.served} calls served, {self.cut} cut off"


def print_tasks() -> None:
    """What every task waits for, to be read after a failure."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=4)


def upgrade() -> None:
    """Be the next version of the program: with one migration more."""
    known = migrations.load
    more = "ALTER TABLE archon_mcp_sessions ADD COLUMN next_version TEXT"

    def load(set_name: str) -> list[migrations.Migration]:
        new = migrations.Migration("transport", 999, "999_next.sql", more)
        return known(set_name) + ([new] if set_name == "transport" else [])

    migrations.load = load


async def build(chosen: argparse.Namespace) -> Served:
    """A running program on the database of the options."""
    store = PostgresStore(chosen.dsn, command_timeout=chosen.command_timeout)
    await store.start()
    node = f"history:{chosen.port}/{os.getpid()}"
    transport = assemble(server(), store, node=node, retry_interval=chosen.retry)
    served = Served(transport, store, chosen.drain)
    served.cleanup.push_async_callback(store.close)
    await served.cleanup.enter_async_context(served.transport.running())
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print_tasks)
    return served


def main() -> int:
    """Serve until a signal; 0 where everything was closed as it should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--drain", type=float, default=4.0)
    parser.add_argument("--retry", type=int)
    parser.add_argument("--command-timeout", type=float, default=10.0)
    parser.add_argument("--next-version", action="store_true")
    chosen = parser.parse_args()
    if chosen.next_version:
        upgrade()
    with process.Listener.bind("127.0.0.1", chosen.port) as listener, asyncio.Runner() as runner:
        stopped = runner.run(
            process.serve(
                listener,
                lambda: build(chosen),
                lambda program: print("listening", flush=True),
                drain=chosen.drain,
            )
        )
    print(stopped.line, flush=True)
    return 0 if stopped.clean else 1


if __name__ == "__main__":
    sys.exit(main())
