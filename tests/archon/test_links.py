"""`link_knowledge`, `unlink_knowledge` and `get_linked_knowledge` on a real database."""

from __future__ import annotations

import asyncio
import uuid

import pytest

NOWHERE = str(uuid.uuid4())
both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"], indirect=True)


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


@both_modes
async def test_the_life_of_a_link(call, pool, project: str) -> None:
    """Knowledge of any kind of id is linked once, found from both sides, and unlinked."""
    task = str(
        await pool.fetchval(
            "INSERT INTO archon_tasks (project_id, title) VALUES ($1, 'T') RETURNING id", project
        )
    )
    page = {"knowledge_type": "rag_page", "knowledge_id": str(uuid.uuid4())}
    code = {"knowledge_type": "code_example", "knowledge_id": "4711"}
    of_project = {"source_type": "project", "source_id": project}
    of_task = {"source_type": "task", "source_id": task}
    first = await call("link_knowledge", **of_project, **page, relevance_score=0.25)
    assert first.keys() == {"success", "link", "link_id", "message"}
    assert (first["link"]["relevance_score"], first["link"]["created_by"]) == (0.25, "User")
    again = await call("link_knowledge", **of_project, **page, relevance_score=0.5)
    assert (again["link_id"], again["link"]["relevance_score"]) == (first["link_id"], 0.5)
    await call("link_knowledge", **of_project, **code, relevance_score=1)
    await call("link_knowledge", **of_task, **page)
    found = await call("get_linked_knowledge", **of_project)
    assert found.keys() == {"success", "links", "count", "total"}
    assert [link["knowledge_type"] for link in found["links"]] == ["code_example", "rag_page"]
    using = await call("get_linked_knowledge", **page)
    assert {link["source_type"] for link in using["links"]} == {"project", "task"}
    gone = await call("unlink_knowledge", link_id=first["link_id"])
    assert gone["link"] == again["link"]
    assert (await call("get_linked_knowledge", **of_project))["count"] == 1
    assert (await call("unlink_knowledge", link_id=first["link_id"]))["error"]["type"] == "not_found"


async def test_what_is_refused(call, project: str) -> None:
    """Sprints, unknown projects, and arguments that say too little."""
    link = {"knowledge_type": "document", "knowledge_id": "d"}
    error = (await call("link_knowledge", source_type="sprint", source_id=NOWHERE, **link))["error"]
    assert "keeps no sprints" in error["message"]
    for kind in ("project", "task"):
        source = {"source_type": kind, "source_id": NOWHERE}
        assert (await call("link_knowledge", **source, **link))["error"]["message"] == (
            f"There is no {kind} with the id {NOWHERE}."
        )
        assert (await call("get_linked_knowledge", **source))["error"]["type"] == "not_found"
    error = (await call("get_linked_knowledge", source_type="task"))["error"]
    assert error["message"] == "Give source_type and source_id, or knowledge_type and knowledge_id."
    for score in (-0.1, 1.1, "much"):
        source = {"source_type": "project", "source_id": project}
        error = (await call("link_knowledge", **source, **link, relevance_score=score))["error"]
        assert error["message"] == "relevance_score: must be a number from 0 to 1."


async def test_linking_at_once(call, project: str) -> None:
    """Many who link the same make one link."""
    link = {"knowledge_type": "document", "knowledge_id": "d"}
    source = {"source_type": "project", "source_id": project}
    answers = await asyncio.gather(*(call("link_knowledge", **source, **link) for _ in range(5)))
    assert len({answer["link_id"] for answer in answers}) == 1


@pytest.mark.usefixtures("own_database")
async def test_an_older_table_with_uuids(call, pool, project: str) -> None:
    """Where an older Archon made the column a UUID, UUIDs are linked and anything else is refused in words."""
    await pool.execute(
        "ALTER TABLE archon_knowledge_links ALTER knowledge_id TYPE uuid USING NULL, "
        "ALTER relevance_score TYPE numeric(3, 2)"
    )
    source = {"source_type": "project", "source_id": project, "knowledge_type": "document"}
    key = str(uuid.uuid4())
    made = await call("link_knowledge", **source, knowledge_id=key, relevance_score=0.5)
    assert (made["link"]["knowledge_id"], made["link"]["relevance_score"]) == (key, 0.5)
    error = (await call("link_knowledge", **source, knowledge_id="4711"))["error"]
    assert error["type"] == "validation_error"
    found = await call("get_linked_knowledge", knowledge_type="document", knowledge_id=key)
    assert found["total"] == 1
