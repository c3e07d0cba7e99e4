"""One database for a module of tests, emptied before each: making one takes longer than most of these tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import asyncpg
import pytest

from archon_transport.store import SETS, migrate
from tests.conftest import run

_EMPTY = """
DO $$ BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'archon_transport_migrations');
END $$"""


async def _do(dsn: str, *statements: str, migrated: bool = False) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        if migrated:
            await migrate(connection, SETS)
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[str]:
    """The DSN of the module's database, with all of our tables."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    run(_do(postgres, f"CREATE DATABASE {name}"))
    dsn = postgres.replace("/postgres?", f"/{name}?")
    run(_do(dsn, migrated=True))
    yield dsn
    run(_do(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def dsn(database: str) -> str:
    """The module's database, empty."""
    run(_do(database, _EMPTY))
    return database


__all__ = ["database", "dsn"]
