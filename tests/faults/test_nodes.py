"""Nodes that freeze, whose clocks are wrong, that start, stop and are upgraded at once: clients notice nothing."""

from __future__ import annotations

import asyncio
import subprocess
import time
from contextlib import AsyncExitStack

import asyncpg
import pytest

from tests.faults.fleet import Fleet, Load, fleet, newcomer, ping, size
from tests.history.client import LOST, Call
from tests.history.process import ServerProcess, until
from tests.needs import needs

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


async def alive(dsn: str) -> int:
    """How many processes are taken for alive."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT count(*) FROM archon_mcp_incarnations WHERE dead_at IS NULL")
    finally:
        await connection.close()


def is_lost(call: Call) -> bool:
    """Whether it was answered in the name of a process that was taken for dead."""
    return LOST in call.responses[0].get("error", {}).get("message", "")


async def follow(call: Call, port: int) -> None:
    """Do what a good client does: come back for a stream, at another node, until its response is there."""
    while not call.responses:
        if not any(connection.is_open for connection in call.connections):
            await call.resume(port=port)
        await asyncio.sleep(0.05)


async def test_a_node_freezes_and_thaws_under_load(dsn: str) -> None:
    """Its connections hang and then go on; the others serve its sessions; each call has one answer, whoever gave it."""
    async with fleet(dsn, dsn, dsn) as nodes:
        clients = await nodes.connect(20)
        frozen, *others = nodes.nodes
        calls = [client.call("count", frozen.port, n=10, pause_ms=100) for client in clients]
        await until(lambda: all(call.ids for call in calls))
        await frozen.freeze()
        for call in calls[:10]:  # half of them come back at another node, half wait where they are
            await call.post.drop()
            await call.resume(port=others[0].port)
        rest = Fleet(others, nodes.http, nodes.random)
        async with Load(rest, clients).running() as load:
            await asyncio.sleep(size(150))  # silent for 10 s, it is taken for dead
            await frozen.thaw()
            thawed = time.monotonic()
            async with asyncio.timeout(20):
                await asyncio.gather(*(follow(call, others[1].port) for call in calls))
            settled = time.monotonic() - thawed
            statuses = await asyncio.gather(*(ping(client, frozen.port) for client in clients))
        assert await alive(dsn) == 3
    lost = sum(is_lost(call) for call in calls)
    print(f"{lost} of {len(calls)} calls were answered in its place, all {settled:.2f} s after the thaw")
    assert set(statuses) == {200}
    assert {status for counted in load.statuses() for status in counted} == {200}
    for call in calls:
        first, *more = call.responses
        assert all(response == first for response in more)
        assert is_lost(call) or len(call.said) == 10
    assert lost == len(calls)


def shifted(by: str) -> dict[str, str]:
    """The environment of a process whose clock is off; time that passes is as long as ever."""
    program = needs("faketime", "apt-get install faketime")
    shown = subprocess.run([program, "-f", by, "env"], check=True, capture_output=True, text=True).stdout
    (preload,) = [line for line in shown.splitlines() if line.startswith("LD_PRELOAD=")]
    return {"LD_PRELOAD": preload.partition("=")[2], "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


async def test_clocks_an_hour_off(dsn: str) -> None:
    """One node's clock is an hour late, another's an hour early: nothing ends, nobody is taken for dead, all meet."""
    async with fleet(dsn, dsn, dsn, environs=[{}, shifted("-1h"), shifted("+1h")]) as nodes:
        clients = await nodes.connect(12)
        async with Load(nodes, clients).running() as load:
            for port in nodes.ports():
                client = nodes.random.choice(clients)
                call, listener = client.call("ask", port, k=2), client.listen(port=nodes.other_port(port))
                for i in range(2):
                    await until(lambda call=call, i=i: len(call.questions) > i)
                    assert (
                        await client.answer(call.questions[i], str(i), nodes.other_port(port))
                    ).status == 202
                await call.response()
                assert call.said == ["0", "1"]
                again = await (await call.resume(call.ids[0], nodes.other_port(port))).finished()
                assert [event.raw for event in again.events] == [event.raw for event in call.post.events]
                await client.call("publish", port, words="heard").response()
                await until(lambda listener=listener: "heard" in str([e.raw for e in listener.events]))
                silent = client.call("slow", port, seconds=60)
                await until(lambda silent=silent: silent.ids)
                cancelled = {"requestId": silent.request_id}
                note = {"method": "notifications/cancelled", "params": cancelled}
                assert (await client.post(note, nodes.other_port(port))).status == 202
                assert (await silent.response())["error"]["code"] == -32800
            await asyncio.sleep(size(150))
        assert await alive(dsn) == 3
        ends = await asyncpg.connect(dsn)
        counted = await ends.fetchrow(
            "SELECT count(ended_at) AS ended, max(connected_at) - clock_timestamp() AS ahead, "
            "clock_timestamp() - min(connected_at) AS behind FROM archon_mcp_sessions"
        )
        await ends.close()
    print(f"{load.statuses()}, {counted}")
    assert {status for kind in load.statuses() for status in kind} == {200}
    assert counted["ended"] == 0
    assert (
        counted["behind"].total_seconds() > 3000 and counted["ahead"].total_seconds() > 3000
    )  # they were off


async def test_nodes_start_and_stop_at_once(dsn: str) -> None:
    """Three first starts on one empty database, then over and over two of three stop and start at the same time."""
    async with fleet(dsn, dsn, dsn) as nodes:
        clients = await nodes.connect(20)
        stays, *others = nodes.nodes
        async with Load(Fleet([stays], nodes.http, nodes.random), clients).running() as load:
            for number in range(size(100) // 5):
                if number % 2:
                    for node in others:
                        node.terminate()
                    assert [await node.ended() for node in others] == [0, 0]
                    await asyncio.gather(*(node.start() for node in others))
                else:
                    await asyncio.gather(*(node.restart() for node in others))
                statuses = [await ping(client, node.port) for node in others for client in clients]
                assert set(statuses) == {200}
        async with asyncio.timeout(15):
            while await alive(dsn) != 3:
                await asyncio.sleep(0.1)
    assert {status for kind in load.statuses() for status in kind} == {200}


async def test_an_upgrade_beside_running_nodes(dsn: str) -> None:
    """Two newer versions start at once beside two old ones, and bring the tables up to date under load: both serve.

    An older version that is started after that is refused in words; that is what a rolling upgrade never does.
    """
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(fleet(dsn, dsn))
        clients = await nodes.connect(20)
        newer = [ServerProcess(dsn, "--next-version") for _ in range(2)]
        async with Load(nodes, clients).running() as load:
            await asyncio.gather(*(stack.enter_async_context(node) for node in newer))
            everyone = Fleet([*nodes.nodes, *newer], nodes.http, nodes.random)
            for port in everyone.ports():
                assert {await ping(client, port) for client in clients} == {200}
                assert (await newcomer(everyone, port)).status == 200
            client = clients[0]
            call = client.call("ask", nodes.ports()[0], k=1)
            await until(lambda: call.questions)
            assert (await client.answer(call.questions[0], "new", newer[0].port)).status == 202
            await call.response()
            assert call.said == ["new"]
        assert {status for kind in load.statuses() for status in kind} == {200}
        for old in nodes.nodes:
            old.terminate()
            assert await old.ended() == 0
        with pytest.raises(AssertionError, match="The database is newer than this program"):
            await nodes.nodes[0].start()
        for old in nodes.nodes:
            await old.start("--next-version")
            assert {await ping(client, old.port) for client in clients} == {200}
