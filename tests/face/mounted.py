"""An application of somebody's, run on a real socket, and a plain client that keeps its session id."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

REVISION = "2025-11-25"


class Client:
    """Speaks JSON-RPC to one endpoint; `session_id` goes along once there is one."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url
        self.session_id: str | None = None

    async def send(self, verb: str, body: Any = None, **headers: str | None) -> tuple[int, Any, Any]:
        """(status, headers, what came): a body as JSON, of a stream its events as (id, message)."""
        named: dict[str, Any] = {
            "Accept": "application/json, text/event-stream",
            "Mcp-Session-Id": self.session_id,
        }
        named |= {} if body is None else {"Content-Type": "application/json"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        named = {name: value for name, value in named.items() if value is not None}
        data = None if body is None else json.dumps(body)
        async with self.http.request(verb, self.url, data=data, headers=named) as response:
            text = await response.text()
            if response.content_type == "text/event-stream":
                return response.status, response.headers, events(text)
            return response.status, response.headers, json.loads(text) if text else None

    async def ask(self, method: str, params: Any = None, id: Any = 1, **headers: str | None) -> Any:
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
        return await self.send("POST", message, **headers)

    async def open(self, revision: str = REVISION) -> tuple[int, Any, Any]:
        info = {"name": "mounted", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": info}
        answer = await self.ask("initialize", params)
        self.session_id = answer[1].get("Mcp-Session-Id")
        return answer

    async def call(self, tool: str, id: Any = 1, **arguments: Any) -> str:
        """What a tool says in plain JSON."""
        status, _, body = await self.ask("tools/call", {"name": tool, "arguments": arguments}, id)
        assert status == 200, body
        return body["result"]["content"][0]["text"]


def events(text: str) -> list[tuple[str | None, Any]]:
    """(id, message) of each event; a priming event's message is None."""
    found = []
    for block in filter(None, text.split("\r\n\r\n")):
        fields = dict(line.split(": ", 1) for line in block.split("\r\n"))
        if "data" in fields or "id" in fields:
            found.append((fields.get("id"), json.loads(fields["data"]) if fields.get("data") else None))
    return found


@asynccontextmanager
async def served(
    app: web.Application, *, host: str = "127.0.0.1", handler_cancellation: bool = False
) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """The running application: a client's session and the address it listens on."""
    runner = web.AppRunner(
        app, handler_cancellation=handler_cancellation, shutdown_timeout=1.0, access_log=None
    )
    async with aiohttp.ClientSession() as http:
        await runner.setup()
        try:
            await web.TCPSite(runner, host, 0).start()
            yield http, f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
