"""A database with our tables, and rows made by SQL: what the writer would have put there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from archon_transport.reports import Reports
from archon_transport.store import PostgresStore

from .rows import Rows
from .shared import database, dsn

__all__ = ["database", "dsn", "reports", "rows", "store"]


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(dsn, sets=("transport", "knowledge", "archon"))
    await store.start()
    yield store
    await store.close()


@pytest.fixture
def reports(store: PostgresStore) -> Reports:
    return Reports(store.pool)


@pytest.fixture
def rows(store: PostgresStore) -> Rows:
    return Rows(store.pool)
