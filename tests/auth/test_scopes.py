"""What a token may do with Archon's tools, asked through the SDK's client in both eras."""

import asyncio
import time
from types import SimpleNamespace

import asyncpg
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from archon_transport.archon import build
from archon_transport.auth import StaticTokens
from archon_transport.store.memory import MemoryStore
from tests.auth.test_tokens import Table
from tests.transport.house import running

AWAY = "connection_error"
"""How far a call gets here that is let through: there is no database behind these tools."""


@pytest.fixture
async def works():
    nowhere = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1)
    server = build(nowhere, started_at=time.monotonic(), session_timeout=None)
    return SimpleNamespace(server=server, release=asyncio.Event())


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize(("scope", "may"), [("read", False), ("write", True), ("admin", True)])
async def test_changes_need_the_scope_write(works, mode, scope, may):
    """A token that may only read calls what changes nothing; the rest says what to ask for, in Archon's
    envelope.
    """
    table = Table()
    token = table.add("laptop", scopes=(scope,))
    async with (
        running(MemoryStore(), works=works, token_verifier=StaticTokens(table)) as house,
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(house.url, http_client=http), mode=mode) as client,
    ):
        assert (await client.call_tool("find_tasks", {})).structured_content["error"]["type"] == AWAY
        result = await client.call_tool("manage_project", {"action": "create", "title": "x"})
    error = result.structured_content["error"]
    assert result.is_error
    assert error["type"] == (AWAY if may else "api_error")
    if not may:
        assert error["http_status"] == 403
        assert error["message"] == "Failed to run manage_project: the token lacks the scope write."
        assert "tokens add NAME --scopes write" in error["suggestion"]


async def test_where_no_identity_is_asked_everybody_may_change(works):
    """Scopes are about tokens: without them nothing is refused for one."""
    async with running(MemoryStore(), works=works) as house, Client(house.url) as client:
        result = await client.call_tool("manage_project", {"action": "create", "title": "x"})
    assert result.structured_content["error"]["type"] == AWAY
