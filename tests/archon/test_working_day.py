"""A working day of two agents on the real server, in both eras: planned, shared out, done, and looked back on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.client import Client
from mcp_types import Implementation

from tests.program import Program, data_directory

pytestmark = pytest.mark.long

PLAN = (("Read the specification", "low"), ("Build the parser", "high"), ("Find the leak", "critical"))


@pytest.fixture(scope="module")
def server() -> Iterator[Program]:
    with data_directory() as home, Program(home) as program:
        program.start()
        yield program


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert result.structured_content is not None
    assert result.structured_content["success"], result.structured_content
    return result.structured_content


def agent(server: Program, mode: Any, name: str) -> Client:
    return Client(server.url, mode=mode, client_info=Implementation(name=name, version="1"))


async def work(client: Client, project: str, name: str) -> list[str]:
    """Claim and finish tasks until none is left; the titles in their order."""
    titles = []
    while "task" in (claimed := await ask(client, "manage_task", action="claim", project_id=project)):
        task = claimed["task"]
        note = f"{task['description']} Looked at by {name}."
        await ask(client, "manage_task", action="update", task_id=task["id"], description=note)
        for status in ("review", "done"):
            await ask(client, "manage_task", action="update", task_id=task["id"], status=status)
        titles.append(task["title"])
    return titles


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_working_day(server: Program, mode: Any) -> None:
    """Everything that was planned is done once, what was deleted is back, and the history is right."""
    async with agent(server, mode, "planner") as planner, agent(server, mode, "builder") as builder:
        made = {"action": "create", "title": f"Day {mode}", "idempotency_key": f"day {mode}"}
        project = (await ask(planner, "manage_project", **made))["project_id"]
        assert (await ask(planner, "manage_project", **made))["project_id"] == project
        whole = {"action": "create", "project_id": project}
        big = (await ask(planner, "manage_task", **whole, title="Too big", description="All."))["task_id"]
        for title, priority in PLAN:
            part = {"title": title, "priority": priority, "description": "Do it.", "parent_task_id": big}
            await ask(planner, "manage_task", **whole, **part, sources=[{"url": "https://example.org"}])
        await ask(planner, "manage_task", action="delete", task_id=big)
        assert (await ask(planner, "find_tasks", project_id=project))["total_count"] == 0
        await ask(planner, "manage_task", action="undelete", task_id=big)
        assert (await ask(planner, "find_tasks", project_id=project))["total_count"] == 4

        first = await ask(planner, "manage_task", action="claim", project_id=project, lease_seconds=1)
        assert first["task"]["title"] == "Find the leak"
        async with asyncio.timeout(20):  # the planner goes home, and its task is taken over
            while (await ask(builder, "find_tasks", task_id=first["task_id"]))["task"]["status"] != "todo":
                await asyncio.sleep(0.1)
        shares = await asyncio.gather(work(planner, project, "planner"), work(builder, project, "builder"))
        assert sorted([*shares[0], *shares[1]]) == sorted([*(title for title, _ in PLAN), "Too big"])

        history = await ask(builder, "get_task_history", task_id=first["task_id"], field_name="status")
        ways = [(line["old_value"], line["new_value"]) for line in reversed(history["changes"])]
        assert ways == [
            *(
                ("todo", "doing"),
                ("doing", "todo"),
                ("todo", "doing"),
                ("doing", "review"),
                ("review", "done"),
            )
        ]
        actors = [line["changed_by"] for line in reversed(history["changes"])]
        assert actors[:2] == ["planner", "system"]
        assert set(actors[2:]) <= {"planner", "builder"}
        assert len(set(actors[2:])) == 1
        versions = await ask(builder, "get_task_versions", task_id=first["task_id"])
        assert [version["content"] for version in versions["versions"]] == ["Do it."]
        stats = await ask(planner, "get_completion_stats", project_id=project)
        assert (stats["stats"]["completion_rate"], stats["count"]) == (100.0, 4)

        await ask(planner, "manage_project", action="delete", project_id=project)
        assert (await ask(planner, "find_tasks", project_id=project))["total_count"] == 0
        await ask(builder, "manage_project", action="undelete", project_id=project)
        assert (await ask(builder, "get_completion_stats", project_id=project))["stats"] == stats["stats"]
