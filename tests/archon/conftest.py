"""Archon's server on a real Postgres, asked through the SDK's own client in both of its modes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import asyncpg
import jsonschema
import pytest
from mcp.client import Client
from mcp.server import Server

from archon_transport.archon import build, schemas
from archon_transport.archon.server import TOOLS
from tests.conftest import run

SQL = Path(__file__).parents[2] / "archon_transport" / "store" / "sql"

EMPTY = """
    DO $$
    DECLARE
        name text;
        filled boolean;
    BEGIN
        FOR name IN SELECT oid::regclass FROM pg_class
                     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO filled;
            IF filled THEN
                EXECUTE format('TRUNCATE %s RESTART IDENTITY CASCADE', name);
            END IF;
        END LOOP;
    END
    $$
"""

SETS = ("transport", "archon", "knowledge")

VALIDATORS = {
    tool.name: jsonschema.Draft202012Validator(schemas.output_schema(tool.answers)) for tool in TOOLS
}

Answer = dict[str, Any]
Call = Callable[..., Awaitable[Answer]]


async def migrate(connection: asyncpg.Connection, *sets: str) -> None:
    for name in sets:
        for path in sorted((SQL / name).glob("*.sql")):
            async with connection.transaction():
                await connection.execute(path.read_text())


@pytest.fixture
def migrations() -> Callable[..., Awaitable[None]]:
    return migrate


async def prepare(dsn: str, *before: tuple[str, str]) -> str:
    """Migrate a database; `before` are statements that other databases are given first."""
    for other, statement in (*before, (dsn, "")):
        connection = await asyncpg.connect(other)
        try:
            await (connection.execute(statement) if statement else migrate(connection, *SETS))
        finally:
            await connection.close()
    return dsn


@pytest.fixture(scope="session")
def shared(postgres: str) -> str:
    """The DSN of a migrated database that the tests use one after the other, each finding it empty."""
    dsn = postgres.replace("/postgres?", "/archon_shared?")
    return run(prepare(dsn, (postgres, "CREATE DATABASE archon_shared")))


@pytest.fixture
def own_database(empty_dsn: str) -> str:
    """The DSN of a migrated database for a test that changes the schema."""
    return run(prepare(empty_dsn))


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("own_database" if "own_database" in request.fixturenames else "shared")


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database, min_size=0, max_size=6, command_timeout=20) as pool:
        await pool.execute(EMPTY)
        yield pool


@pytest.fixture
def server(pool: asyncpg.Pool) -> Server[Any]:
    return build(pool, started_at=time.monotonic(), session_timeout=2592000.0)


@pytest.fixture(params=["auto"])
def mode(request: pytest.FixtureRequest) -> Literal["legacy", "auto"]:
    """The client's mode; a test that matters to both eras of the protocol asks for `both_modes`."""
    return request.param


@pytest.fixture
def call(server: Server[Any], mode: Literal["legacy", "auto"]) -> Call:
    """Call a tool and give its answer, having checked what holds for every answer.

    Each call has a client of its own, as the client's scopes must be left by the task that entered them.
    """

    async def call(tool: str, **arguments: Any) -> Answer:
        async with Client(server, mode=mode, cache=None) as client:
            result = await client.call_tool(tool, arguments)
        (block,) = result.content
        answer = result.structured_content
        assert json.loads(block.text) == answer, "the text and the structured content are one answer"
        assert result.is_error is (answer["success"] is False)
        if tool in VALIDATORS:
            VALIDATORS[tool].validate(answer)
        return answer

    return call
