"""The Python SDK's own client, in every mode that it has, against the real program."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from mcp.client import Client
from mcp.types import Implementation

from tests.program import Program

pytestmark = pytest.mark.long

VERSION = "3.1.4"


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answered; it must be a success."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["success"] is True
    return result.structured_content


async def rows(program: Program, name: str) -> list[asyncpg.Record]:
    """The session rows of the client of that name."""
    return await asyncio.to_thread(
        program.sql, "SELECT * FROM archon_mcp_sessions WHERE client_name = $1 ORDER BY connected_at", name
    )


async def work(client: Client, name: str) -> str:
    """Make a project and a task and find both again; the project's id."""
    made = await answer(client, "manage_project", action="create", title=f"From {name}")
    project_id: str = made["project_id"]
    found = await answer(client, "find_projects", project_id=project_id)
    assert found["project"]["title"] == f"From {name}"
    task = await answer(client, "manage_task", action="create", project_id=project_id, title="First")
    assert (await answer(client, "find_tasks", task_id=task["task_id"]))["task"]["title"] == "First"
    return project_id


async def go_on(client: Client, project_id: str) -> None:
    """Make a second task and find it beside the first."""
    await answer(client, "manage_task", action="create", project_id=project_id, title="Second")
    tasks = await answer(client, "find_tasks", filter_by="project", filter_value=project_id)
    assert {task["title"] for task in tasks["tasks"]} == {"First", "Second"}


async def test_a_session_goes_on_after_kill_9(program: Program) -> None:
    """In the handshake era the client has one session, whose row names it, before and after kill -9."""
    name = "python-legacy"
    info = Implementation(name=name, version=VERSION)
    async with Client(program.url, mode="legacy", client_info=info) as client:
        project_id = await work(client, name)
        (row,) = await rows(program, name)
        assert row["client_version"] == VERSION
        assert row["revision"] == "2025-11-25"
        assert row["ended_at"] is None

        await asyncio.to_thread(lambda: program.kill().start())

        own = (await answer(client, "session_info"))["session"]
        assert own["session_id"] == str(row["session_id"])
        await go_on(client, project_id)
        (row,) = await rows(program, name)
        assert row["ended_at"] is None
    (row,) = await rows(program, name)
    assert row["ended_reason"] == "deleted"  # the client says goodbye, and is believed


@pytest.mark.spec("D-05", "D-09", "M-61")
@pytest.mark.parametrize("mode", ["auto", "2026-07-28"])
async def test_the_modern_era_goes_on_after_kill_9(program: Program, mode: Any) -> None:
    """A client that may choose, or insists, speaks the modern era: no handshake, no session, nothing to lose."""
    name = f"python-{mode}"
    opened = program.printed().count("session opened")
    async with Client(
        program.url, mode=mode, client_info=Implementation(name=name, version=VERSION)
    ) as client:
        assert client.protocol_version == "2026-07-28"
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"find_projects", "manage_project", "find_tasks", "manage_task"} <= names
        project_id = await work(client, name)
        assert (await answer(client, "session_info"))["session"] is None
        assert program.printed().count("session opened") == opened

        await asyncio.to_thread(lambda: program.kill().start())

        await go_on(client, project_id)
    assert "session opened" not in program.printed()
    assert "request refused" not in program.printed()


async def test_both_eras_at_once(program: Program) -> None:
    """Clients of both eras work at the same time, on the same projects."""
    async with Client(program.url, mode="legacy") as old, Client(program.url, mode="auto") as new:
        projects = await asyncio.gather(*(work(client, "both") for client in (old, new, old, new)))
        await asyncio.gather(
            *(go_on(client, id) for client, id in zip((new, old) * 2, projects, strict=True))
        )
