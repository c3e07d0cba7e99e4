"""Any node, any time: no session, call, question or event is lost to which node was met, or to the end of one."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.faults.fleet import Fleet, each, fleet, newcomer, ping, recovery, size
from tests.faults.proxy import Proxy
from tests.history.client import Client
from tests.history.process import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]


async def test_calls_go_to_any_node(dsn: str) -> None:
    """100,000 calls of 1,000 sessions over three nodes in turn: every one is answered 200."""
    async with fleet(dsn, dsn, dsn) as nodes:
        clients = await nodes.connect(size(1_000))
        statuses: Counter[int | None] = Counter()

        async def call(number: int) -> None:
            params = {"name": "count", "arguments": {"n": 0}}
            message = {"id": number, "method": "tools/call", "params": params}
            client = clients[number % len(clients)]
            answer = await client.post(message, nodes.ports()[number % 3])
            statuses[answer.status] += 1
            assert json.loads(answer.body)["result"]["content"]

        await each(range(size(100_000)), call)
    assert statuses == {200: size(100_000)}


async def test_kills_lose_no_session(dsn: str) -> None:
    """10,000 sessions, 100 kill -9 of random nodes with traffic meanwhile: all are served afterwards."""
    async with fleet(dsn, dsn, dsn) as nodes:
        clients = await nodes.connect(size(10_000))
        seen: Counter[int | None] = Counter()
        stop = asyncio.Event()

        async def traffic(worker: int) -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                client = nodes.random.choice(clients)
                seen[await ping(client, nodes.random.choice(nodes.ports()), f"{worker}-{number}")] += 1

        async with asyncio.TaskGroup() as group:
            for worker in range(4):
                group.create_task(traffic(worker))
            try:
                for _ in range(size(100)):
                    await nodes.random.choice(nodes.nodes).restart()
            finally:
                stop.set()

        async def is_served(client: Client) -> None:
            assert await ping(client, nodes.random.choice(nodes.ports()), "last") == 200, client.public_id

        await each(clients, is_served)
    print(f"during the kills: {dict(seen)}")
    assert set(seen) <= {200, None}
    assert seen[200]


async def test_answers_find_their_questions(dsn: str) -> None:
    """10,000 questions, each answered at another node than the one that asked, half of them at two: once each."""
    k = 10
    async with fleet(dsn, dsn, dsn) as nodes:
        clients = await nodes.connect(20)
        words = itertools.count()

        async def converse(number: int) -> None:
            client = clients[number % len(clients)]
            port = nodes.random.choice(nodes.ports())
            call = client.call("ask", port, k=k)
            given = []
            for i in range(k):
                await until(lambda i=i: len(call.questions) > i, limit=30)
                word = str(next(words))
                doubled = nodes.random.random() < 0.5
                at = [nodes.other_port(port) for _ in range(1 + doubled)]
                sent = await asyncio.gather(*(client.answer(call.questions[i], word, to) for to in at))
                assert {answer.status for answer in sent} == {202}
                given.append(word)
            await call.response(30)
            assert call.said == given

        await each(range(size(10_000) // k), converse, at_once=10)


async def test_cut_connections_to_the_database(dsn: str) -> None:
    """200 random cuts: no hang, no bare 500, what cannot be served says so, and after 2 s everything is."""
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(dsn)) for _ in range(2)]
        nodes = await stack.enter_async_context(fleet(*(proxy.dsn for proxy in proxies)))
        clients = await nodes.connect(20)
        stop = asyncio.Event()
        seen: Counter[int | None] = Counter()
        slowest = 0.0

        async def traffic(worker: int) -> None:
            nonlocal slowest
            for number in itertools.count():
                if stop.is_set():
                    return
                began = time.monotonic()
                await served_or_refused(nodes, nodes.random.choice(clients), f"{worker}-{number}", seen)
                slowest = max(slowest, time.monotonic() - began)

        recoveries = []
        async with asyncio.TaskGroup() as group:
            for worker in range(6):
                group.create_task(traffic(worker))
            try:
                for _ in range(size(200)):
                    await asyncio.sleep(nodes.random.uniform(0.0, 0.3))
                    i = nodes.random.randrange(2)
                    proxies[i].cut()
                    recoveries.append(await recovery(nodes, nodes.ports()[i]))
            finally:
                stop.set()
    print(f"{dict(seen)}, slowest {slowest:.1f} s, slowest recovery {max(recoveries):.2f} s")
    assert set(seen) <= {200, 503}
    assert slowest < 12
    assert max(recoveries) < 2


async def served_or_refused(nodes: Fleet, client: Client, request_id: str, seen: Counter[int | None]) -> None:
    """One request that is cached, or one that needs the database; a 503 says when to come back."""
    port = nodes.random.choice(nodes.ports())
    if nodes.random.random() < 0.5:
        answer = await client.post({"id": request_id, "method": "ping"}, port)
    else:
        answer = await newcomer(nodes, port)
    seen[answer.status] += 1
