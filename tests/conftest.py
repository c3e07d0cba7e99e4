"""Fixtures that every test may use: one real Postgres per session and a fresh database per test.

The cluster is started by the embedded launcher without its watcher and outside of any test's event loop, so
it outlives the loops of the tests. `dsn` gives each test a database of its own and drops it afterwards.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from archon_transport.embedded.cluster import Cluster
from archon_transport.store import PostgresStore
from archon_transport.store.migrations import migrate


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of its own, leaving the current loop of the tests alone."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The DSN of the session's Postgres, on its `postgres` database."""
    home = Path(tempfile.mkdtemp(prefix="archon-test-"))
    cluster = Cluster(home)
    try:
        run(cluster.start())
        run(_hurry(cluster.layout.dsn("postgres")))
        yield cluster.layout.dsn("postgres")
    finally:
        run(cluster.stop())
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a database that has the tables of sessions; to copy it takes half as long as to make them."""
    run(_execute(postgres, "CREATE DATABASE template_sessions"))
    run(_migrated(postgres.replace("/postgres?", "/template_sessions?")))
    return "template_sessions"


@pytest.fixture
def dsn(postgres: str, template: str) -> Iterator[str]:
    """The DSN of a database that only this test uses, with the tables of sessions and nothing in them."""
    yield from _fresh(postgres, f"TEMPLATE {template}")


@pytest.fixture
def empty_dsn(postgres: str) -> Iterator[str]:
    """The DSN of a database that only this test uses, without a table."""
    yield from _fresh(postgres, "")


def _fresh(postgres: str, how: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    run(_execute(postgres, f"CREATE DATABASE {name} {how} STRATEGY WAL_LOG"))
    yield postgres.replace("/postgres?", f"/{name}?")
    run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def store(dsn: str) -> AsyncIterator[PostgresStore]:
    """A store on a database of its own; rooms that need another kind have theirs."""
    store = PostgresStore(dsn)
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A Postgres that a test may stop or kill."""
    home = Path(tempfile.mkdtemp(prefix="archon-test-"))
    cluster = Cluster(home)
    await cluster.start()
    yield cluster
    await cluster.stop()
    shutil.rmtree(home)


async def _migrated(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
    finally:
        await connection.close()


async def _hurry(dsn: str) -> None:
    """No test of this cluster cuts the power: making and dropping databases need not wait for the disk."""
    for setting in ("fsync", "full_page_writes"):
        await _execute(dsn, f"ALTER SYSTEM SET {setting} = off")
    await _execute(dsn, "SELECT pg_reload_conf()")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
