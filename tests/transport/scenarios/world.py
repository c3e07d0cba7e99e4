"""Where a scenario takes place: nodes over one store, sessions, a client's exchanges, and what was kept of them.

Nodes are whole transports on sockets of their own. With Postgres each node has a store of its own, so that two
of them meet only in the database, where one memory store cannot be shared by two processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from mcp.server.auth.provider import AccessToken

from archon_transport.app import Transport, assemble
from archon_transport.store import MemoryStore, PostgresStore
from tests.faults.proxy import Proxy
from tests.transport.scenarios.stage import Stage
from tests.transport.scenarios.wire import Exchange, connector

CAPABILITIES = {"elicitation": {}, "sampling": {}, "roots": {}}
LATEST = "2025-11-25"


@dataclass
class Node:
    """One running transport."""

    transport: Transport
    store: Any
    runner: web.AppRunner
    port: int
    parts: AsyncExitStack


@dataclass
class World:
    """Everything that the steps of one scenario share."""

    revision: str
    dsn: str | None
    options: dict[str, Any]
    proxied: bool = False
    host_cancels: bool = False
    stream_after: float | None = None
    stage: Stage = field(default_factory=Stage)
    nodes: dict[str, Node] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    clients: dict[str, aiohttp.ClientSession] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    proxy: Proxy | None = None
    _memory: MemoryStore | None = None
    _next_id: int = 0

    @property
    def primes(self) -> bool:
        """Whether the revision has priming events."""
        return self.revision >= LATEST

    async def enter(self) -> None:
        """Raise the curtain: one node, named a, and one client with a session, named s."""
        if self.dsn is not None and self.proxied:
            self.proxy = Proxy(self.dsn)
            await self.proxy.__aenter__()
        await self.start("a")

    async def leave(self) -> None:
        """Close everything, whatever state the scenario left it in."""
        for gate in self.stage.gates.values():
            gate.set()
        for exchange in self.exchanges.values():
            await exchange.drop()
        if self.proxy is not None:
            self.proxy.heal()
        for name in list(self.nodes):
            await self.stop(name)
        for client in self.clients.values():
            await client.close()
        if self.proxy is not None:
            await self.proxy.__aexit__()
        for task in list(self.stage.alone):
            task.cancel()

    async def start(self, name: str, *, proxied: bool = True) -> None:
        """Another node over the same store."""
        parts = AsyncExitStack()
        store: Any
        if self.dsn is None:
            store = self._memory = self._memory or MemoryStore()
        else:
            store = PostgresStore(self.proxy.dsn if self.proxy and proxied else self.dsn, command_timeout=3.0)
            parts.push_async_callback(store.close)
        await store.start()
        transport = assemble(self.stage.server(), store, node=name, **self.options)
        if self.stream_after is not None:
            transport.endpoint._dispatch._patience._after = self.stream_after
        await parts.enter_async_context(transport.running())
        application = web.Application()
        transport.endpoint.attach(application, "/mcp")
        runner = web.AppRunner(
            application, handler_cancellation=self.host_cancels, shutdown_timeout=0.02, access_log=None
        )
        await runner.setup()
        parts.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.nodes[name] = Node(transport, store, runner, runner.addresses[0][1], parts)

    async def stop(self, name: str) -> None:
        """End a node; its sessions stay."""
        await self.nodes.pop(name).parts.aclose()

    def new_id(self) -> int:
        """The JSON-RPC id of the next request."""
        self._next_id += 1
        return self._next_id

    def send(
        self,
        name: str,
        verb: str,
        body: Any = None,
        *,
        session: str | None = "s",
        node: str = "a",
        client: str | None = None,
        narrow: bool = False,
        reads: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Exchange:
        """Begin an exchange; it goes on by itself, and `name` is how later steps speak of it."""
        client = client or ("narrow" if narrow else "wide")
        if client not in self.clients:
            limit = 1 if client == "one" else 100
            self.clients[client] = aiohttp.ClientSession(connector=connector(narrow, limit))
        named = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if session is not None:
            named |= {"Mcp-Session-Id": self.sessions.get(session, session)}
            if self.revision >= "2025-06-18":
                named["MCP-Protocol-Version"] = self.revision
        named |= headers or {}
        url = f"http://127.0.0.1:{self.nodes[node].port}/mcp"
        exchange = Exchange(self.clients[client], verb, url, body, named)
        if not reads:
            exchange.reads.clear()
        self.exchanges[name] = exchange
        return exchange

    async def connect(
        self, name: str = "s", *, capabilities: Any = None, token: str | None = None, node: str = "a"
    ) -> None:
        """A session of that name, initialized."""
        declared = CAPABILITIES if capabilities is None else capabilities
        params = {
            "protocolVersion": self.revision,
            "capabilities": declared,
            "clientInfo": {"name": "scenario", "version": "1"},
        }
        headers = {"Authorization": f"Bearer {token}"} if token else None
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        opening = self.send("initialize", "POST", body, session=None, node=node, headers=headers)
        response = await opening.answer()
        assert response.status == 200, await opening.body()
        assert (await opening.body())["result"]["protocolVersion"] == self.revision
        self.sessions[name] = response.headers["Mcp-Session-Id"]
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        told = await self.send("initialized", "POST", note, session=name, node=node, headers=headers).answer()
        assert told.status == 202

    def session_id(self, name: str = "s") -> str:
        """The public id of a session, as the store knows it."""
        return self.sessions[name][:36]

    async def sql(self, statement: str, *args: Any) -> Any:
        """Rows of a statement; past any proxy."""
        assert self.dsn is not None
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close()


class Verifier:
    """Every token is a person of that name."""

    async def verify_token(self, token: str) -> AccessToken:
        return AccessToken(token=token, client_id=token, scopes=[], subject=token)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that has no event, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
