"""A day with documents on two real servers of one database, and those who watch them, in both eras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.subscriptions import Subscription
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp_types import ResourceUpdatedNotification

from tests.program import Program, data_directory

pytestmark = pytest.mark.long

WAIT = 20.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Program, Program]]:
    """Two servers on one data directory."""
    with data_directory() as home, Program(home) as one, Program(home) as two:
        one.start()
        two.start()
        yield one, two


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert result.structured_content is not None
    assert result.structured_content["success"], result.structured_content
    return result.structured_content


class Ear:
    """The addresses that a client was told of."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.heard.put_nowait(message.params.uri)

    async def follow(self, subscription: Subscription) -> None:
        async for event in subscription:
            if isinstance(event, ResourceUpdated):
                self.heard.put_nowait(event.uri)
            elif isinstance(event, ResourcesListChanged):
                self.heard.put_nowait("the list")

    async def expect(self, uri: str) -> None:
        async with asyncio.timeout(WAIT):
            while await self.heard.get() != uri:
                pass


@asynccontextmanager
async def watching(url: str, mode: Any, uri: str) -> AsyncIterator[tuple[Client, Ear]]:
    """A client of one era that watches a resource, in the way of its era."""
    ear = Ear()
    async with Client(url, mode=mode, message_handler=ear.hear) as client:
        if mode == "legacy":
            with pytest.warns(MCPDeprecationWarning):
                await client.subscribe_resource(uri)
            yield client, ear
            with pytest.warns(MCPDeprecationWarning):
                await client.unsubscribe_resource(uri)
        else:
            async with client.listen(
                resource_subscriptions=[uri], resources_list_changed=True
            ) as subscription:
                following = asyncio.create_task(ear.follow(subscription))
                yield client, ear
                following.cancel()
                await asyncio.wait([following])


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_who_watches_is_told_wherever_it_was_changed(nodes: tuple[Program, Program], mode: Any) -> None:
    """A client of either era at one node hears what clients of both eras change at the other."""
    here, there = nodes
    async with Client(there.url, mode="legacy") as old, Client(there.url, mode="auto") as new:
        project = (await answer(new, "manage_project", action="create", title="Kitchen"))["project_id"]
        where = {"project_id": project}
        made = await answer(
            new, "manage_document", action="create", title="Plan", document_type="spec", text="# 1", **where
        )
        document = {**where, "document_id": made["document_id"]}
        uri = f"archon://documents/{project}/{made['document_id']}"
        async with watching(here.url, mode, uri) as (watcher, ear):
            assert (await watcher.read_resource(uri)).contents[0].text == "# 1"
            for writer, text in ((old, "# 2"), (new, "# 3"), (watcher, "# 4")):
                await answer(writer, "manage_document", action="update", text=text, **document)
                await ear.expect(uri)
                assert (await watcher.read_resource(uri, cache_mode="bypass")).contents[0].text == text
            if mode != "legacy":
                await ear.expect("the list")
            await answer(old, "manage_document", action="delete", **document)
            await ear.expect(uri)
            with pytest.raises(MCPError) as caught:
                await watcher.read_resource(uri, cache_mode="bypass")
            assert caught.value.code == (-32002 if mode == "legacy" else -32602)
            await answer(new, "manage_document", action="undelete", **document)
            await ear.expect(uri)
            version = {"field_name": "docs", "version_number": 1, **where}
            await answer(old, "manage_version", action="restore", **version)
            await ear.expect(uri)
            assert (await watcher.read_resource(uri, cache_mode="bypass")).contents[0].text == "# 1"
            await answer(old, "manage_version", action="restore", **{**version, "version_number": 5})
            await ear.expect(uri)
            assert (await watcher.read_resource(uri, cache_mode="bypass")).contents[0].text == "# 4"
            task = (await answer(new, "manage_task", action="create", title="T", **where))["task_id"]
        async with watching(here.url, mode, f"archon://tasks/{task}") as (_, ear):
            await answer(old, "manage_task", action="update", task_id=task, status="done")
            await ear.expect(f"archon://tasks/{task}")


async def test_two_agents_at_two_nodes_lose_nothing(nodes: tuple[Program, Program]) -> None:
    """Fifty changes each, through two servers, to one document and to documents of their own."""
    async with Client(nodes[0].url, mode="legacy") as ann, Client(nodes[1].url, mode="auto") as bob:
        project = (await answer(ann, "manage_project", action="create", title="Shared"))["project_id"]
        given = {"project_id": project, "document_type": "note"}
        shared = (await answer(ann, "manage_document", action="create", title="both", **given))["document_id"]

        async def agent(client: Client, name: str) -> None:
            own = (await answer(client, "manage_document", action="create", title=name, **given))[
                "document_id"
            ]
            for n in range(25):
                for key, change in ((own, {"text": f"{name} {n}"}), (shared, {"tags": [name]})):
                    await answer(
                        client,
                        "manage_document",
                        action="update",
                        project_id=project,
                        document_id=key,
                        **change,
                    )

        await asyncio.gather(agent(ann, "ann"), agent(bob, "bob"))
        found = (await answer(ann, "find_documents", project_id=project))["documents"]
        assert {(item["title"], item["version"]) for item in found} == {
            ("both", "1.50"),
            ("ann", "1.25"),
            ("bob", "1.25"),
        }
        assert (await answer(bob, "find_versions", project_id=project))["total"] == 100
        by = (await answer(bob, "find_versions", project_id=project, per_page=100))["versions"]
        assert len({version["version_number"] for version in by}) == 100
        assert {version["created_by"] for version in by} == {"mcp"}
