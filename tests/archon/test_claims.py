"""Several agents take tasks: each gets its own, keeps it while it works, and loses it when it is gone."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from archon_transport.archon.context import Archon
from archon_transport.archon.leases import expire
from archon_transport.sessions import serving
from tests.sessions.rows import new_session

RUN_OUT = "UPDATE archon_tasks SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL"


@pytest.fixture
async def project(pool) -> str:
    return str(await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id"))


async def add(pool, project: str, *rows: tuple[str, str, int]) -> None:
    await pool.executemany(
        "INSERT INTO archon_tasks (project_id, title, priority, task_order, created_at) "
        "VALUES ($1, $2, $3::text::task_priority, $4, clock_timestamp())",
        [(project, *row) for row in rows],
    )


async def test_the_order_of_claims(call, pool, project) -> None:
    """Critical before low, then the highest place, then the oldest; what is not in todo is not taken."""
    await add(pool, project, ("d", "low", 9), ("b", "high", 7), ("a", "critical", 0), ("c", "high", 3))
    await add(pool, project, ("e", "low", 1), ("f", "low", 1))
    await pool.execute("INSERT INTO archon_tasks (title, archived) VALUES ('archived', true)")
    titles = [(await call("manage_task", action="claim"))["task"]["title"] for _ in range(6)]
    assert "".join(titles) == "abcdef"
    nothing = await call("manage_task", action="claim")
    assert nothing == {"success": True, "message": "No task is waiting in todo."}


async def test_what_a_claim_answers(call, pool, project) -> None:
    """The task is in doing, whole, its assignee is the one who claimed it, and the lease is said."""
    other = await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('Q') RETURNING id")
    await add(pool, str(other), ("urgent", "critical", 0))
    await add(pool, project, ("mine", "low", 0))
    await pool.execute("UPDATE archon_tasks SET description = $1", "D" * 3000)
    answer = await call(
        "manage_task", action="claim", project_id=project, assignee="Agent 7", lease_seconds=60
    )
    assert answer.keys() == {"success", "task", "task_id", "message", "lease_holder", "lease_until"}
    task = answer["task"]
    assert (task["title"], task["status"], task["assignee"]) == ("mine", "doing", "Agent 7")
    assert (len(task["description"]), answer["lease_holder"]) == (3000, "Agent 7")
    whole = (await call("find_tasks", task_id=task["id"]))["task"]
    assert (whole["lease_holder"], whole["lease_until"]) == ("Agent 7", answer["lease_until"])
    seconds = await pool.fetchval(
        "SELECT extract(epoch FROM lease_until - updated_at)::int FROM archon_tasks "
        "WHERE lease_until IS NOT NULL"
    )
    assert seconds == 60
    nowhere = await call("manage_task", action="claim", project_id=str(uuid.uuid4()))
    assert nowhere["error"]["type"] == "not_found"


async def test_two_agents_never_get_the_same_task(call, pool, project) -> None:
    """Claims at one moment share the tasks out: each is taken once, and none is left."""
    await add(pool, project, *((f"T{n}", "medium", 0) for n in range(8)))
    answers = await asyncio.gather(
        *(call("manage_task", action="claim", assignee=f"Agent {n}") for n in range(10))
    )
    taken = [answer["task_id"] for answer in answers if "task_id" in answer]
    assert len(taken) == len(set(taken)) == 8


async def test_a_lease_that_runs_out(call, pool, project) -> None:
    """Whoever looks next finds the task in todo, and its history says whose it was."""
    await add(pool, project, ("T", "medium", 0))
    key = (await call("manage_task", action="claim", assignee="Agent"))["task_id"]
    await pool.execute(RUN_OUT)
    (task,) = (await call("find_tasks", filter_by="status", filter_value="todo"))["tasks"]
    assert task["id"] == key
    changes = (await call("get_task_history", task_id=key, field_name="status"))["changes"]
    assert [(line["old_value"], line["new_value"], line["changed_by"]) for line in changes] == [
        ("doing", "todo", "system"),
        ("todo", "doing", "User"),
    ]
    assert changes[0]["change_reason"] == "The lease of Agent ran out."
    again = await call("manage_task", action="claim", assignee="Another")
    assert (again["task_id"], again["lease_holder"]) == (key, "Another")


async def test_the_timer_ends_leases_and_tells(pool, project, call) -> None:
    """`expire` does it without anybody looking, announces the tasks, and leaves what moved on where it is."""
    await add(pool, project, ("a", "high", 0), ("b", "low", 0))
    a, b = [(await call("manage_task", action="claim"))["task_id"] for _ in range(2)]
    await pool.execute("UPDATE archon_tasks SET status = 'review' WHERE id = $1", b)
    await pool.execute(RUN_OUT)
    archon, told = Archon(pool=pool, started_at=0, session_timeout=None), []

    async def publish(address: str) -> None:
        told.append(address)

    archon.changed.publish = publish
    assert (await expire(archon), await expire(archon)) == (1, 0)
    assert told == [f"archon://tasks/{a}"]
    rows = await pool.fetch("SELECT title, status::text, lease_until FROM archon_tasks ORDER BY title")
    assert [tuple(row) for row in rows] == [("a", "todo", None), ("b", "review", None)]


@pytest.mark.parametrize(
    ("who", "change", "left"),
    [
        ("holder", {"description": "half"}, 900),
        ("holder", {"status": "doing"}, 900),
        ("other", {"description": "half"}, 10),
        ("other", {"assignee": "Agent"}, 900),
        ("other", {"assignee": "Somebody"}, None),
        ("holder", {"status": "review"}, None),
        ("holder", {"status": "todo"}, None),
    ],
)
async def test_what_a_change_does_to_the_lease(call, pool, project, who, change, left) -> None:
    """A change by the holder renews it, another's leaves it, and what moves or hands on the task ends it."""
    await add(pool, project, ("T", "medium", 0))
    holder = new_session(client_name="claude-code")
    serving(holder, None)
    key = (await call("manage_task", action="claim", assignee="Agent"))["task_id"]
    await pool.execute("UPDATE archon_tasks SET lease_until = now() + interval '10 seconds'")
    serving(holder if who == "holder" else new_session(client_name="claude-code"), None)
    await call("manage_task", action="update", task_id=key, **change)
    row = await pool.fetchrow(
        "SELECT extract(epoch FROM lease_until - now()) AS left, lease_holder FROM archon_tasks"
    )
    if left is None:
        assert tuple(row) == (None, None)
    else:
        assert left - 6 < row["left"] <= left


async def test_the_holder_is_the_principal_or_the_session(call, pool, project) -> None:
    """Without an assignee the lease belongs to the principal, else to the session, and says so."""
    await add(pool, project, ("a", "medium", 0), ("b", "medium", 0), ("c", "medium", 0))
    one = new_session(client_name="claude-code")
    for owner, holder, assignee in (
        (("https://issuer", "ann", None), "ann", "ann"),
        (None, one.session_id, "claude-code"),
    ):
        serving(one, owner)
        answer = await call("manage_task", action="claim")
        assert (answer["lease_holder"], answer["task"]["assignee"]) == (holder, assignee)


async def test_deleting_a_claimed_task(call, pool, project) -> None:
    """A task that is deleted while it is claimed is waiting again when it comes back."""
    await add(pool, project, ("T", "medium", 0))
    key = (await call("manage_task", action="claim"))["task_id"]
    await call("manage_task", action="delete", task_id=key)
    await call("manage_task", action="undelete", task_id=key)
    task = (await call("find_tasks", task_id=key))["task"]
    assert (task["status"], task["lease_until"], task["archived"]) == ("todo", None, False)
