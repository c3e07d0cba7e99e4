"""The Python SDK's own client, in both of its modes, against the real program."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from mcp.client import Client
from mcp.types import Implementation

from tests.program import Program

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


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_it_works_and_goes_on_after_kill_9(program: Program, mode: Any) -> None:
    """The client creates and finds a project and a task, and the same object goes on after kill -9.

    Its default mode asks for the modern era first; what it gets leads it to the handshake, so both modes have
    one session, whose row names them.
    """
    name = f"python-{mode}"
    async with Client(
        program.url, mode=mode, client_info=Implementation(name=name, version=VERSION)
    ) as client:
        made = await answer(client, "manage_project", action="create", title=f"From {name}")
        project_id = made["project_id"]
        found = await answer(client, "find_projects", project_id=project_id)
        assert found["project"]["title"] == f"From {name}"
        task = await answer(client, "manage_task", action="create", project_id=project_id, title="First")
        assert (await answer(client, "find_tasks", task_id=task["task_id"]))["task"]["title"] == "First"

        asked_for_more = "rule=revision status=400" in program.printed()
        assert asked_for_more is (mode == "auto")
        (row,) = await rows(program, name)
        assert row["client_version"] == VERSION
        assert row["revision"] == "2025-11-25"
        assert row["ended_at"] is None

        await asyncio.to_thread(lambda: program.kill().start())

        own = (await answer(client, "session_info"))["session"]
        assert own["session_id"] == str(row["session_id"])
        second = await answer(client, "manage_task", action="create", project_id=project_id, title="Second")
        tasks = await answer(client, "find_tasks", filter_by="project", filter_value=project_id)
        assert {task["id"] for task in tasks["tasks"]} == {task["task_id"], second["task_id"]}
        (row,) = await rows(program, name)
        assert row["ended_at"] is None
    (row,) = await rows(program, name)
    assert row["ended_reason"] == "deleted"  # the client says goodbye, and is believed
