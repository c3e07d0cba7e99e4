"""A project is deleted as Archon deletes it, and comes back with everything that went along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

EVERYTHING = """
    SELECT (SELECT jsonb_agg(to_jsonb(p) ORDER BY id) FROM archon_projects AS p) AS projects,
           (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM archon_tasks AS t) AS tasks,
           (SELECT jsonb_agg(to_jsonb(h) ORDER BY id) FROM archon_task_history AS h) AS history,
           (SELECT jsonb_agg(to_jsonb(v) ORDER BY id) FROM archon_document_versions AS v) AS versions,
           (SELECT jsonb_agg(to_jsonb(s) ORDER BY id) FROM archon_project_sources AS s) AS sources,
           (SELECT jsonb_agg(to_jsonb(n) ORDER BY id) FROM task_notes AS n) AS notes
"""


@pytest.fixture
async def project(call, pool) -> AsyncIterator[str]:
    """A project with something in every table, one of them a table that only its owner knows."""
    await pool.execute(
        """
        CREATE TABLE task_notes (
            id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            "the Task" UUID REFERENCES archon_tasks (id) ON DELETE CASCADE, note TEXT,
            words TSVECTOR GENERATED ALWAYS AS (to_tsvector('english', note)) STORED)
        """
    )
    key = (await call("manage_project", action="create", title="P", description="D"))["project_id"]
    await pool.execute(
        "UPDATE archon_projects SET docs = $1, features = '[{\"n\": 1.50}]' WHERE id = $2",
        json.dumps([{"id": "d", "title": "Ä", "content": {"markdown": "x" * 50_000}}]),
        key,
    )
    task = (await call("manage_task", action="create", project_id=key, title="T", description="one"))[
        "task_id"
    ]
    await call("manage_task", action="create", project_id=key, title="Sub", parent_task_id=task)
    await call("manage_task", action="update", task_id=task, description="two", status="done")
    await pool.execute(
        "INSERT INTO archon_project_sources (project_id, source_id, notes) VALUES ($1, 's', 'technical')", key
    )
    await pool.execute("INSERT INTO task_notes (\"the Task\", note) VALUES ($1, 'a note')", task)
    yield key
    await pool.execute("DROP TABLE task_notes")


async def test_a_deleted_project_comes_back_whole(call, pool, project) -> None:
    """Each row of each table is as it was, and nothing is left in the trash."""
    before = dict(await pool.fetchrow(EVERYTHING))
    assert all(before.values())
    assert (await call("manage_project", action="delete", project_id=project))["success"]
    assert not any(dict(await pool.fetchrow(EVERYTHING)).values())
    assert (await call("find_projects", project_id=project))["error"]["type"] == "not_found"
    assert (await call("manage_project", action="undelete", project_id=project))["success"]
    assert dict(await pool.fetchrow(EVERYTHING)) == before
    assert await pool.fetchval("SELECT count(*) FROM archon_trash") == 0
    again = await call("manage_project", action="undelete", project_id=project)
    assert (again["error"]["http_status"], again["error"]["message"]) == (409, "The project is not deleted.")


async def test_a_deletion_is_kept_for_thirty_days(call, pool, project) -> None:
    """After 30 days a deletion is for good; a second one of the same project is undone on its own."""
    await call("manage_project", action="delete", project_id=project)
    await pool.execute("UPDATE archon_trash SET deleted_at = deleted_at - interval '29 days'")
    assert (await call("manage_project", action="undelete", project_id=project))["success"]
    await call("manage_project", action="delete", project_id=project)
    await pool.execute("UPDATE archon_trash SET deleted_at = deleted_at - interval '31 days'")
    gone = await call("manage_project", action="undelete", project_id=project)
    assert gone["error"]["type"] == "not_found"


async def test_two_deletions_at_once(call, pool, project) -> None:
    """Of two that delete at once one does it; the trash has the project once."""
    answers = await asyncio.gather(
        *(call("manage_project", action="delete", project_id=project) for _ in range(2))
    )
    assert sorted(answer["success"] for answer in answers) == [False, True]
    assert await pool.fetchval("SELECT count(*) FROM archon_trash WHERE kind = 'project'") == 1


async def test_the_trash_says_who_deleted_what(call, pool, project) -> None:
    """The operator finds a deletion by its title and its author."""
    await call("manage_project", action="delete", project_id=project)
    row = await pool.fetchrow("SELECT item_id, title, deleted_by FROM archon_trash WHERE kind = 'project'")
    assert tuple(row) == (project, "P", "User")
