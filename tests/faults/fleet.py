"""Several nodes on one database, and clients that meet any of them.

Sizes are a tenth of what was once run by hand; `ARCHON_FAULTS=full` runs the whole. What is drawn at random is
drawn from one seed, which is printed; `ARCHON_FAULTS_SEED` takes it again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from tests.history.client import Client, Connection
from tests.history.process import ServerProcess

_T = TypeVar("_T")

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "new", "version": "1"},
}

AT_ONCE = 24
"""Requests in flight: more would only make the machine slow."""


def size(full: int) -> int:
    """How many of something."""
    return full if os.environ.get("ARCHON_FAULTS") == "full" else full // 10


def seeded() -> random.Random:
    """What chance is drawn from."""
    seed = int(os.environ.get("ARCHON_FAULTS_SEED") or secrets.randbelow(2**32))
    print(f"ARCHON_FAULTS_SEED={seed}")
    return random.Random(seed)


async def each(items: Iterable[_T], work: Callable[[_T], Awaitable[Any]], at_once: int = AT_ONCE) -> None:
    """Do `work` for every item, `at_once` of them at a time; the first failure ends it."""
    waiting = iter(items)

    async def some() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())


@dataclass
class Fleet:
    """Running nodes and one pool of connections to them."""

    nodes: list[ServerProcess]
    http: aiohttp.ClientSession
    random: random.Random

    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def other_port(self, port: int) -> int:
        """The port of a random other node."""
        return self.random.choice([other for other in self.ports() if other != port])

    async def connect(self, count: int) -> list[Client]:
        """So many clients with a session each, opened at the nodes in turn."""
        ports = self.ports()
        clients = [Client(self.http, ports[i % len(ports)]) for i in range(count)]
        await each(clients, lambda client: client.connect())
        return clients


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request under load: when it began, how long it took, and its status (None: nobody was there)."""

    began: float
    seconds: float
    status: int | None


@dataclass
class Load:
    """Traffic to any node: of sessions that every node knows, and of clients that come for the first time.

    The first need no database, the second cannot do without. A 503 has to be whole: when to come back, and an
    error of JSON-RPC with the request's id.
    """

    nodes: Fleet
    clients: list[Client]
    cached: list[Outcome] = field(default_factory=list)
    fresh: list[Outcome] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, workers: int = 6) -> AsyncIterator[Load]:
        """Under this load until left."""
        for port in self.nodes.ports():
            await each(self.clients, lambda client, port=port: ping(client, port, "hello"))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for worker in range(workers):
                group.create_task(self._work(worker, stop))
            try:
                yield self
            finally:
                stop.set()  # a request that is cancelled ends as one that was dropped: the loop would go on

    async def _work(self, worker: int, stop: asyncio.Event) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            port, began = self.nodes.random.choice(self.nodes.ports()), time.monotonic()
            if worker % 2:
                answer = await newcomer(self.nodes, port)
            else:
                client = self.nodes.random.choice(self.clients)
                answer = await client.post({"id": f"{worker}-{number}", "method": "ping"}, port)
            outcome = Outcome(began, time.monotonic() - began, answer.status)
            (self.fresh if worker % 2 else self.cached).append(outcome)
            await asyncio.sleep(0.01)

    def statuses(self) -> tuple[Counter[int | None], Counter[int | None]]:
        """How often each status came: (sessions that are known, newcomers)."""
        return Counter(o.status for o in self.cached), Counter(o.status for o in self.fresh)

    def slowest(self) -> tuple[float, float]:
        """The longest wait of each kind, in seconds."""
        return max(o.seconds for o in self.cached), max(o.seconds for o in self.fresh)


async def newcomer(nodes: Fleet, port: int) -> Connection:
    """What `initialize` comes to at a node: a session or a 503 that is whole; None where nobody was there."""
    answer = await Client(nodes.http, port).post({"id": 0, "method": "initialize", "params": HELLO})
    assert answer.status in (200, 503, None), answer.body
    if answer.status == 503:
        assert int(answer.headers["Retry-After"]) >= 1
        body = json.loads(answer.body)
        assert body["error"]["message"]
    return answer


async def recovery(nodes: Fleet, port: int) -> float:
    """Seconds until a node makes sessions again."""
    began = time.monotonic()
    while (await newcomer(nodes, port)).status != 200:
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@asynccontextmanager
async def fleet(
    *dsns: str, options: tuple[str, ...] = (), environs: Sequence[Mapping[str, str]] = ()
) -> AsyncIterator[Fleet]:
    """A node for each address of the one database."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        pairs = itertools.zip_longest(dsns, environs)
        nodes = [ServerProcess(dsn, *options, environ=environ) for dsn, environ in pairs]
        await asyncio.gather(*(stack.enter_async_context(node) for node in nodes))
        yield Fleet(nodes, http, seeded())


async def ping(client: Client, port: int, request_id: Any = "ping") -> int | None:
    """The status of one small request of a session at one node; None where nobody was there."""
    connection = await client.post({"id": request_id, "method": "ping"}, port)
    return connection.status
