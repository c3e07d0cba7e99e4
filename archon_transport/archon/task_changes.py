"""`manage_task`: making, changing, claiming and deleting tasks.

Deleting a task archives it, with its sub-tasks, and can be undone. A task that is created at a position
(`task_order` above 0) moves the tasks of the same project and status that stand there or behind it. Every
change leaves its lines of history and its versions in the same transaction.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, assert_never
from uuid import UUID

import asyncpg
from pydantic import BeforeValidator, ConfigDict, Field

from .answers import Described, Done, Failure, Success, as_list, conflict, invalid, not_found
from .claims import TaskClaimed, claim
from .context import Archon, Connection, actor, identity, project_address, task_address
from .history import VERSIONED, Change, keep_versions, record
from .idempotency import Repeatable, once
from .registry import CHANGES, tool
from .rows import lock
from .schemas import Id, LongText, Name, Text, unpacked
from .tasks import LISTED, Priority, Status, TaskItem

_CREATE = f"""
    WITH moved AS (
        UPDATE archon_tasks SET task_order = task_order + 1, updated_at = now()
         WHERE $6 > 0 AND project_id = $1 AND status = $4::text::task_status AND task_order >= $6
           AND archived IS NOT TRUE
    )
    INSERT INTO archon_tasks (project_id, title, description, status, assignee, task_order, priority,
                              feature, parent_task_id, sources, code_examples, completed_at, completed_by)
    SELECT id, $2, $3, $4::text::task_status, $5, $6, $7::text::task_priority, $8, $9, $10::text::jsonb,
           $11::text::jsonb, CASE WHEN $4 = 'done' THEN now() END, CASE WHEN $4 = 'done' THEN $12 END
      FROM archon_projects WHERE id = $1
    RETURNING {LISTED}
"""

# The parent and all above it, as far as it is in the project.
_ABOVE = """
    WITH RECURSIVE above AS (
        SELECT id, parent_task_id FROM archon_tasks
         WHERE id = $1 AND project_id = $2 AND archived IS NOT TRUE
        UNION
        SELECT task.id, task.parent_task_id
          FROM archon_tasks AS task JOIN above ON task.id = above.parent_task_id
    )
    SELECT id FROM above
"""

_BEFORE = """
    SELECT id, project_id, title, description, status::text AS status, assignee, task_order,
           priority::text AS priority, feature, parent_task_id, sources::text AS sources,
           code_examples::text AS code_examples, lease_holder, lease_by, lease_until
      FROM archon_tasks WHERE id = $1 AND ($2::uuid IS NULL OR project_id = $2) FOR UPDATE
"""

_UPDATE = f"""
    UPDATE archon_tasks
       SET title = COALESCE($2, title), description = COALESCE($3, description),
           status = COALESCE($4::text::task_status, status), assignee = COALESCE($5, assignee),
           task_order = COALESCE($6, task_order), priority = COALESCE($7::text::task_priority, priority),
           feature = COALESCE($8, feature), parent_task_id = COALESCE($9, parent_task_id),
           sources = COALESCE($10::text::jsonb, sources),
           code_examples = COALESCE($11::text::jsonb, code_examples), updated_at = now(),
           completed_at = CASE WHEN $4 IS NULL OR (status = 'done' AND $4 = 'done') THEN completed_at
                               WHEN $4 = 'done' THEN now() END,
           completed_by = CASE WHEN $4 IS NULL OR (status = 'done' AND $4 = 'done') THEN completed_by
                               WHEN $4 = 'done' THEN $12 END,
           lease_holder = CASE WHEN $13 <> 'ends' THEN lease_holder END,
           lease_by = CASE WHEN $13 <> 'ends' THEN lease_by END,
           lease_seconds = CASE WHEN $13 <> 'ends' THEN lease_seconds END,
           lease_until = CASE $13 WHEN 'stays' THEN lease_until
                                  WHEN 'renewed' THEN now() + make_interval(secs => lease_seconds) END
     WHERE id = $1
    RETURNING {LISTED}, completed_by
"""

# Archon's trigger puts the assignee there when a task becomes done; it leaves this second change alone.
_COMPLETED_BY = "UPDATE archon_tasks SET completed_by = $2 WHERE id = $1"

# Only what is not archived yet is taken along, so that each task keeps the moment it really went.
_ARCHIVE = """
    WITH RECURSIVE family AS (
        SELECT id FROM archon_tasks WHERE id = $1
        UNION
        SELECT task.id FROM archon_tasks AS task JOIN family ON task.parent_task_id = family.id
    )
    UPDATE archon_tasks
       SET archived = true, archived_at = now(), archived_by = $2, updated_at = now(), lease_holder = NULL,
           lease_by = NULL, lease_seconds = NULL, lease_until = NULL,
           status = CASE WHEN lease_until IS NOT NULL AND status = 'doing' THEN 'todo' ELSE status END
     WHERE id IN (SELECT id FROM family) AND archived IS NOT TRUE
    RETURNING id, project_id
"""

# The sub-tasks that went in the same moment come back; those that were archived on their own stay so.
_RESTORE = """
    WITH RECURSIVE family AS (
        SELECT id, archived_at FROM archon_tasks WHERE id = $1
        UNION
        SELECT task.id, family.archived_at
          FROM archon_tasks AS task JOIN family ON task.parent_task_id = family.id
    )
    UPDATE archon_tasks AS task
       SET archived = false, archived_at = NULL, archived_by = NULL, updated_at = now()
      FROM family
     WHERE task.id = family.id AND archived AND task.archived_at IS NOT DISTINCT FROM family.archived_at
    RETURNING task.id, task.project_id
"""

_STATE = """
    SELECT COALESCE(archived, false) AS archived,
           EXISTS (SELECT FROM archon_projects WHERE id = project_id AND archived) AS with_its_project
      FROM archon_tasks WHERE id = $1 AND ($2::uuid IS NULL OR project_id = $2) FOR UPDATE
"""

_DEFAULTS = {
    "description": "",
    "status": "todo",
    "assignee": "User",
    "task_order": 0,
    "priority": "medium",
    "sources": "[]",
    "code_examples": "[]",
}
Moved: TypeAlias = list[asyncpg.Record]
_LISTS = ("sources", "code_examples")
_NO_PARENT = (
    "parent_task_id: must be a task in the same project that is not archived and no part of this one."
)


class Reference(Described):
    """Where to read about a task."""

    model_config = ConfigDict(extra="forbid")

    url: Text
    """Address or path of it."""
    type: Text = ""
    """What it is, such as documentation."""
    relevance: Text = ""
    """What it is good for here."""


class CodeExample(Described):
    """Code that shows how a task may be done."""

    model_config = ConfigDict(extra="forbid")

    file: Text
    """The file it is in."""
    function: Text = ""
    """The function or class in it."""
    purpose: Text = ""
    """What it shows."""


_CHANGEABLE = (
    *("title", "description", "status", "assignee", "task_order", "priority", "feature"),
    *("parent_task_id", "sources", "code_examples"),
)
"""What update may change, in the order of its statement."""


class ManageTask(Repeatable):
    """The arguments of `manage_task`."""

    may_be_empty = frozenset({"description", "feature"})
    needs: ClassVar = {"create": ("project_id", "title")} | dict.fromkeys(
        ("update", "delete", "undelete"), ("task_id",)
    )
    changeable = _CHANGEABLE

    action: Literal["create", "update", "delete", "undelete", "claim"]
    """create (needs project_id and title); update (needs task_id and a field to change); delete (archives the
    task and its sub-tasks; needs task_id); undelete (brings them back; needs task_id); claim (takes the
    next task in todo for you: critical before low, then the highest task_order, then the oldest; of
    project_id if given)."""
    task_id: Id | None = None
    """UUID of the task; for update, delete and undelete."""
    project_id: Id | None = None
    """UUID of the project; for update, delete and undelete, if given, the task must be in it."""
    title: Name | None = None
    """What is to be done, in a line."""
    description: LongText | None = None
    """What exactly, and when it counts as done."""
    status: Status | None = None
    """Where the task stands; todo when created without one."""
    assignee: Name | None = None
    """Who does it: "User", "Archon" or any agent's name; "User" when not given."""
    task_order: int | None = Field(None, ge=0, le=1_000_000)
    """Place in the list, usually 0 to 100. Created above 0, it moves those behind it by one."""
    priority: Priority | None = None
    """How much it matters; medium when created without one."""
    feature: Text | None = None
    """Name of the feature it belongs to."""
    parent_task_id: Id | None = None
    """UUID of the task in the same project that this one is a part of."""
    sources: Annotated[list[Reference], BeforeValidator(unpacked)] | None = Field(None, max_length=50)
    """What to read for it."""
    code_examples: Annotated[list[CodeExample], BeforeValidator(unpacked)] | None = Field(None, max_length=50)
    """Code to look at for it."""
    lease_seconds: int = Field(900, ge=1, le=86_400)
    """For claim: after so many seconds without a change by its holder the task goes back to todo."""


class TaskChanged(Success):
    """A task after create or update."""

    task: TaskItem
    task_id: UUID
    message: str


async def manage_task(archon: Archon, given: ManageTask) -> TaskChanged | TaskClaimed | Done | Failure:
    """Creates, updates, deletes or claims a task. The way of a task is todo, doing, review, done. Deleting
    archives it, with its sub-tasks: it is no longer listed but still shown by its id, and undelete brings
    it back. Of several agents that claim, each gets a task of its own, in doing, with a lease that every
    change by its holder renews.
    """
    match given.action:
        case "create":
            return await _create(archon, given)
        case "update":
            return await _update(archon, given)
        case "delete" | "undelete":
            return await _move(archon, given)
        case "claim":
            return await claim(archon, given.project_id, given.assignee, given.lease_seconds)
        case _:
            assert_never(given.action)


async def _create(archon: Archon, given: ManageTask) -> TaskChanged | Failure:
    async def make(connection: Connection) -> TaskChanged | Failure:
        # Creates at a position take turns, so that the second sees where the first put its task.
        if (given.task_order or given.parent_task_id) and not await lock(connection, given.project_id):
            return not_found("project", given.project_id)
        parent = given.parent_task_id
        if parent and not await connection.fetch(_ABOVE, parent, given.project_id):
            return invalid(_NO_PARENT)
        values = [_DEFAULTS.get(name) if value is None else value for name, value in _fields(given).items()]
        row = await connection.fetchrow(_CREATE, given.project_id, *values, actor())
        return not_found("project", given.project_id) if row is None else _changed(row, "created")

    answer = await once(archon.pool, given, TaskChanged, make)
    if isinstance(answer, TaskChanged):
        await archon.changed([project_address(given.project_id), task_address(answer.task_id)])
    return answer


def _fields(given: ManageTask) -> dict[str, Any]:
    """What the arguments say about a task, in the order of the statements."""
    fields = given.model_dump(include={*_CHANGEABLE})
    packed = {name: json.dumps(fields[name]) for name in _LISTS if fields[name] is not None}
    return {name: packed.get(name, fields[name]) for name in _CHANGEABLE}


async def _update(archon: Archon, given: ManageTask) -> TaskChanged | Failure:
    async with archon.pool.acquire() as connection, connection.transaction():
        row = await _change(connection, given)
    if isinstance(row, Failure):
        return row
    await archon.changed([task_address(row["id"]), project_address(row["project_id"])])
    return _changed(row, "updated")


async def _change(connection: Connection, given: ManageTask) -> asyncpg.Record | Failure:
    """Change the row and write down what it was before."""
    before = await connection.fetchrow(_BEFORE, given.task_id, given.project_id)
    if before is None:
        return _no_task(given)
    if given.parent_task_id is not None:
        await lock(connection, before["project_id"])  # so that two such changes do not close a circle
        above = await connection.fetch(_ABOVE, given.parent_task_id, before["project_id"])
        if not above or any(row["id"] == before["id"] for row in above):
            return invalid(_NO_PARENT)
    who, lease, fields = actor(), _lease_after(before, given), _fields(given)
    (row,) = await connection.fetch(_UPDATE, before["id"], *fields.values(), who, lease)
    if given.status == "done" and before["status"] != "done" and row["completed_by"] != who:
        await connection.execute(_COMPLETED_BY, before["id"], who)
    await _write_down(connection, before, {name: new for name, new in fields.items() if new is not None}, who)
    return row


async def _write_down(
    connection: Connection, before: asyncpg.Record, given: dict[str, Any], who: str
) -> None:
    """Keep the history and the versions of the fields that are not what they were."""
    lines, former = [], {}
    for name, new in given.items():
        old = as_list(before[name]) if name in _LISTS else before[name]
        if old != (json.loads(new) if name in _LISTS else new):
            lines.append(Change(before["id"], name, _text(before[name]), _text(new)))
            if name in VERSIONED:
                former[name] = old
    await record(connection, lines, by=who)
    await keep_versions(connection, before["id"], former, by=who)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _lease_after(before: asyncpg.Record, given: ManageTask) -> Literal["stays", "renewed", "ends"]:
    """What a change does to the lease: its holder's renews it, moving or handing on the task ends it."""
    if before["lease_until"] is None:
        return "stays"
    if given.status not in (None, "doing") or given.assignee not in (None, before["assignee"]):
        return "ends"
    by_its_holder = before["lease_by"] == identity() or before["lease_holder"] == given.assignee
    return "renewed" if by_its_holder else "stays"


def _changed(row: asyncpg.Record, done: str) -> TaskChanged:
    task = TaskItem.from_row(row)
    return TaskChanged(task=task, task_id=task.id, message=f"Task {done}.")


async def _delete(connection: Connection, given: ManageTask, state: asyncpg.Record) -> Moved | Failure:
    if state["archived"]:
        return conflict("The task is archived already.")
    rows = await connection.fetch(_ARCHIVE, given.task_id, actor())
    await record(connection, [Change(row["id"], "archived", "false", "true") for row in rows], by=actor())
    return rows


async def _undelete(connection: Connection, given: ManageTask, state: asyncpg.Record) -> Moved | Failure:
    if not state["archived"]:
        return conflict("The task is not archived.")
    if state["with_its_project"]:
        return conflict("The task's project is archived: unarchive the project.")
    rows = await connection.fetch(_RESTORE, given.task_id)
    await record(connection, [Change(row["id"], "archived", "true", "false") for row in rows], by=actor())
    return rows


async def _move(archon: Archon, given: ManageTask) -> Done | Failure:
    """Archive a task with its sub-tasks, or bring them back."""
    move, done = (_delete, "archived") if given.action == "delete" else (_undelete, "restored")
    async with archon.pool.acquire() as connection, connection.transaction():
        state = await connection.fetchrow(_STATE, given.task_id, given.project_id)
        moved = _no_task(given) if state is None else await move(connection, given, state)
    if isinstance(moved, Failure):
        return moved
    projects = {row["project_id"] for row in moved}
    await archon.changed([*map(project_address, projects), *(task_address(row["id"]) for row in moved)])
    others = f", with {len(moved) - 1} sub-tasks" if len(moved) > 1 else ""
    return Done(message=f"Task {done}{others}.")


def _no_task(given: ManageTask) -> Failure:
    where = f" in the project {given.project_id}" if given.project_id else ""
    return not_found(f"task{where}", given.task_id)


TOOLS = (tool(manage_task, "Manage a task", CHANGES),)
