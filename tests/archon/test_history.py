"""What a task was, who changed it, and how far the tasks are."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from archon_transport.sessions import serving

NOWHERE = str(uuid.uuid4())


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


@pytest.fixture
async def task(call, project) -> str:
    made = await call("manage_task", action="create", project_id=project, title="T", description="one")
    return made["task_id"]


async def test_every_change_is_a_line(call, task) -> None:
    """Each field that became another one is a line with its values, its author and its time, newest first."""
    serving(None, ("https://issuer", "ann", None))
    await call("manage_task", action="update", task_id=task, status="doing", title="T", assignee="Agent")
    serving(None, ("https://issuer", "bob", None))
    await call("manage_task", action="update", task_id=task, description="x" * 600, priority="high")
    await call("manage_task", action="delete", task_id=task)
    answer = await call("get_task_history", task_id=task)
    assert answer.keys() == {"success", "task_id", "changes", "count", "total", "field_filter"}
    lines = [
        (line["field_name"], line["old_value"], line["new_value"], line["changed_by"])
        for line in answer["changes"]
    ]
    assert lines[0] == ("archived", "false", "true", "bob")
    assert set(lines[1:3]) == {
        ("description", "one", "x" * 500, "bob"),
        ("priority", "medium", "high", "bob"),
    }
    assert set(lines[3:]) == {("status", "todo", "doing", "ann"), ("assignee", "User", "Agent", "ann")}
    assert (answer["count"], answer["total"], answer["field_filter"]) == (5, 5, None)
    only = await call("get_task_history", task_id=task, field_name="status", limit=1)
    assert (only["count"], only["total"], only["field_filter"]) == (1, 1, "status")
    cut = await call("get_task_history", task_id=task, limit=2)
    assert (cut["count"], cut["total"]) == (2, 5)


async def test_versions_hold_what_was_before(call, task) -> None:
    """Text and lists are kept whole before each change, numbered for each field."""
    for change in (
        {"description": "two" * 1000},
        {"description": "three", "title": "U"},
        {"description": "three", "sources": [{"url": "https://a", "type": "doc"}]},
        {"sources": [], "code_examples": '[{"file": "a.py", "purpose": "how"}]'},
    ):
        assert (await call("manage_task", action="update", task_id=task, **change))["success"]
    answer = await call("get_task_versions", task_id=task)
    assert answer.keys() == {"success", "task_id", "versions", "count", "total", "field_filter"}
    versions = {(v["field_name"], v["version_number"]): v["content"] for v in answer["versions"]}
    assert versions == {
        ("description", 1): "one",
        ("description", 2): "two" * 1000,
        ("title", 1): "T",
        ("sources", 1): [],
        ("sources", 2): [{"url": "https://a", "type": "doc", "relevance": ""}],
        ("code_examples", 1): [],
    }
    newest = await call("get_task_versions", task_id=task, field_name="description", limit=1)
    assert (newest["versions"][0]["content"], newest["total"]) == ("two" * 1000, 2)
    whole = (await call("find_tasks", task_id=task))["task"]
    assert whole["code_examples"] == [{"file": "a.py", "function": "", "purpose": "how"}]


async def test_versions_are_numbered_once(call, task) -> None:
    """Changes at one moment lose nothing: each former text is a version with a number of its own."""
    await asyncio.gather(
        *(call("manage_task", action="update", task_id=task, description=f"text {n}") for n in range(5))
    )
    versions = (await call("get_task_versions", task_id=task))["versions"]
    assert sorted(version["version_number"] for version in versions) == [1, 2, 3, 4, 5]
    now = (await call("find_tasks", task_id=task))["task"]["description"]
    assert {v["content"] for v in versions} | {now} == {"one", *(f"text {n}" for n in range(5))}


async def test_long_versions_fit_into_one_answer(call, task) -> None:
    """However long the former texts are, an answer holds 80,000 characters and says what is missing."""
    for letter in "abcd":
        await call("manage_task", action="update", task_id=task, description=letter * 45_000)
    answer = await call("get_task_versions", task_id=task)
    assert len(json.dumps(answer)) <= 80_000
    assert (answer["count"], answer["total"]) == (1, 4)
    assert answer["note"] == "Only the newest 1 of 4 fit into one answer."


@pytest.mark.parametrize("tool", ["get_task_history", "get_task_versions"])
async def test_no_such_task(call, tool) -> None:
    """An unknown task is told apart from one that never changed."""
    assert (await call(tool, task_id=NOWHERE))["error"]["type"] == "not_found"


async def test_completion(call, pool, project) -> None:
    """Counts are over all time and without archived tasks; the list is of the last days, the newest first."""
    await pool.execute(
        """
        INSERT INTO archon_tasks (project_id, title, status, created_at, completed_at, completed_by, archived)
        VALUES ($1, 'new', 'done', now() - interval '3 hours', now() - interval '1 hour', 'ann', false),
               ($1, 'newer', 'done', now() - interval '5 hours', now(), 'bob', NULL),
               ($1, 'old', 'done', now() - interval '30 days', now() - interval '20 days', 'ann', false),
               ($1, 'open', 'review', now(), NULL, NULL, false),
               ($1, 'gone', 'done', now(), now(), 'ann', true)
        """,
        project,
    )
    answer = await call("get_completion_stats", project_id=project)
    assert answer["stats"] == {
        "total_tasks": 4,
        "completed_tasks": 3,
        "in_progress_tasks": 1,
        "completion_rate": 75.0,
        "avg_completion_time_hours": pytest.approx((2 + 5 + 240) / 3, abs=0.01),
    }
    assert [item["title"] for item in answer["recently_completed"]] == ["newer", "new"]
    assert (answer["count"], answer["total"], answer["days_range"]) == (2, 2, 7)
    assert (await call("get_completion_stats", days=30, limit=1))["total"] == 3
    assert (await call("get_completion_stats", project_id=NOWHERE))["error"]["type"] == "not_found"


async def test_nothing_to_count(call) -> None:
    """Without tasks the counts are zero and there is no average."""
    assert (await call("get_completion_stats"))["stats"] == {
        "total_tasks": 0,
        "completed_tasks": 0,
        "in_progress_tasks": 0,
        "completion_rate": 0.0,
        "avg_completion_time_hours": None,
    }
