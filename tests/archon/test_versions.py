"""`find_versions`, `manage_version` and `get_project_features` on a real database."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

NOWHERE = str(uuid.uuid4())
both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"], indirect=True)


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


@both_modes
async def test_a_version_is_made_and_restored(call, pool, project: str) -> None:
    """Each field takes a list or an object; a restore keeps what was there and can be undone."""
    for field, content in (
        ("docs", [{"id": "d", "title": "Old"}]),
        ("features", [{"name": "sink"}]),
        ("data", [{"rows": 1}]),
        ("prd", {"goal": "water"}),
    ):
        where = {"project_id": project, "field_name": field}
        made = await call("manage_version", action="create", content=content, change_summary="first", **where)
        assert made.keys() >= {"success", "message", "field_name", "version_number"}
        assert (made["field_name"], made["version_number"]) == (field, 1)
        restored = await call("manage_version", action="restore", version_number=1, **where)
        assert (restored["version_number"], restored["backup_version"]) == (1, 2)
        stored = await pool.fetchval(f"SELECT {field}::text FROM archon_projects")
        assert json.loads(stored) == content
        listed = await call("find_versions", **where)
        assert listed.keys() == {
            *("success", "versions", "count", "total", "page", "per_page", "query", "has_more"),
            *("project_id", "field_name"),
        }
        assert [(v["version_number"], v["change_type"]) for v in listed["versions"]] == [
            (3, "restore"),
            (2, "backup"),
            (1, "create"),
        ]
        assert not any("content" in version for version in listed["versions"])
        one = (await call("find_versions", version_number=1, **where))["version"]
        assert (one["content"], one["field_name"], one["version_number"]) == (content, field, 1)
        assert one["version"]["change_summary"] == "first"
        await call("manage_version", action="restore", version_number=2, **where)
        stored = json.loads(await pool.fetchval(f"SELECT {field}::text FROM archon_projects"))
        assert stored == ({} if field == "prd" else [])
    assert (await call("find_versions", project_id=project))["total"] == 20
    assert (await call("find_versions", project_id=project, query="first"))["total"] == 4


async def test_one_document_is_restored_alone(call, project: str) -> None:
    """With a document's id a restore touches that document only, whether it is still there or not."""
    keys = {}
    for title in ("one", "two"):
        answer = await call(
            "manage_document", action="create", project_id=project, title=title, document_type="n", text="old"
        )
        keys[title] = answer["document_id"]
    for title in ("one", "two"):
        await call(
            "manage_document", action="update", project_id=project, document_id=keys[title], text="new"
        )
    await call("manage_document", action="delete", project_id=project, document_id=keys["one"])
    versions = (await call("find_versions", project_id=project, document_id=keys["one"]))["versions"]
    assert [v["change_type"] for v in versions] == ["delete", "update"]
    where = {"project_id": project, "field_name": "docs", "version_number": 1}
    for key in keys.values():
        assert (await call("manage_version", action="restore", document_id=key, **where))["success"]
        found = await call("find_documents", project_id=project, document_id=key)
        assert found["document"]["content"] == {"markdown": "old"}
        assert (await call("find_documents", project_id=project))["total"] == 2
    missing = await call("manage_version", action="restore", document_id="x", **where)
    assert missing["error"]["type"] == "not_found"
    total = (await call("find_versions", project_id=project))["total"]
    assert total == 7, "a restore that did not happen leaves no version"


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("manage_version", {"action": "create"}, "content: is required for create."),
    ("manage_version", {"action": "restore"}, "version_number: is required for restore."),
    (
        "manage_version",
        {"action": "restore", "version_number": 1, "document_id": "d", "field_name": "data"},
        "document_id: is only for the field docs.",
    ),
    (
        "manage_version",
        {"action": "restore", "version_number": 1, "idempotency_key": "k"},
        "idempotency_key: is only for create.",
    ),
    (
        "manage_version",
        {"action": "create", "content": [1]},
        "content: must be a list of at most 10000, each",
    ),
    ("manage_version", {"action": "create", "content": 1}, "content: must be a list of at most 10000, each"),
    ("manage_version", {"action": "create", "field_name": "x"}, "field_name: must be one of docs, features"),
    (
        "manage_version",
        {"action": "restore", "version_number": 0},
        "version_number: must be a whole number from 1",
    ),
    ("find_versions", {"version_number": 1}, "field_name: is required with version_number."),
]


async def test_what_is_refused(call, project: str) -> None:
    """Wrong arguments are told apart, and so are projects and versions that are not there."""
    for tool, given, message in BAD:
        base = {"project_id": project, **({"field_name": "docs"} if tool == "manage_version" else {})}
        error = (await call(tool, **base | given))["error"]
        assert error["type"] == "validation_error"
        assert message in error["message"]
    number = {"field_name": "docs", "version_number": 9}
    for where in (project, NOWHERE):
        for given in (
            {"action": "restore", **number},
            {"action": "create", "field_name": "docs", "content": []},
        ):
            if where == NOWHERE or given["action"] == "restore":
                error = (await call("manage_version", project_id=where, **given))["error"]
                assert (error["type"], error["http_status"]) == ("not_found", 404)
        error = (await call("find_versions", project_id=where, **number))["error"]
        assert error["type"] == "not_found"
    assert (await call("find_versions", project_id=NOWHERE))["error"]["type"] == "not_found"
    assert (await call("find_versions", project_id=project))["total"] == 0


async def test_numbers_are_unique_and_creates_repeatable(call, project: str) -> None:
    """Many who make versions at once get a number each; a create with a key is made once."""
    given = {"action": "create", "project_id": project, "field_name": "data", "content": [{"a": 1}]}
    answers = await asyncio.gather(*(call("manage_version", **given) for _ in range(10)))
    assert sorted(answer["version_number"] for answer in answers) == list(range(1, 11))
    twice = [await call("manage_version", idempotency_key="k", **given) for _ in range(2)]
    assert [answer["version_number"] for answer in twice] == [11, 11]


async def test_a_long_version_is_read_in_pieces(call, project: str) -> None:
    """A version's content that is too long for one answer comes in pieces of its JSON."""
    content = [{"n": n, "text": "x" * 50} for n in range(2000)]
    where = {"project_id": project, "field_name": "data"}
    await call("manage_version", action="create", content=content, **where)
    offset, read = 0, ""
    while offset is not None:
        piece = (await call("find_versions", version_number=1, offset=offset, **where))["version"]["piece"]
        read, offset = read + piece["text"], piece["next_offset"]
    assert json.loads(read) == content


async def test_features_of_a_project(call, pool, project: str) -> None:
    """Features are shown as they are stored, one bare object and null as lists."""
    assert await call("get_project_features", project_id=project) == {
        "success": True,
        "features": [],
        "count": 0,
    }
    for stored, shown in (('[{"name": "a"}, 1]', [{"name": "a"}, 1]), ('{"name": "b"}', [{"name": "b"}])):
        await pool.execute("UPDATE archon_projects SET features = $1::text::jsonb", stored)
        answer = await call("get_project_features", project_id=project)
        assert (answer["features"], answer["count"]) == (shown, len(shown))
    assert (await call("get_project_features", project_id=NOWHERE))["error"]["type"] == "not_found"
    assert "required" in (await call("get_project_features"))["error"]["message"]
