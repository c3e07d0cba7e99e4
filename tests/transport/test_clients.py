"""The SDK's own client, in both of its modes, before and after its server is replaced under it."""

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from archon_transport.store.memory import MemoryStore
from tests.transport.house import TOOLS, running, until

MODES = pytest.mark.parametrize("mode", [{"mode": "legacy"}, {}], ids=["legacy", "default"])
LEGACY = pytest.mark.parametrize("mode", [{"mode": "legacy"}], ids=["legacy"])


@MODES
async def test_a_client_lists_and_calls(house, store, mode):
    """The client initializes, lists and calls, and ends its session when it leaves."""
    async with Client(house.url, **mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == list(TOOLS)
        result = await client.call_tool("echo", {"value": "ä😀"})
        assert result.content[0].text == "ä😀"
        assert (await client.call_tool("iserror", {})).is_error
        with pytest.raises(MCPError, match="Not today"):
            await client.call_tool("refuse", {})
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["greet"]
        assert await store.count() == (1 if mode else 0)
    assert await store.count() == 0


@LEGACY
async def test_a_client_of_the_handshake_negotiates_its_newest_revision(house, store, mode):
    """Asked for the newest it knows, the server agrees."""
    async with Client(house.url, **mode):
        (row,) = await store.page()
        assert row.revision == "2025-11-25"


@LEGACY
@pytest.mark.parametrize("require_session_id", [True, False])
async def test_a_client_does_not_notice_a_new_server(mode, require_session_id):
    """The whole server is replaced over the same store, on the same port: the client's next call is
    answered.
    """
    store = MemoryStore()
    options = {"require_session_id": require_session_id}
    async with running(store, **options) as first:
        port = first.port
        client = Client(first.url, **mode)
        await client.__aenter__()
        assert (await client.call_tool("echo", {"value": "before"})).content[0].text == "before"
    (row,) = await store.page()
    async with running(store, port=port, **options) as second:
        try:
            assert (await client.call_tool("echo", {"value": "after"})).content[0].text == "after"
            assert [tool.name for tool in (await client.list_tools()).tools] == list(TOOLS)
            (same,) = await store.page()
            assert same.session_id == row.session_id
            assert second.transport.sessions.opened == 0
            assert second.transport.sessions.woken == 1
        finally:
            await client.__aexit__(None, None, None)
    assert await store.count() == 0


@pytest.mark.spec("H-01")
@LEGACY
async def test_a_client_that_listens_is_awake(house, mode):
    """An open stream is traffic: the session of a client that listens is not put to sleep."""
    async with Client(house.url, **mode) as client:
        await client.call_tool("echo", {})
        await until(lambda: len(house.transport.viewers) == 1)
        sessions = house.transport.sessions
        sessions._clock = lambda: 10**9
        sessions.tick()
        assert sessions.cached == 1
        assert (await client.call_tool("echo", {"value": "awake"})).content[0].text == "awake"
        assert sessions.woken == 0
