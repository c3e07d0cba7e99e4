"""The page and the REST API as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.reports.shared import database, dsn

from .house import Site, opened

__all__ = ["asks", "database", "dsn", "site"]


@pytest.fixture
def asks() -> bool:
    """Whether the page asks for a token; a test that logs in says True."""
    return False


@pytest.fixture
async def site(dsn: str, asks: bool) -> AsyncIterator[Site]:
    async with opened(dsn, asks=asks) as site:
        yield site
