"""Whose request is served: one value per task."""

import asyncio

from archon_transport.sessions import current, serving


async def test_each_call_has_its_own():
    """What one task says is not heard in another, and nothing is said outside of one."""

    async def call(owner):
        serving(None, owner)
        await asyncio.sleep(0)
        return current().owner

    owners = [(None, str(number), None) for number in range(10)]
    calls = [asyncio.create_task(call(owner)) for owner in owners]
    assert await asyncio.gather(*calls) == owners
    assert current() is None
