"""The server for tests does what its tools say, with the SDK's own client, in both eras."""

from __future__ import annotations

import asyncio
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

from tests.conftest import run
from tests.everything.running import running

pytestmark = pytest.mark.long

MODES = ("legacy", "2026-07-28")
Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[str]:
    """A database that the tests of this module share."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    run(_execute(postgres, f"CREATE DATABASE {name}"))
    yield postgres.replace("/postgres?", f"/{name}?")
    run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module", params=["memory", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One running server for the tests of this module, on each store."""
    database = request.getfixturevalue("database") if request.param == "postgres" else None
    with running(tmp_path_factory.mktemp("everything") / "server.log", database) as url:
        yield url


class User:
    """Who answers the server's questions; `refuses` where he wants to be left alone."""

    def __init__(self) -> None:
        self.refuses = False
        self.asked: list[str] = []

    async def fill(self, context: Any, params: Any) -> types.ElicitResult:
        self.asked.append(params.message)
        if self.refuses:
            return types.ElicitResult(action="decline")
        fields = params.requested_schema["properties"]
        return types.ElicitResult(action="accept", content={name: f"my {name}" for name in fields})

    async def sample(self, context: Any, params: Any) -> types.CreateMessageResult:
        text = types.TextContent(type="text", text=f"re: {params.messages[0].content.text}")
        return types.CreateMessageResult(role="assistant", content=text, model="m")

    async def roots(self, context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri="file:///home")])


@pytest.fixture
def user() -> User:
    return User()


@pytest.fixture(params=MODES)
def connect(request: pytest.FixtureRequest, url: str) -> Connect:
    """Connects clients of one era, with the callbacks that are given."""

    @asynccontextmanager
    async def connected(**callbacks: Any) -> AsyncIterator[Client]:
        async with AsyncExitStack() as stack:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the SDK warns of callbacks that later revisions drop
                client = await stack.enter_async_context(Client(url, mode=request.param, **callbacks))
            yield client

    return connected


async def said(client: Client, name: str, **arguments: Any) -> str:
    """The one block of text that a tool answers with."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


async def test_it_repeats(connect) -> None:
    """`echo` says what it is told, and refuses to say nothing."""
    async with connect() as client:
        assert await said(client, "echo", text="Grüße \U0001f30d\n") == "Grüße \U0001f30d\n"
        with pytest.raises(MCPError) as refused:
            await client.call_tool("echo", {})
        assert refused.value.error.code == types.INVALID_PARAMS


async def test_it_asks_one_thing(connect, user: User) -> None:
    """`ask` puts the question to the user and says what he answered, or that he did not want to."""
    async with connect(elicitation_callback=user.fill) as client:
        assert await said(client, "ask", question="Well?") == "You said: my answer"
        user.refuses = True
        assert await said(client, "ask", question="Really?") == "The user chose to decline."
        assert user.asked == ["Well?", "Really?"]


async def test_it_asks_round_after_round(connect, user: User) -> None:
    """A tool asks two things in turn, and several of different kinds at once."""
    async with connect(
        elicitation_callback=user.fill, sampling_callback=user.sample, list_roots_callback=user.roots
    ) as client:
        rounds = await said(client, "test_input_required_result_multi_round")
        assert rounds == "my name likes my color."
        several = await said(client, "test_input_required_result_multiple_inputs")
        assert several == "re: Generate a greeting my name, with 1 roots."
        assert len(user.asked) == 3


async def test_it_asks_nobody_who_cannot_answer(connect) -> None:
    """A client that declared nothing gets an error instead of a question it could not answer."""
    async with connect() as client:
        with pytest.raises(MCPError):
            await client.call_tool("ask", {"question": "Well?"})
        assert await said(client, "test_input_required_result_capabilities") == "There is nobody to ask."


async def test_it_counts_what_is_slow(connect) -> None:
    """`slow_counts` knows which calls of `slow` began, ended by themselves and were cancelled."""
    async with connect() as client:

        async def counts() -> dict[str, int]:
            result = await client.call_tool("slow_counts", {})
            assert result.structured_content is not None
            return result.structured_content

        async def until(name: str, wanted: int) -> None:
            async with asyncio.timeout(10):
                while (await counts())[name] != wanted:
                    await asyncio.sleep(0.02)

        before = await counts()
        assert await said(client, "slow", seconds=0.01) == "Took 0.01 s."
        call = asyncio.create_task(client.call_tool("slow", {"seconds": 60}))
        await until("started", before["started"] + 2)
        call.cancel()
        await until("cancelled", before["cancelled"] + 1)
        assert (await counts())["finished"] == before["finished"] + 1


async def test_it_lists_the_same_twice(connect) -> None:
    """Lists come in one order, everything in them is described, and no tool of them needs a name of its own."""
    async with connect() as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == [tool.name for tool in (await client.list_tools()).tools]
        assert tools[0].name == "test_simple_text"
        assert [tool.name for tool in tools[-4:]] == ["echo", "slow", "slow_counts", "ask"]
        prompts, resources = (await client.list_prompts()).prompts, (await client.list_resources()).resources
        assert all(each.description for each in (*tools, *prompts, *resources))


async def test_it_reads_what_is_there(connect) -> None:
    """A template's resource is read under its own URI; an unknown one is an error that names it."""
    async with connect() as client:
        (found,) = (await client.read_resource("test://template/7/data")).contents
        assert found.uri == "test://template/7/data"
        with pytest.raises(MCPError) as refused:
            await client.read_resource("test://nowhere")
        assert refused.value.error.code == types.INVALID_PARAMS
        assert refused.value.error.data == {"uri": "test://nowhere"}
