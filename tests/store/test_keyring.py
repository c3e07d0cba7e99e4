"""The key ring, in both stores: when a key is made, when it seals and when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from archon_transport.store import MemoryStore, PostgresStore
from archon_transport.store.keyring import SPREAD

ROTATION, LIFE = 86_400.0, 3_600.0


class Rings:
    """Two nodes on what they share; `age` lets time pass for the keys that there are."""

    def __init__(self, dsn: str | None) -> None:
        if dsn is None:
            self.one: Any = MemoryStore()
            self.two: Any = self.one
        else:
            self.one, self.two = PostgresStore(dsn), PostgresStore(dsn)

    async def keys(self) -> list[bytes]:
        ring: list[bytes] = await self.one.keys(rotation=ROTATION, life=LIFE)
        assert await self.two.keys(rotation=ROTATION, life=LIFE) == ring
        return ring

    async def age(self, seconds: float) -> None:
        if isinstance(self.one, MemoryStore):
            self.one._ring = [(key, made - timedelta(seconds=seconds)) for key, made in self.one._ring]
            return
        query = "UPDATE archon_mcp_keys SET made_at = made_at - make_interval(secs => $1)"
        await self.one.pool.execute(query, seconds)


@pytest.fixture
async def rings(kept_in: str | None) -> AsyncIterator[Rings]:
    rings = Rings(kept_in)
    for store in (rings.one, rings.two):
        await store.start()
    yield rings
    for store in (rings.one, rings.two):
        await store.close()


async def test_nodes_that_start_at_once_share_one_key(rings: Rings):
    """The first key is made once however many ask for it, has 32 bytes and seals at once."""
    asked = (store.keys(rotation=ROTATION, life=LIFE) for store in (rings.one, rings.two) * 5)
    found = await asyncio.gather(*asked)
    assert {len(ring) for ring in found} == {1}
    assert len({ring[0] for ring in found}) == 1
    assert len(found[0][0]) == 32


async def test_a_key_stays_until_its_time(rings: Rings):
    """Before the rotation time nothing is made, whoever asks and however often."""
    first = await rings.keys()
    await rings.age(ROTATION - 60)
    assert await rings.keys() == first


async def test_a_new_key_opens_at_once_and_seals_when_every_node_knows_it(rings: Rings):
    """After the rotation time there are two keys; the older one goes on sealing for a minute."""
    (old,) = await rings.keys()
    await rings.age(ROTATION + 1)
    sealing, new = await rings.keys()
    assert sealing == old != new
    await rings.age(SPREAD - 10)
    assert await rings.keys() == [old, new]
    await rings.age(11)
    assert await rings.keys() == [new, old]


async def test_a_key_goes_when_nothing_of_it_is_valid(rings: Rings):
    """The old key opens for a state's whole life after its successor seals, on nodes that lag too."""
    (old,) = await rings.keys()
    await rings.age(ROTATION + 1)
    _, new = await rings.keys()
    await rings.age(SPREAD + LIFE + 1)
    assert await rings.keys() == [new, old]
    await rings.age(SPREAD)
    assert await rings.keys() == [new]


async def test_a_long_pause_loses_no_key_early(rings: Rings):
    """After days without a server the key that there was seals until its successor may."""
    (old,) = await rings.keys()
    await rings.age(30 * ROTATION)
    sealing, _ = await rings.keys()
    assert sealing == old


async def test_keys_outlive_the_process(dsn: str):
    """A store that is opened later reads the ring of the one before."""
    rings = []
    for _ in range(2):
        store = PostgresStore(dsn)
        await store.start()
        rings.append(await store.keys(rotation=ROTATION, life=LIFE))
        await store.close()
    assert rings[0] == rings[1]


async def test_no_short_key_is_kept(dsn: str):
    """The table refuses what is no key of 32 bytes."""
    store = PostgresStore(dsn)
    await store.start()
    with pytest.raises(asyncpg.CheckViolationError):
        await store.pool.execute("INSERT INTO archon_mcp_keys VALUES (1, 'short')")
    await store.close()
