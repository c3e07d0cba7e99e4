"""`find_projects` and `manage_project` on a real database."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

NOWHERE = str(uuid.uuid4())
both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"], indirect=True)


@both_modes
async def test_the_life_of_a_project(call) -> None:
    """A project is created, found, changed and deleted with Archon's keys in every answer."""
    made = await call("manage_project", action="create", title=" Kitchen ", description="New sink")
    assert made.keys() == {"success", "project", "project_id", "message"}
    key = made["project_id"]
    assert made["project"]["title"] == "Kitchen"
    assert (made["project"]["docs"], made["project"]["pinned"]) == ([], False)
    found = await call("find_projects", project_id=key)
    assert found.keys() == {"success", "project"}
    assert found["project"]["description"] == "New sink"
    changed = await call("manage_project", action="update", project_id=key, description="", github_repo="o/r")
    assert changed["project"]["description"] == ""
    assert changed["project"]["title"] == "Kitchen"
    assert changed["project"]["github_repo"] == "o/r"
    assert changed["project"]["updated_at"] > made["project"]["updated_at"]
    gone = await call("manage_project", action="delete", project_id=key)
    assert gone.keys() == {"success", "message"}
    error = (await call("find_projects", project_id=key))["error"]
    assert (error["type"], error["http_status"]) == ("not_found", 404)


@pytest.mark.parametrize("action", ["update", "delete", "archive", "unarchive"])
async def test_a_project_that_is_not_there(call, action: str) -> None:
    """Every change of an unknown project answers `not_found`."""
    error = (await call("manage_project", action=action, project_id=NOWHERE, title="x"))["error"]
    assert (error["type"], error["http_status"]) == ("not_found", 404)


async def test_pages_of_projects(call, pool) -> None:
    """Pages are the newest first, their total counts all pages, and a page behind the last is empty."""
    await pool.execute("""
        INSERT INTO archon_projects (title, created_at)
        SELECT 'P' || n, now() + n * interval '1 s' FROM generate_series(1, 25) AS n
    """)
    first = await call("find_projects")
    assert first.keys() == {
        *("success", "projects", "count", "total", "page", "per_page", "query", "has_more")
    }
    assert [p["title"] for p in first["projects"]] == [f"P{n}" for n in range(25, 15, -1)]
    assert (first["count"], first["total"], first["has_more"], first["query"]) == (10, 25, True, None)
    last = await call("find_projects", page=3)
    assert (last["count"], last["total"], last["has_more"]) == (5, 25, False)
    behind = await call("find_projects", page=10**30)
    assert (behind["projects"], behind["total"], behind["has_more"]) == ([], 25, False)


async def test_a_query_is_the_and_of_its_words(call, pool) -> None:
    """Each word must occur in title or description; null and pattern characters do no harm."""
    await pool.execute("""
        INSERT INTO archon_projects (title, description) VALUES
            ('Kitchen', 'paint the WALLS'), ('Walls', NULL), ('100% done', ''),
            ('a_b', ''), ('axb', ''), ('c\\d', '')
    """)

    async def titles(query: str) -> list[str]:
        answer = await call("find_projects", query=query)
        assert answer["query"] == query
        assert answer["total"] == answer["count"]
        return sorted(project["title"] for project in answer["projects"])

    assert await titles("walls") == ["Kitchen", "Walls"]
    assert await titles("walls  kitchen") == ["Kitchen"]
    assert await titles("walls bath") == []
    assert await titles("0%") == ["100% done"]
    assert await titles("a_b") == ["a_b"]
    assert await titles("c\\d") == ["c\\d"]
    assert await titles("\\") == ["c\\d"]


async def test_a_list_leaves_out_what_is_long(call, pool) -> None:
    """A list shows documents without content and says what is too big for it; alone a project is whole."""
    key = await pool.fetchval(
        "INSERT INTO archon_projects (title, description, docs, features, data) "
        "VALUES ('Big', $1, $2, $3, $4) RETURNING id",
        "d" * 1001,
        json.dumps([{"id": "1", "title": "Plan", "content": {"text": "x" * 5000}}]),
        json.dumps([{"name": n} for n in range(5)]),
        json.dumps([uuid.uuid4().hex for _ in range(500)]),
    )
    (item,) = (await call("find_projects"))["projects"]
    assert item["description"] == "d" * 997 + "..."
    assert item["docs"] == [{"id": "1", "title": "Plan"}]
    assert (item["features"], item["features_count"]) == ([{"name": n} for n in range(3)], 5)
    assert (item["data"], item["omitted"]) == ([], ["data"])
    whole = (await call("find_projects", project_id=str(key)))["project"]
    assert whole["description"] == "d" * 1001
    assert len(whole["docs"][0]["content"]["text"]) == 5000
    assert (len(whole["features"]), len(whole["data"])) == (5, 500)


async def test_linked_sources_are_shown_by_their_kind(call, pool) -> None:
    """Links of a project are its technical and business sources, known to the knowledge base or not."""
    key = (await call("manage_project", action="create", title="P"))["project_id"]
    await pool.execute(
        "INSERT INTO archon_sources (source_id, title, source_url) VALUES ('s1', 'Docs', 'https://d')"
    )
    await pool.execute(
        "INSERT INTO archon_project_sources (project_id, source_id, notes) "
        "VALUES ($1, 's1', 'technical'), ($1, 's2', 'business'), ($1, 's3', 'other')",
        key,
    )
    for shown in (
        (await call("find_projects", project_id=key))["project"],
        (await call("find_projects"))["projects"][0],
    ):
        assert shown["technical_sources"] == [{"source_id": "s1", "title": "Docs", "url": "https://d"}]
        assert shown["business_sources"] == [{"source_id": "s2", "title": None, "url": None}]


async def test_unarchiving_brings_back_what_went_along(call, pool) -> None:
    """A task that was deleted before its project was archived stays deleted when the project comes back."""
    key = (await call("manage_project", action="create", title="P"))["project_id"]
    tasks = [
        (await call("manage_task", action="create", project_id=key, title=title))["task_id"]
        for title in ("stays deleted", "goes along", "goes along too")
    ]
    await call("manage_task", action="delete", task_id=tasks[0])
    archived = await call("manage_project", action="archive", project_id=key, archived_by="Ann")
    assert (archived["project_id"], archived["tasks_archived"]) == (key, 2)
    assert (await call("find_projects"))["total"] == 0
    assert (await call("find_projects", include_archived=True))["projects"][0]["archived_by"] == "Ann"
    assert (await call("find_tasks", project_id=key))["total_count"] == 0
    assert (await call("manage_project", action="archive", project_id=key))["error"]["http_status"] == 409
    back = await call("manage_project", action="unarchive", project_id=key)
    assert back["tasks_unarchived"] == 2
    listed = await call("find_tasks", project_id=key)
    assert {task["id"] for task in listed["tasks"]} == set(tasks[1:])
    assert (await call("manage_project", action="unarchive", project_id=key))["error"]["http_status"] == 409


async def test_two_archives_at_once(call) -> None:
    """Of two that archive at once, one does it and the other is told 409."""
    key = (await call("manage_project", action="create", title="P"))["project_id"]
    await call("manage_task", action="create", project_id=key, title="T")
    answers = await asyncio.gather(
        *(call("manage_project", action="archive", project_id=key) for _ in range(2))
    )
    assert sorted(answer.get("tasks_archived", -1) for answer in answers) == [-1, 1]
    assert [a["error"]["http_status"] for a in answers if not a["success"]] == [409]
