"""Fixtures for tests of streams: two nodes, in memory and on Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .nodes import Nodes


@pytest.fixture(params=["memory", "postgres"])
def kept_in(request: pytest.FixtureRequest) -> str | None:
    """The DSN of what the nodes share, None for memory."""
    return None if request.param == "memory" else request.getfixturevalue("dsn")


@pytest.fixture
async def nodes(kept_in: str | None) -> AsyncIterator[Nodes]:
    nodes = Nodes(kept_in)
    await nodes.start()
    yield nodes
    await nodes.close()
