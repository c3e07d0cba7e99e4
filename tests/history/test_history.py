"""Histories of thousands of random steps with kill -9 among them: each viewer got exactly what the log has.

A failure prints its seed; `ARCHON_HISTORY_SEED` takes it again. Time and the machine are not drawn from the
seed, so a race may need a few runs to show itself once more.
"""

from __future__ import annotations

import os
import secrets
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.faults.fleet import size
from tests.history.checker import Check, Log
from tests.history.process import ServerProcess
from tests.history.walk import Walk

pytestmark = pytest.mark.long


async def history(dsn: str, steps: int, *, nodes: int, kills: float) -> Walk:
    """Walk and judge."""
    seed = int(os.environ.get("ARCHON_HISTORY_SEED") or secrets.randbelow(2**32))
    print(f"ARCHON_HISTORY_SEED={seed}")
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        servers = [ServerProcess(dsn) for _ in range(nodes)]
        for server in servers:
            await stack.enter_async_context(server)
        walk = Walk(seed, servers, http, kills)
        stack.push_async_callback(walk.close)
        await walk.run(steps)
        check = Check(walk, await Log.read(dsn)).run()
        print(f"{dict(walk.taken)}, {len(walk.killed_at)} kills, {len(check.log.streams)} streams")
        printed = [(await server.explain())[-20000:] for server in servers] if check.faults else []
    shown = "\n  ".join(check.faults[:5])
    assert not check.faults, f"seed {seed}: {len(check.faults)} faults\n  {shown}\n{''.join(printed)}"
    return walk


async def test_a_short_history(dsn: str) -> None:
    """In 300 random steps with kills every viewer gets the exact suffix of the log, every call one response."""
    walk = await history(dsn, 300, nodes=1, kills=0.006)
    assert len(walk.calls) > 50


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_long_history(dsn: str) -> None:
    """So it is in 10,000 random steps."""
    walk = await history(dsn, 10_000, nodes=1, kills=0.004)
    assert walk.killed_at
    assert sum(bool(call.ids) for call in walk.calls) > 1000


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_history_of_two_nodes(dsn: str) -> None:
    """So it is where each request goes to either of two servers, and either is killed."""
    walk = await history(dsn, 3_000, nodes=2, kills=0.004)
    assert walk.killed_at


@pytest.mark.timeout(1200)
async def test_a_history_of_three_nodes(dsn: str) -> None:
    """So it is where each request goes to any of three; a tenth of 10,000 steps unless `ARCHON_FAULTS` is full."""
    walk = await history(dsn, size(10_000), nodes=3, kills=0.004)
    assert walk.killed_at
