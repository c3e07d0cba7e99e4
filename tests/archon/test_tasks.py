"""`find_tasks` and `manage_task` on a real database."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from archon_transport.sessions import serving
from tests.sessions.rows import new_session

NOWHERE = str(uuid.uuid4())
both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"], indirect=True)


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


@both_modes
async def test_the_life_of_a_task(call, project) -> None:
    """A task is created, found, changed and deleted with Archon's keys and defaults."""
    made = await call("manage_task", action="create", project_id=project, title="T")
    assert made.keys() == {"success", "task", "task_id", "message"}
    key, task = made["task_id"], made["task"]
    assert task.keys() == {
        *("id", "project_id", "title", "description", "status", "assignee", "task_order", "priority"),
        *("feature", "created_at", "updated_at", "archived", "stats"),
    }
    assert (task["description"], task["status"], task["assignee"]) == ("", "todo", "User")
    assert (task["task_order"], task["priority"], task["feature"]) == (0, "medium", None)
    assert task["stats"] == {"sources_count": 0, "code_examples_count": 0}
    changed = await call("manage_task", action="update", task_id=key, status="doing", assignee="Archon")
    assert (changed["task"]["status"], changed["task"]["assignee"]) == ("doing", "Archon")
    assert changed["task"]["title"] == "T"
    assert changed["task"]["updated_at"] > task["updated_at"]
    gone = await call("manage_task", action="delete", task_id=key)
    assert gone.keys() == {"success", "message"}
    again = await call("manage_task", action="delete", task_id=key)
    assert (again["error"]["type"], again["error"]["http_status"]) == ("api_error", 409)
    whole = await call("find_tasks", task_id=key)
    assert whole.keys() == {"success", "task"}
    assert (whole["task"]["archived"], whole["task"]["archived_by"]) == (True, "User")
    assert (await call("find_tasks"))["tasks"] == []


async def test_create_keeps_all_that_is_given(call, project) -> None:
    """Status and priority given at creation are stored; a task created as done is completed."""
    given = {
        "title": "T",
        "description": "D" * 1500,
        "status": "done",
        "assignee": "Coding Agent",
        "task_order": 7,
        "priority": "critical",
        "feature": "auth",
    }
    made = await call("manage_task", action="create", project_id=project, **given)
    whole = (await call("find_tasks", task_id=made["task_id"]))["task"]
    assert {key: whole[key] for key in given} == given
    assert made["task"]["description"] == "D" * 997 + "..."
    assert whole["completed_at"] is not None


async def test_completion_follows_the_status(call, project) -> None:
    """`completed_at` is set when a task becomes done, kept while it is, and cleared when it is reopened."""
    key = (await call("manage_task", action="create", project_id=project, title="T"))["task_id"]

    async def completed(**change) -> str | None:
        assert (await call("manage_task", action="update", task_id=key, **change))["success"]
        return (await call("find_tasks", task_id=key))["task"]["completed_at"]

    assert await completed(status="review") is None
    moment = await completed(status="done")
    assert moment is not None
    assert await completed(status="done", title="U") == moment
    assert await completed(title="V") == moment
    assert await completed(status="doing") is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": "create", "project_id": NOWHERE, "title": "T"},
        {"action": "create", "project_id": NOWHERE, "title": "T", "task_order": 3},
        {"action": "update", "task_id": NOWHERE, "title": "T"},
        {"action": "delete", "task_id": NOWHERE},
    ],
)
async def test_what_is_not_there(call, pool, arguments) -> None:
    """An unknown project or task answers `not_found` and changes nothing."""
    error = (await call("manage_task", **arguments))["error"]
    assert (error["type"], error["http_status"]) == ("not_found", 404)
    assert await pool.fetchval("SELECT count(*) FROM archon_tasks") == 0
    assert (await call("find_tasks", task_id=NOWHERE))["error"]["type"] == "not_found"


async def test_a_project_given_beside_a_task_is_checked(call, project) -> None:
    """A task is not changed or deleted when the caller names another project than the task's."""
    key = (await call("manage_task", action="create", project_id=project, title="T"))["task_id"]
    for action in ("update", "delete"):
        wrong = await call("manage_task", action=action, task_id=key, project_id=NOWHERE, title="U")
        assert wrong["error"]["type"] == "not_found"
    right = await call("manage_task", action="update", task_id=key, project_id=project, title="U")
    assert right["task"]["title"] == "U"


async def test_deleting_takes_the_sub_tasks_along(call, pool, project) -> None:
    """Sub-tasks of any depth are archived with their task; one archived before keeps its moment."""
    root, child, grandchild, earlier = (uuid.uuid4() for _ in range(4))
    await pool.executemany(
        "INSERT INTO archon_tasks (id, project_id, parent_task_id, title) VALUES ($1, $2, $3, 'T')",
        [
            (root, project, None),
            (child, project, root),
            (grandchild, project, child),
            (earlier, project, root),
        ],
    )
    await call("manage_task", action="delete", task_id=str(earlier))
    moment = await pool.fetchval("SELECT archived_at FROM archon_tasks WHERE id = $1", earlier)
    answer = await call("manage_task", action="delete", task_id=str(root))
    assert answer["message"] == "Task archived, with 2 sub-tasks."
    assert await pool.fetchval("SELECT bool_and(archived) FROM archon_tasks")
    assert await pool.fetchval("SELECT archived_at FROM archon_tasks WHERE id = $1", earlier) == moment


async def test_filters(call, pool, project) -> None:
    """Each filter selects what it says, alone and with the others; archived tasks are never listed."""
    other = str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('Q') RETURNING id"))
    await pool.execute(
        """
        INSERT INTO archon_tasks (project_id, title, status, assignee, archived) VALUES
            ($1, 'a', 'todo', 'User', false), ($1, 'b', 'done', 'Archon', NULL),
            ($2, 'c', 'todo', 'Archon', false), ($2, 'd', 'todo', 'Archon', true)
        """,
        project,
        other,
    )

    async def titles(**arguments) -> str:
        answer = await call("find_tasks", **arguments)
        assert answer["total_count"] == answer["count"]
        return "".join(sorted(task["title"] for task in answer["tasks"]))

    assert await titles() == "abc"
    assert await titles(include_closed=False) == "ac"
    assert await titles(project_id=project) == "ab"
    assert await titles(filter_by="project", filter_value=project) == "ab"
    assert await titles(filter_by="project", filter_value=project, include_closed=False) == "a"
    assert await titles(filter_by="status", filter_value="todo") == "ac"
    assert await titles(filter_by="status", filter_value="done", include_closed=False) == "b"
    assert await titles(filter_by="assignee", filter_value="Archon") == "bc"
    assert await titles(filter_by="assignee", filter_value="archon") == ""
    assert await titles(filter_by="assignee", filter_value="Archon", project_id=other) == "c"
    assert await titles(filter_by="project", filter_value=NOWHERE) == ""


async def test_pages_have_a_true_total(call, pool, project) -> None:
    """A project's tasks come in pages, in their order, with the number of all of them."""
    await pool.execute(
        "INSERT INTO archon_tasks (project_id, title, task_order) "
        "SELECT $1, 'T' || n, n / 2 FROM generate_series(1, 23) AS n",
        project,
    )
    seen: list[tuple[int, str]] = []
    for page, more in ((1, True), (2, True), (3, False)):
        answer = await call("find_tasks", filter_by="project", filter_value=project, page=page, per_page=9)
        assert answer.keys() == {
            *("success", "tasks", "total_count", "count", "query", "page", "per_page", "has_more")
        }
        assert (answer["total_count"], answer["page"], answer["per_page"]) == (23, page, 9)
        assert answer["has_more"] is more
        seen += [(task["task_order"], task["id"]) for task in answer["tasks"]]
    assert [order for order, _ in seen] == sorted(n // 2 for n in range(1, 24))
    assert len({key for _, key in seen}) == 23


async def test_a_query_looks_in_three_columns(call, pool, project) -> None:
    """Words may be in title, description and feature; all must occur, in any of them."""
    await pool.execute(
        "INSERT INTO archon_tasks (project_id, title, description, feature) "
        "VALUES ($1, 'Login form', NULL, 'auth'), ($1, 'Logout', 'the form', NULL)",
        project,
    )

    async def count(query: str) -> int:
        return (await call("find_tasks", query=query))["total_count"]

    assert [await count(q) for q in ("FORM", "login auth", "auth form", "log form", "login logout")] == [
        *(2, 1, 1, 2, 0)
    ]
    assert (await call("find_tasks", query="form", per_page=1, include_closed=False))["has_more"] is True


async def test_a_task_is_put_between_the_others(call, pool, project) -> None:
    """Creating above 0 moves those of the same project and status that stand there or behind, by one."""
    other = await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('Q') RETURNING id")
    await pool.execute(
        """
        INSERT INTO archon_tasks (project_id, title, task_order, status, archived) VALUES
            ($1, 'before', 1, 'todo', false), ($1, 'there', 2, 'todo', false),
            ($1, 'behind', 5, 'todo', NULL), ($1, 'doing', 2, 'doing', false),
            ($1, 'archived', 2, 'todo', true), ($2, 'other', 2, 'todo', false)
        """,
        project,
        other,
    )
    await call("manage_task", action="create", project_id=project, title="new", task_order=2)
    await call("manage_task", action="create", project_id=project, title="plain")
    rows = await pool.fetch("SELECT title, task_order FROM archon_tasks")
    assert {row["title"]: row["task_order"] for row in rows} == {
        "plain": 0,
        "before": 1,
        "new": 2,
        "there": 3,
        "behind": 6,
        "doing": 2,
        "archived": 2,
        "other": 2,
    }


async def test_creates_at_one_place_at_once(call, pool, project) -> None:
    """Tasks created at one place at the same moment get places of their own."""
    await call("manage_task", action="create", project_id=project, title="old", task_order=5)
    answers = await asyncio.gather(
        *(
            call("manage_task", action="create", project_id=project, title=f"new {n}", task_order=5)
            for n in range(5)
        )
    )
    assert all(answer["success"] for answer in answers)
    rows = await pool.fetch("SELECT task_order, title FROM archon_tasks ORDER BY task_order")
    assert [row["task_order"] for row in rows] == [5, 6, 7, 8, 9, 10]
    assert rows[-1]["title"] == "old"


async def test_two_deletes_at_once(call, project) -> None:
    """Of two that delete at once, one does it and the other is told 409."""
    key = (await call("manage_task", action="create", project_id=project, title="T"))["task_id"]
    answers = await asyncio.gather(*(call("manage_task", action="delete", task_id=key) for _ in range(2)))
    assert sorted(answer["success"] for answer in answers) == [False, True]
    assert [a["error"]["http_status"] for a in answers if not a["success"]] == [409]


async def test_who_did_it_is_the_caller(call, pool, project) -> None:
    """The principal is on record, else the client's name."""
    session = new_session(client_name="claude-code")
    for who, owner in (("claude-code", None), ("ann", ("https://issuer", "ann", None))):
        serving(session, owner)
        key = (await call("manage_task", action="create", project_id=project, title="T"))["task_id"]
        await call("manage_task", action="update", task_id=key, status="done")
        await call("manage_task", action="delete", task_id=key)
        task = (await call("find_tasks", task_id=key))["task"]
        assert (task["completed_by"], task["archived_by"]) == (who, who)


async def test_null_and_empty_are_as_if_not_given(call, project) -> None:
    """Assistants fill in what they do not need with null or an empty string, and that is no filter."""
    await call("manage_task", action="create", project_id=project, title="T", status=None, assignee="")
    nothing = {"query": None, "task_id": "", "filter_by": "", "filter_value": "", "project_id": None}
    answer = await call("find_tasks", **nothing, page=None)
    assert (answer["count"], answer["page"], answer["query"]) == (1, 1, None)


async def test_numbers_and_truth_may_come_as_text(call, project) -> None:
    """Assistants send "2" for 2; what they mean is not in doubt."""
    await call("manage_task", action="create", project_id=project, title="T", task_order="3", status="done")
    answer = await call("find_tasks", page="1", per_page="5", include_closed="false")
    assert (answer["page"], answer["per_page"], answer["count"]) == (1, 5, 0)
