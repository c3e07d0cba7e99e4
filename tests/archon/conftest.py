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

from archon_transport.archon import build

SQL = Path(__file__).parents[2] / "archon_transport" / "store" / "sql"

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


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=6, command_timeout=20) as pool:
        async with pool.acquire() as connection:
            await migrate(connection, "transport", "archon", "knowledge")
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
        async with Client(server, mode=mode) as client:
            schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
            result = await client.call_tool(tool, arguments)
        (block,) = result.content
        answer = result.structured_content
        assert json.loads(block.text) == answer, "the text and the structured content are one answer"
        assert result.is_error is (answer["success"] is False)
        jsonschema.validate(answer, schemas.get(tool, {}))
        return answer

    return call
