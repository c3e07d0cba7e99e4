"""The database away, frozen, slow or restarted under several nodes: what goes on, what is told to come back, and when
all of it is over.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from archon_transport.embedded.cluster import Cluster
from tests.faults.fleet import Fleet, Load, Outcome, fleet, recovery, size
from tests.faults.proxy import Proxy
from tests.history.process import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

TIMEOUT = float(size(10))
"""Seconds that a statement of these nodes may take."""

OPTIONS = ("--command-timeout", str(TIMEOUT))


async def recovered(nodes: Fleet) -> float:
    """Seconds until the last of the nodes makes sessions again."""
    return max(await asyncio.gather(*(recovery(nodes, port) for port in nodes.ports())))


def told(what: str, load: Load, *recoveries: float) -> None:
    """Print what came of it."""
    cached, fresh = load.statuses()
    slow = " and ".join(f"{seconds:.2f} s" for seconds in load.slowest())
    after = ", ".join(f"{seconds:.2f} s" for seconds in recoveries)
    print(f"{what}: known {dict(cached)}, new {dict(fresh)}, slowest {slow}, recovery {after}")


async def test_postgres_is_restarted_under_three_nodes(cluster: Cluster) -> None:
    """Stopped in good order or killed: known sessions go on, and 2 s after it is back so does everything."""
    dsn = cluster.layout.dsn("postgres")
    async with fleet(dsn, dsn, dsn, options=OPTIONS) as nodes:
        recoveries = []
        async with Load(nodes, await nodes.connect(20)).running() as load:
            for clean in (True, False):
                if clean:
                    await cluster.stop()
                else:
                    assert cluster._child is not None
                    cluster._child.kill()
                    await until(lambda: not cluster.alive)
                await asyncio.sleep(0.5)
                await cluster.start()
                recoveries.append(await recovered(nodes))
    told("restarted", load, *recoveries)
    cached, fresh = load.statuses()
    assert set(cached) == {200}
    assert set(fresh) == {200, 503}
    assert max(recoveries) < 2


@pytest.mark.parametrize("fault", ["refuse", "freeze"])
async def test_the_database_is_away(dsn: str, fault: str) -> None:
    """For 30 s: known sessions go on, whatever needs it gets its 503 in time, calls go on; then all is well again."""
    async with Proxy(dsn) as proxy, fleet(*[proxy.dsn] * 3, options=OPTIONS) as nodes:
        clients = await nodes.connect(20)
        async with Load(nodes, clients).running() as load:
            call = clients[0].call("count", n=10, pause_ms=size(300))
            await until(lambda: len(list(call.events)) > 1)
            getattr(proxy, fault)()
            began = time.monotonic()
            await call.response(limit=60)
            await asyncio.sleep(began + size(30) - time.monotonic())
            proxy.heal()
            ended = time.monotonic()
            seconds = await recovered(nodes)
            again = clients[1].call("ask", nodes.ports()[1], k=1)
            await until(lambda: again.questions)
            answer = await clients[1].answer(again.questions[0], "yes", nodes.ports()[2])
            assert answer.status == 202
            await again.response()
    told(fault, load, seconds)
    assert len(call.said) == 10
    assert again.said == ["yes"]
    cached, fresh = load.statuses()
    assert set(cached) == {200}
    assert set(fresh) == {200, 503}
    assert seconds < 2
    assert max(outcome.seconds for outcome in during(load.fresh, began, ended)) < TIMEOUT + 1
    assert not [outcome for outcome in load.fresh if outcome.began > ended + 2 and outcome.status != 200]


def during(outcomes: list[Outcome], began: float, ended: float) -> list[Outcome]:
    """Those that began meanwhile."""
    return [outcome for outcome in outcomes if began <= outcome.began < ended]


async def test_the_database_is_slow(dsn: str) -> None:
    """Where every statement takes 200 ms more, known sessions do not notice, and the rest waits and is served."""
    async with Proxy(dsn) as proxy, fleet(*[proxy.dsn] * 3) as nodes:
        clients = await nodes.connect(20)
        async with Load(nodes, clients).running() as load:
            await until(lambda: load.cached and load.fresh)
            proxy.slow(0.2)
            began = time.monotonic()
            call = clients[0].call("ask", nodes.ports()[0], k=3)
            for i in range(3):
                await until(lambda i=i: len(call.questions) > i)
                await clients[0].answer(call.questions[i], f"{i}", nodes.ports()[1])
            await call.response()
            assert call.said == ["0", "1", "2"]
            await asyncio.sleep(max(0.0, began + size(60) - time.monotonic()))
    told("slow", load)
    cached, fresh = load.statuses()
    assert set(cached) == set(fresh) == {200}
    known = sorted(outcome.seconds for outcome in load.cached if outcome.began > began)
    assert known[len(known) // 2] < 0.1
    assert load.slowest()[1] < 5
