"""Resources, prompts and completions, through the SDK's client in both of its modes."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from typing import Any

import pytest
from mcp.client import Client
from mcp.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from archon_transport.archon import build

NOWHERE = str(uuid.uuid4())
both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"], indirect=True)


@pytest.fixture
def bus() -> InMemorySubscriptionBus:
    return InMemorySubscriptionBus()


@pytest.fixture
def server(pool, bus) -> Server[Any]:
    return build(pool, started_at=time.monotonic(), session_timeout=None, bus=bus)


@pytest.fixture
async def stocked(pool) -> dict[str, str]:
    """A project with a document of each kind, a task in it and one in no project's name."""
    docs = [
        {"id": "md", "title": "Design", "document_type": "design", "content": {"markdown": "# Sink"}},
        {"id": "tx/t ä", "title": "Note", "content": "plain"},
        {"id": "js", "title": "Data", "content": {"a": [1]}},
        {"title": "without an id"},
    ]
    project = await pool.fetchval(
        "INSERT INTO archon_projects (title, description, docs, features) VALUES ('Kitchen', 'New sink', "
        "$1::text::jsonb, $2::text::jsonb) RETURNING id::text",
        json.dumps(docs),
        json.dumps([{"name": "plumbing"}]),
    )
    task = await pool.fetchval(
        "INSERT INTO archon_tasks (project_id, title, description, priority) "
        "VALUES ($1, 'Buy a sink', 'Steel.', 'high') RETURNING id::text",
        project,
    )
    return {"project": project, "task": task}


async def refused(waiting: Any) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await waiting
    return caught.value


@both_modes
async def test_what_there_is_to_read(server, mode, stocked) -> None:
    """Everything that is listed can be read, in its own form, with how long it may be kept."""
    async with Client(server, mode=mode) as client:
        listed = await client.list_resources()
        read = {each.uri: (await client.read_resource(each.uri)).contents[0] for each in listed.resources}
        templates = (await client.list_resource_templates()).resource_templates
        again = await client.read_resource(f"archon://tasks/{stocked['task']}")
        able = client.server_capabilities
    assert able is not None
    assert able.resources is not None
    assert able.resources.subscribe
    assert able.resources.list_changed is (mode == "auto")
    assert able.completions is not None
    assert able.prompts is not None
    project, task = stocked["project"], stocked["task"]
    assert read.keys() == {
        f"archon://projects/{project}",
        f"archon://tasks/{task}",
        f"archon://documents/{project}/md",
        f"archon://documents/{project}/tx%2Ft%20%C3%A4",
        f"archon://documents/{project}/js",
    }
    found = json.loads(read[f"archon://projects/{project}"].text)
    assert [doc["title"] for doc in found["docs"]] == ["Design", "Note", "Data", "without an id"]
    assert not any("content" in doc for doc in found["docs"])
    assert json.loads(read[f"archon://tasks/{task}"].text)["title"] == "Buy a sink"
    forms = {c.uri.rpartition("/")[2]: (c.mime_type, c.text) for c in read.values()}
    assert forms["md"] == ("text/markdown", "# Sink")
    assert forms["tx%2Ft%20%C3%A4"] == ("text/plain", "plain")
    assert forms["js"] == ("application/json", '{"a":[1]}')
    assert [each.uri_template for each in templates] == [
        "archon://projects/{id}",
        "archon://tasks/{id}",
        "archon://documents/{project_id}/{document_id}",
    ]
    if mode == "auto":
        assert (again.ttl_ms, again.cache_scope) == (5000, "private")


async def test_what_there_is_not(server, stocked) -> None:
    """Unknown and malformed addresses and cursors are protocol errors, whatever characters they have."""
    async with Client(server) as client:
        for uri in (
            f"archon://projects/{NOWHERE}",
            f"archon://tasks/{NOWHERE}",
            f"archon://documents/{stocked['project']}/x",
            f"archon://documents/{stocked['project']}/%00",
            f"archon://documents/{stocked['project']}",
            f"archon://projects/{stocked['project'].upper()}",
            f"archon://projects/{stocked['project']}/md",
            f"archon://documents/{stocked['project']}/m%64",
            "archon://projects/",
            "http://elsewhere",
            "x" * 5000,
        ):
            error = await refused(client.read_resource(uri))
            assert (error.code, error.message) == (-32002, "Resource not found")
        async with Client(server, mode="legacy") as older:
            surrogate = await refused(older.read_resource(f"archon://documents/{stocked['project']}/\ud800"))
        assert surrogate.code == -32002
        odd = ["[" * 100_000, '["0001-01-01T00:00:00+23:00", "x"]', '["2026-01-01", 1]']
        for cursor in (
            "x",
            "W10=",
            "eyJ9",
            "WzEsMl0=",
            *(base64.b64encode(o.encode()).decode() for o in odd),
        ):
            assert (await refused(client.list_resources(cursor=cursor))).code == -32602


async def test_the_list_has_pages(server, pool) -> None:
    """The list is what changed last, in pages that neither repeat nor lose one."""
    await pool.execute(
        "INSERT INTO archon_projects (title, updated_at, archived) "
        "SELECT 'P' || n, CASE WHEN n < 70 THEN now() ELSE now() - interval '1 d' END, n = 1 "
        "FROM generate_series(1, 120) AS n"
    )
    seen: list[str] = []
    cursor = None
    async with Client(server) as client:
        while not seen or cursor is not None:
            page = await client.list_resources(cursor=cursor)
            seen += [resource.title for resource in page.resources]
            cursor = page.next_cursor
            assert len(page.resources) == 50
    assert len(seen) == len(set(seen)) == 100
    assert set(seen) >= {f"P{n}" for n in range(2, 70)}
    assert "P1" not in seen


async def test_every_change_is_announced(call, bus, stocked) -> None:
    """Whoever changes a document, a version, a link, a project or a task, its resource is announced."""
    told: list[Any] = []
    bus.subscribe(told.append)
    project, task = stocked["project"], stocked["task"]

    async def announces(tool: str, *addresses: str, **given: Any) -> dict[str, Any]:
        told.clear()
        answer = await call(tool, **given)
        assert answer["success"], answer
        assert {e.uri for e in told if isinstance(e, ResourceUpdated)} >= {f"archon://{a}" for a in addresses}
        return answer

    where = {"project_id": project}
    doc, own = {**where, "document_id": "md"}, f"projects/{project}"
    changed = (f"documents/{project}/md", own)
    await announces("manage_document", *changed, action="update", title="New", **doc)
    await announces("manage_document", *changed, action="delete", **doc)
    await announces("manage_document", *changed, action="undelete", **doc)
    made = await call("manage_document", action="create", title="t", document_type="note", **where)
    assert f"archon://documents/{project}/{made['document_id']}" in {e.uri for e in told}
    version = {"field_name": "docs", "version_number": 1, **where}
    restored = await announces("manage_version", *changed, action="restore", **version)
    assert restored["backup_version"] == 3
    uris = {event.uri for event in told if isinstance(event, ResourceUpdated)}
    assert f"archon://documents/{project}/js" not in uris, "it was the same in that version"
    link = {"source_type": "task", "source_id": task, "knowledge_type": "document", "knowledge_id": "d"}
    await announces("link_knowledge", f"tasks/{task}", **link)
    await announces("manage_project", own, action="update", title="K", **where)
    await announces("manage_task", f"tasks/{task}", action="update", task_id=task, title="T")
    told.clear()
    await call("manage_document", action="update", title="New", project_id=project, document_id="none")
    assert not told, "what was refused changed nothing"


async def test_a_changed_list_is_announced_once(server, bus, stocked) -> None:
    """Many changes at once are one notice that the list has changed, and a stop leaves none behind."""
    told: list[Any] = []
    done = asyncio.Event()

    def hear(event: Any) -> None:
        told.append(event)
        if isinstance(event, ResourcesListChanged):
            done.set()

    bus.subscribe(hear)
    given = {"action": "create", "project_id": stocked["project"], "title": "t", "document_type": "n"}
    async with Client(server) as client:
        for _ in range(5):
            await client.call_tool("manage_document", given)
        await asyncio.wait_for(done.wait(), 10)
        assert sum(isinstance(event, ResourcesListChanged) for event in told) == 1
        await client.call_tool("manage_document", given)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "resources changed"]


@both_modes
async def test_prompts_say_what_the_database_knows(server, mode, stocked) -> None:
    """Both prompts name the project, its features, documents and tasks, and the tools to use."""
    async with Client(server, mode=mode) as client:
        listed = (await client.list_prompts()).prompts
        assert [prompt.name for prompt in listed] == ["plan_feature", "take_next_task"]

        async def text(name: str, **given: str) -> str:
            (message,) = (await client.get_prompt(name, given)).messages
            return message.content.text

        for given in ({"project_id": stocked["project"]}, {"title": "kitchen"}):
            plan = await text("plan_feature", feature="hot water {x}", **given)
            for word in ("hot water {x}", "Kitchen", stocked["project"], "plumbing", "Design [design] md"):
                assert word in plan
            assert "Buy a sink [todo]" in plan
            assert "`manage_document`" in plan
        new = await text("plan_feature", feature="f", title="Bath")
        assert 'no project called "Bath"' in new
        for given in ({}, {"project_id": stocked["project"]}):
            take = await text("take_next_task", **given)
            for word in ("Buy a sink", stocked["task"], "priority high", "Steel.", "Kitchen"):
                assert word in take
        await client.call_tool(
            "manage_task", {"action": "update", "task_id": stocked["task"], "status": "done"}
        )
        assert "No task of Archon waits" in await text("take_next_task")
        for name, given in (
            ("plan_feature", {}),
            ("plan_feature", {"feature": "f"}),
            ("plan_feature", {"feature": "f", "project_id": "x"}),
            ("plan_feature", {"feature": "f", "project_id": NOWHERE}),
            ("take_next_task", {"project_id": NOWHERE}),
            ("no_such_prompt", {}),
        ):
            assert (await refused(client.get_prompt(name, given))).code == -32602
        assert (await refused(client.list_prompts(cursor="2"))).code == -32602


async def test_ids_are_completed(server, pool, stocked) -> None:
    """The beginning of an id or a part of a title completes to ids, of a document within its project."""
    document = "archon://documents/{project_id}/{document_id}"
    project, task = stocked["project"], stocked["task"]
    async with Client(server) as client:

        async def values(ref: str, argument: str, typed: str, **context: str) -> list[str]:
            kind = ResourceTemplateReference(uri=ref) if ":" in ref else PromptReference(name=ref)
            answer = await client.complete(kind, {"name": argument, "value": typed}, context or None)
            return answer.completion.values

        for typed in ("", project[:8].upper(), "KITCH", "\0kit"):
            assert await values("archon://projects/{id}", "id", typed) == [project]
            assert await values(document, "project_id", typed) == [project]
            assert await values("plan_feature", "project_id", typed) == [project]
            assert await values("take_next_task", "project_id", typed) == [project]
        assert await values("archon://projects/{id}", "id", "%") == []
        assert await values("archon://tasks/{id}", "id", "sink") == [task]
        assert await values("plan_feature", "title", "kit") == ["Kitchen"]
        assert await values(document, "document_id", "desi", project_id=project) == ["md"]
        assert await values(document, "document_id", "", project_id=project) == ["md", "tx/t ä", "js"]
        for nowhere in ({}, {"project_id": "\0"}, {"project_id": "\ud800"}):
            assert await values(document, "document_id", "md", **nowhere) == []
        assert await values("plan_feature", "feature", "x") == []
        assert await values("elsewhere", "id", "x") == []
        await pool.execute("INSERT INTO archon_projects (title) SELECT 'Z' FROM generate_series(1, 101)")
        ref = ResourceTemplateReference(uri="archon://projects/{id}")
        answer = await client.complete(ref, {"name": "id", "value": "z"})
        assert (len(answer.completion.values), answer.completion.has_more) == (100, True)
