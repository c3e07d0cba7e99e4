"""A create with an `idempotency_key` happens once, however often it is called."""

from __future__ import annotations

import asyncio

import pytest

from archon_transport.sessions import serving


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


async def test_a_repeated_create_answers_the_same(call, pool, project) -> None:
    """The second call gets the first one's answer and makes nothing."""
    task = {"action": "create", "project_id": project, "title": "T", "idempotency_key": "k1"}
    made = {"action": "create", "title": "Q", "idempotency_key": "k2"}
    assert await call("manage_task", **task) == await call("manage_task", **task)
    assert await call("manage_project", **made) == await call("manage_project", **made)
    assert await pool.fetchval("SELECT count(*) FROM archon_tasks") == 1
    assert await pool.fetchval("SELECT count(*) FROM archon_projects") == 2


async def test_repetitions_at_one_moment(call, pool, project) -> None:
    """A repetition that comes while the first still runs waits for it and gets its answer."""
    task = {"action": "create", "project_id": project, "title": "T", "idempotency_key": "k"}
    answers = await asyncio.gather(*(call("manage_task", **task) for _ in range(5)))
    assert len({answer["task_id"] for answer in answers}) == 1
    assert await pool.fetchval("SELECT count(*) FROM archon_tasks") == 1


async def test_a_key_is_for_one_call(call, pool, project) -> None:
    """The key of another call is refused with 409; a refused call keeps no key; a key lasts a day."""
    task = {"action": "create", "project_id": project, "title": "T", "idempotency_key": "k"}
    missing = await call("manage_task", **{**task, "parent_task_id": project})
    assert missing["error"]["type"] == "validation_error"
    first = await call("manage_task", **task)
    for tool, other in (
        ("manage_task", {**task, "title": "U"}),
        ("manage_project", {**task, "project_id": ""}),
    ):
        assert (await call(tool, **other))["error"]["http_status"] == 409
    await pool.execute("UPDATE archon_mcp_idempotency SET created_at = created_at - interval '25 hours'")
    assert (await call("manage_task", **task))["task_id"] != first["task_id"]


async def test_keys_belong_to_a_principal(call, project) -> None:
    """The same key of another principal is another key; all who did not sign in are one."""
    task = {"action": "create", "project_id": project, "title": "T", "idempotency_key": "k"}
    made = []
    for owner in (None, ("https://issuer", "ann", None), ("https://issuer", "bob", None), None):
        serving(None, owner)
        made.append((await call("manage_task", **task))["task_id"])
    assert len(set(made)) == 3
    assert made[0] == made[3]


async def test_only_a_create_may_be_repeated(call, project) -> None:
    """A key with another action is refused: nobody may think that it protects them there."""
    for tool, given in (
        ("manage_task", {"action": "claim"}),
        ("manage_project", {"action": "archive", "project_id": project}),
        ("manage_version", {"action": "restore", "project_id": project, "version_number": 1}),
    ):
        field = {"field_name": "docs"} if tool == "manage_version" else {}
        error = (await call(tool, idempotency_key="k", **given, **field))["error"]
        assert (error["type"], error["message"]) == (
            "validation_error",
            "idempotency_key: is only for create.",
        )
