"""The Python SDK's own client, as it speaks the handshake era, against a server that talks back.

It is asked, told and sent away; what it does about that by itself (answering, calling back, resuming) is its
own code, which this server has to satisfy.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client

from tests.transport.scenarios.world import World, until

RETRY = 10
"""Milliseconds that the client is asked to wait where it is sent away; its own default is a second."""


class Ear:
    """What the client's callbacks were called with, and what they answer."""

    def __init__(self) -> None:
        self.logs: list[tuple[str, Any]] = []
        self.progress: list[tuple[float, str | None]] = []
        self.messages: list[Any] = []
        self.patience = asyncio.Event()
        self.patience.set()

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        await self.patience.wait()
        return types.ElicitResult(action="accept", content={"name": params.message})

    async def sample(self, context: Any, params: Any) -> types.CreateMessageResult:
        said = params.messages[0].content.text
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text=f"re: {said}"), model="m"
        )

    async def roots(self, context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri="file:///home")])

    async def log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append((params.level, params.data))

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, message))

    async def hear(self, message: Any) -> None:
        self.messages.append(message)


@pytest.fixture(params=["memory", "postgres"])
def dsn_or_none(request):
    return request.getfixturevalue("dsn") if request.param == "postgres" else None


@pytest.fixture
async def world(dsn_or_none):
    world = World("2025-11-25", dsn_or_none, {"retry_interval": RETRY})
    await world.enter()
    yield world
    await world.leave()


@pytest.fixture
def ear():
    return Ear()


@asynccontextmanager
async def connected(world: World, ear: Ear, **facts: Any):
    """The SDK's client with a session."""
    url = f"http://127.0.0.1:{world.nodes['a'].port}/mcp"
    callbacks = {
        "elicitation_callback": ear.elicit,
        "sampling_callback": ear.sample,
        "list_roots_callback": ear.roots,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK calls the handshake era's features deprecated
        async with Client(
            url,
            mode="legacy",
            logging_callback=ear.log,
            message_handler=ear.hear,
            read_timeout_seconds=10,
            **(callbacks | facts),
        ) as client:
            yield client


async def play(client: Client, *script: list[Any], **how: Any) -> Any:
    """What the tool answered after its script."""
    result = await client.call_tool("play", {"script": list(script)}, **how)
    assert not result.is_error
    said = result.content[0].text
    return said if said == "done" else json.loads(said)


@pytest.mark.spec("H-11", "H-120")
async def test_questions(world, ear):
    """Elicitation, sampling, roots and ping are asked and answered in the middle of one call."""
    async with connected(world, ear) as client:
        answers = await play(client, ["elicit", "Ada"], ["sample"], ["roots"], ["ping"], ["elicit", "Bob"])
    assert answers[0]["content"] == {"name": "Ada"}
    assert answers[1]["content"]["text"] == "re: a haiku, please"
    assert answers[2]["roots"] == [{"uri": "file:///home"}]
    assert answers[3] == {}
    assert answers[4]["content"] == {"name": "Bob"}


@pytest.mark.spec("H-118")
async def test_what_the_client_has_no_callback_for(world, ear):
    """A client without callbacks declares nothing and is asked nothing."""
    none = {"elicitation_callback": None, "sampling_callback": None, "list_roots_callback": None}
    async with connected(world, ear, **none) as client:
        answers = await play(client, ["elicit", "?"], ["sample"], ["roots"])
    assert all(answer.startswith("-32600: ") for answer in answers)


@pytest.mark.spec("H-100")
async def test_progress(world, ear):
    """Progress reaches the callback of its own call, in order."""
    async with connected(world, ear) as client:
        await play(
            client, ["progress", 1], ["progress", 2, "half"], ["progress", 3], progress_callback=ear.tell
        )
    assert ear.progress == [(1, None), (2, "half"), (3, None)]


@pytest.mark.spec("H-111")
async def test_logging(world, ear):
    """Log messages reach the callback, and after a level was set only those at or above it."""
    async with connected(world, ear) as client:
        await play(client, ["log", "debug", "all"])
        await client.set_logging_level("warning")
        await play(client, ["log", "info", "hush"], ["log", "error", "loud"])
    assert ear.logs == [("debug", "all"), ("error", "loud")]


@pytest.mark.spec("H-115", "H-116")
async def test_changes_and_updates(world, ear):
    """The client's own GET hears list changes, and updates of what it subscribed to."""
    async with connected(world, ear) as client:
        await until(lambda: len(world.nodes["a"].transport.viewers) == 1)
        await client.subscribe_resource("file:///a")
        await play(client, ["changed"], ["updated", "file:///b"], ["updated", "file:///a"])
        await until(lambda: len(ear.messages) >= 2)
    kinds = [(type(m).__name__, getattr(m.params, "uri", None)) for m in ear.messages]
    assert kinds == [("ToolListChangedNotification", None), ("ResourceUpdatedNotification", "file:///a")]


@pytest.mark.spec("H-15", "H-38")
async def test_it_resumes_by_itself(world, ear):
    """When its POST is closed the client comes back by GET, again and again, and misses nothing."""
    async with connected(world, ear) as client:
        script = (
            ["progress", 1],
            ["close"],
            ["hold", "a"],
            ["progress", 2],
            ["close"],
            ["hold", "b"],
            ["progress", 3],
        )
        call = asyncio.create_task(play(client, *script, progress_callback=ear.tell))
        for gate in ("a", "b"):
            async with asyncio.timeout(5):
                await world.stage.reached[gate].wait()
            await until(
                lambda: any(key[1].startswith("c") for key in world.nodes["a"].transport.viewers._by_key)
            )
            world.stage.gates[gate].set()
        assert await call == "done"
    assert ear.progress == [(1, None), (2, None), (3, None)]


async def test_it_resumes_a_question(world, ear):
    """A question that is asked after the POST was closed is answered by the client that came back."""
    async with connected(world, ear) as client:
        assert (await play(client, ["close"], ["elicit", "Ada"]))[0]["action"] == "accept"


@pytest.mark.spec("H-20", "H-21", "H-38")
async def test_it_resumes_after_a_broken_connection(world, ear):
    """A connection that breaks in the middle of a call is no loss either."""
    async with connected(world, ear) as client:
        call = asyncio.create_task(play(client, ["progress", 1], ["hold", "a"], progress_callback=ear.tell))
        await until(lambda: ear.progress)
        for viewer in list(world.nodes["a"].transport.viewers._by_key.values()):
            if viewer.key[1].startswith("c"):
                viewer._response._req.transport.abort()
        world.stage.gates["a"].set()
        assert await call == "done"


@pytest.mark.spec("H-29", "H-38")
async def test_it_listens_again(world, ear):
    """When its standing connection is closed the client comes back and has missed nothing."""
    async with connected(world, ear) as client:
        await until(lambda: len(world.nodes["a"].transport.viewers) == 1)
        await play(client, ["changed"], ["close_standing"])
        await play(client, ["changed"])
        await until(lambda: len(ear.messages) == 2)


@pytest.mark.spec("H-92")
async def test_cancellation(world, ear):
    """A call whose caller gives up is cancelled on the server too."""
    async with connected(world, ear) as client:
        call = asyncio.create_task(play(client, ["hold", "a"]))
        async with asyncio.timeout(5):
            await world.stage.reached["a"].wait()
        call.cancel()
        await asyncio.wait([call])
        async with asyncio.timeout(5):
            await world.stage.cancelled.wait()
        assert await play(client, ["say", "still here"]) == ["still here"]


async def test_its_session_ends(world, ear):
    """A client that closes ends its session, its standing stream and whatever it left running."""
    async with connected(world, ear) as client:
        await until(lambda: len(world.nodes["a"].transport.viewers) == 1)
        await play(client, ["say", "x"])
    await until(lambda: len(world.nodes["a"].transport.viewers) == 0)
    assert world.nodes["a"].transport.sessions.cached == 0
