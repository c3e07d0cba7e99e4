"""`find_documents` and `manage_document` on a real database."""

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


@pytest.fixture
def make(call, project: str):
    """Create a document and give it as its answer shows it."""

    async def make(**given: Any) -> dict[str, Any]:
        given = {"title": "Plan", "document_type": "spec", **given}
        answer = await call("manage_document", action="create", project_id=project, **given)
        assert answer["success"], answer
        return answer["document"]

    return make


@both_modes
async def test_the_life_of_a_document(call, project: str) -> None:
    """A document is created, found, changed, deleted and brought back, with Archon's keys in every answer."""
    made = await call(
        "manage_document",
        action="create",
        project_id=project,
        title="Plan",
        document_type="spec",
        content={"goal": "sink", "steps": [1, 2]},
        tags=["kitchen"],
    )
    assert made.keys() == {"success", "document", "document_id", "message"}
    key, new = made["document_id"], made["document"]
    assert (new["status"], new["version"], new["author"], new["tags"]) == (
        "draft",
        "1.0",
        "User",
        ["kitchen"],
    )
    found = await call("find_documents", project_id=project, document_id=key)
    assert found.keys() == {"success", "document"}
    assert found["document"]["content"] == {"goal": "sink", "steps": [1, 2]}
    assert (found["document"]["content_type"], found["document"]["piece"]) == ("json", None)
    changed = await call(
        "manage_document",
        action="update",
        project_id=project,
        document_id=key,
        document_type="design",
        text="# Sink",
    )
    assert (changed["document"]["document_type"], changed["document"]["version"]) == ("design", "1.1")
    assert (changed["document"]["title"], changed["document"]["content_type"]) == ("Plan", "markdown")
    assert changed["document"]["updated_at"] > new["updated_at"]
    where = {"project_id": project, "document_id": key}
    gone = await call("manage_document", action="delete", **where)
    assert gone.keys() == {"success", "message"}
    assert (await call("find_documents", **where))["error"]["type"] == "not_found"
    back = await call("manage_document", action="undelete", **where)
    assert back["document"]["title"] == "Plan"
    assert (await call("find_documents", **where))["document"]["content"] == {"markdown": "# Sink"}
    assert (await call("manage_document", action="undelete", **where))["error"]["http_status"] == 409


BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"action": "create"},
        "title: is required for create; document_type: is required for create.",
    ),
    ({"action": "update"}, "document_id: is required for update."),
    ({"action": "delete"}, "document_id: is required for delete."),
    ({"action": "undelete"}, "document_id: is required for undelete."),
    ({"action": "update", "document_id": "x"}, "Nothing to change: "),
    (
        {"action": "update", "document_id": "x", "text": "a", "content": {}},
        "Give content or text, not both.",
    ),
    (
        {"action": "update", "document_id": "x", "text": "a", "content_type": "json"},
        "content: is required with content_type json.",
    ),
    (
        {"action": "update", "document_id": "x", "content": {}, "content_type": "markdown"},
        "text: is required with content_type markdown.",
    ),
    (
        {"action": "undelete", "document_id": "x", "expected_version": "1.0"},
        "expected_version: is only for update and delete.",
    ),
    (
        {"action": "delete", "document_id": "x", "idempotency_key": "k"},
        "idempotency_key: is only for create.",
    ),
    ({"action": "create", "content": [1]}, "content: must be an object."),
    ({"action": "create", "content": {"a": ["\0"]}}, "content: must not contain the character U+0000."),
    ({"action": "create", "content": {"\0": 1}}, "content: must not contain the character U+0000."),
    (
        {"action": "create", "content": {"a": "x" * 1_000_000}},
        "content: must be at most 1000000 characters of JSON.",
    ),
    ({"action": "create", "content": '{"a": ' * 70 + "1" + "}" * 70}, "content: must be nested at most 64"),
    ({"action": "create", "content": {"a": "\ud800"}}, "content: must be valid JSON in valid Unicode."),
    ({"action": "create", "text": "a\0"}, "text: must not contain the character U+0000."),
    ({"action": "create", "text": "x" * 1_000_001}, "text: must be text of at most 1000000 characters."),
    ({"action": "create", "content_type": "html"}, "content_type: must be one of json, markdown, text."),
]


async def test_arguments_that_do_not_fit(call, project: str) -> None:
    """Each thing that is wrong with the arguments is said in words."""
    for given, message in BAD:
        error = (await call("manage_document", project_id=project, **given))["error"]
        assert error["type"] == "validation_error"
        assert message in error["message"]


async def test_documents_that_are_not_there(call, project: str) -> None:
    """An unknown project and an unknown document are told apart."""
    for action in ("update", "delete", "undelete"):
        given = {"action": action, "document_id": "x", **({"title": "t"} if action == "update" else {})}
        for where, noun in ((project, "document"), (NOWHERE, "project")):
            error = (await call("manage_document", project_id=where, **given))["error"]
            assert (error["type"], error["http_status"]) == ("not_found", 404)
            assert error["message"].startswith(f"There is no {noun}")
    for given in ({}, {"document_id": "x"}):
        error = (await call("find_documents", project_id=NOWHERE, **given))["error"]
        assert error["message"].startswith("There is no project")
    assert (await call("find_documents", project_id=project))["total"] == 0
    given = {"action": "create", "title": "t", "document_type": "note", "project_id": NOWHERE}
    assert (await call("manage_document", **given))["error"]["type"] == "not_found"


async def test_lists_and_what_they_look_into(call, project: str, make) -> None:
    """A list is without content and in its pages; `query` finds words in any content."""
    await make(title="One", content={"deep": {"word": 'Zebra said "hi"'}})
    await make(title="Two", document_type="note", text='He said "zebra"', tags=["a, b", "c"])
    await make(title="Three", document_type="note", text="plain", content_type="text")
    listed = await call("find_documents", project_id=project)
    assert listed.keys() == {
        *("success", "documents", "count", "total", "page", "per_page", "query", "has_more"),
        *("project_id", "document_type"),
    }
    assert [item["title"] for item in listed["documents"]] == ["One", "Two", "Three"]
    assert [item["content_type"] for item in listed["documents"]] == ["json", "markdown", "text"]
    assert all("content" not in item and item["stats"]["content_size"] > 0 for item in listed["documents"])

    async def titles(**given: Any) -> list[str]:
        answer = await call("find_documents", project_id=project, **given)
        return [item["title"] for item in answer["documents"]]

    assert await titles(query="zebra") == ["One", "Two"]
    assert await titles(query='zebra said "zebra"') == ["Two"]
    assert await titles(query="three plain") == ["Three"]
    assert await titles(document_type="note") == ["Two", "Three"]
    assert await titles(document_type="note", per_page=1, page=2) == ["Three"]
    assert await titles(query="no such word") == []
    few = await call("find_documents", project_id=project, fields=["title"], per_page=1)
    assert few["documents"][0].keys() == {"id", "title"}


async def test_a_long_content_is_read_in_pieces(call, project: str, make) -> None:
    """What does not fit into one answer comes piece by piece, and the pieces are the whole."""
    text = "".join(f"line {n}\n" for n in range(20_000))
    key = (await make(text=text))["id"]
    offset, read = 0, ""
    while offset is not None:
        answer = await call("find_documents", project_id=project, document_id=key, offset=offset)
        assert answer["document"]["content"] is None
        piece = answer["document"]["piece"]
        assert (piece["total"], piece["offset"]) == (len(text), offset)
        read += piece["text"]
        offset = piece["next_offset"]
    assert read == text
    short = await call("find_documents", project_id=project, document_id=key, offset=5, limit=3)
    assert short["document"]["piece"]["text"] == text[5:8]
    behind = await call("find_documents", project_id=project, document_id=key, offset=10**9)
    assert (behind["document"]["piece"]["text"], behind["document"]["piece"]["next_offset"]) == ("", None)


async def test_a_change_that_somebody_forestalled(call, project: str, make) -> None:
    """With `expected_version` an update or delete of what has changed since is refused, and nothing is done."""
    key = (await make(text="a"))["id"]
    where = {"project_id": project, "document_id": key}
    mine = {"action": "update", "expected_version": "1.0", **where}
    assert (await call("manage_document", **mine, text="b"))["document"]["version"] == "1.1"
    for given in ({**mine, "text": "c"}, {**mine, "action": "delete"}):
        error = (await call("manage_document", **given))["error"]
        assert (error["type"], error["http_status"]) == ("api_error", 409)
        assert "at version 1.1, not 1.0" in error["message"]
    assert (await call("find_documents", **where))["document"]["content"] == {"markdown": "b"}
    assert (await call("find_versions", project_id=project))["total"] == 1


async def test_a_repeated_create(call, project: str) -> None:
    """A create that is repeated with its key is one document and one answer."""
    given = {"action": "create", "project_id": project, "title": "T", "document_type": "note"}
    answers = await asyncio.gather(*(call("manage_document", **given, idempotency_key="k") for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert (await call("find_documents", project_id=project))["total"] == 1


async def test_two_agents_lose_nothing(call, project: str, make) -> None:
    """Two who edit the documents of one project lose no change, and versions have a number each."""
    shared = (await make(title="Shared"))["id"]

    async def agent(name: str) -> None:
        own = (await make(title=name, text=""))["id"]
        where = {"project_id": project}
        for n in range(6):
            answer = await call(
                "manage_document", action="update", document_id=own, text=f"{name} {n}", **where
            )
            assert answer["success"]
            answer = await call("manage_document", action="update", document_id=shared, tags=[name], **where)
            assert answer["success"]

    await asyncio.gather(agent("ann"), agent("bob"))
    found = await call("find_documents", project_id=project, query="5")
    assert sorted(item["title"] for item in found["documents"]) == ["ann", "bob"]
    assert {item["version"] for item in found["documents"]} == {"1.6"}
    assert (await call("find_documents", project_id=project, document_id=shared))["document"][
        "version"
    ] == "1.12"
    listed = await call("find_versions", project_id=project, per_page=100)
    assert sorted(item["version_number"] for item in listed["versions"]) == list(range(1, 25))


async def test_what_archon_stored_is_kept(call, pool, project: str) -> None:
    """A change writes only what it is about: keys, numbers and items that we do not know stay as they are."""
    stored = '[1.10, {"id": "d", "title": 7, "x": 1e400, "tags": null}, {"id": "e", "content": "old"}, null]'
    await pool.execute("UPDATE archon_projects SET docs = $1::text::jsonb", stored)
    listed = (await call("find_documents", project_id=project))["documents"]
    assert [(item["id"], item["title"], item["tags"]) for item in listed] == [
        ("d", "7", []),
        ("e", None, []),
    ]
    assert listed[1]["content_type"] == "text"
    await call("manage_document", action="update", project_id=project, document_id="e", title="E")
    await call("manage_document", action="create", project_id=project, title="F", document_type="note")
    docs = await pool.fetchval("SELECT docs #- '{4}' #- '{2,updated_at}' FROM archon_projects")
    expected = await pool.fetchval(
        "SELECT jsonb_set($1::text::jsonb, '{2}', $2::text::jsonb)",
        stored,
        json.dumps({"id": "e", "content": "old", "title": "E", "version": "1.1"}),
    )
    assert docs == expected


async def test_a_column_that_is_no_list(call, pool, project: str) -> None:
    """Older rows hold null or one bare object; both are lists to us."""
    for stored in ("null", '{"id": "d", "title": "bare"}', None, "7"):
        await pool.execute("UPDATE archon_projects SET docs = $1::text::jsonb", stored)
        before = int(stored is not None and "bare" in stored)
        assert (await call("find_documents", project_id=project))["total"] == before
        given = {"project_id": project, "title": "F", "document_type": "note"}
        assert (await call("manage_document", action="create", **given))["success"]
        assert (await call("find_documents", project_id=project))["total"] == 1 + before
