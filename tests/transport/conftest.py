"""A house over a memory store, in each of the two ways in which an aiohttp application may be run."""

from __future__ import annotations

import pytest

from archon_transport.store.memory import MemoryStore
from tests.transport.house import running


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
async def house(store):
    async with running(store) as house:
        yield house


@pytest.fixture(params=[False, True], ids=["detached", "handler_cancellation"])
async def either_house(request, store):
    """Nothing may depend on whether the host application cancels handlers of clients that went away."""
    async with running(store, handler_cancellation=request.param) as house:
        yield house


@pytest.fixture
async def session(house):
    return await house.connect()
