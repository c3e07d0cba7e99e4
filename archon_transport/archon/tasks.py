"""`find_tasks` and `manage_task`: the tasks of Archon's projects.

Deleting a task archives it, with its sub-tasks; nothing is lost. A task that is created at a position
(`task_order` above 0) moves the tasks of the same project and status that stand there or behind it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import asyncpg
from pydantic import BaseModel, Field

from .answers import Done, Failure, JsonList, Success, conflict, invalid, not_found, shorten
from .context import Archon, actor
from .listing import Listing, Page, Where, fetch_page
from .registry import CHANGES, READS, Tool
from .schemas import Arguments, Id, LongText, Name, Text

Status = Literal["todo", "doing", "review", "done"]
STATUSES: tuple[Status, ...] = ("todo", "doing", "review", "done")

_PLAIN = """
    id, project_id, title, description, status::text AS status, assignee,
    COALESCE(task_order, 0) AS task_order, priority::text AS priority, feature, created_at, updated_at,
    COALESCE(archived, false) AS archived
"""

_LISTED = f"""
    {_PLAIN},
    CASE WHEN jsonb_typeof(sources) = 'array' THEN jsonb_array_length(sources) ELSE 0 END AS sources_count,
    CASE WHEN jsonb_typeof(code_examples) = 'array' THEN jsonb_array_length(code_examples) ELSE 0 END
        AS code_examples_count
"""

_FIND_ONE = f"""
    SELECT {_PLAIN}, parent_task_id, sources::text AS sources, code_examples::text AS code_examples,
           archived_at, archived_by, completed_at, completed_by
      FROM archon_tasks WHERE id = $1
"""

# Creates at a position in one project take turns, so that the second sees where the first put its task.
# It is a weaker lock than any change of the project's key needs: plain creates do not wait for it.
_LOCK_PROJECT = "SELECT FROM archon_projects WHERE id = $1 FOR NO KEY UPDATE"

_CREATE = f"""
    WITH moved AS (
        UPDATE archon_tasks SET task_order = task_order + 1, updated_at = now()
         WHERE $6 > 0 AND project_id = $1 AND status = $4::text::task_status AND task_order >= $6
           AND archived IS NOT TRUE
    )
    INSERT INTO archon_tasks (project_id, title, description, status, assignee, task_order, priority,
                              feature, completed_at, completed_by)
    SELECT id, $2, $3, $4::text::task_status, $5, $6, $7::text::task_priority, $8,
           CASE WHEN $4 = 'done' THEN now() END, CASE WHEN $4 = 'done' THEN $9 END
      FROM archon_projects WHERE id = $1
    RETURNING {_LISTED}
"""

_UPDATE = f"""
    UPDATE archon_tasks
       SET title = COALESCE($3, title), description = COALESCE($4, description),
           status = COALESCE($5::text::task_status, status), assignee = COALESCE($6, assignee),
           task_order = COALESCE($7, task_order), priority = COALESCE($8::text::task_priority, priority),
           feature = COALESCE($9, feature), updated_at = now(),
           completed_at = CASE WHEN $5 IS NULL OR (status = 'done' AND $5 = 'done') THEN completed_at
                               WHEN $5 = 'done' THEN now() END,
           completed_by = CASE WHEN $5 IS NULL OR (status = 'done' AND $5 = 'done') THEN completed_by
                               WHEN $5 = 'done' THEN $10 END
     WHERE id = $1 AND ($2::uuid IS NULL OR project_id = $2)
    RETURNING {_LISTED}
"""

# Only what is not archived yet is taken along, so that each task keeps the moment it really went.
_ARCHIVE = """
    WITH RECURSIVE family AS (
        SELECT id FROM archon_tasks WHERE id = $1 AND ($2::uuid IS NULL OR project_id = $2)
        UNION
        SELECT task.id FROM archon_tasks AS task JOIN family ON task.parent_task_id = family.id
    )
    UPDATE archon_tasks SET archived = true, archived_at = now(), archived_by = $3, updated_at = now()
     WHERE id IN (SELECT id FROM family) AND archived IS NOT TRUE
       AND (SELECT archived IS NOT TRUE FROM archon_tasks WHERE id = $1)
    RETURNING id
"""

_EXISTS = """
    SELECT EXISTS (SELECT FROM archon_tasks WHERE id = $1 AND ($2::uuid IS NULL OR project_id = $2))
"""


class TaskFields(BaseModel):
    """What a task shows in a list and alone."""

    id: UUID
    project_id: UUID | None
    title: str
    description: str | None
    status: str | None
    assignee: str | None
    task_order: int
    priority: str
    feature: str | None
    created_at: datetime | None
    updated_at: datetime | None
    archived: bool


class Task(TaskFields):
    """A whole task."""

    parent_task_id: UUID | None
    sources: JsonList
    code_examples: JsonList
    archived_at: datetime | None
    archived_by: str | None
    completed_at: datetime | None
    completed_by: str | None


class TaskStats(BaseModel):
    """How much there is to a task that a list does not show."""

    sources_count: int
    code_examples_count: int


class TaskItem(TaskFields):
    """A task in a list: its description cut to 1000 characters."""

    stats: TaskStats

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> TaskItem:
        """From a row of `_LISTED`."""
        stats = TaskStats(**row)
        return cls(**{**row, "description": shorten(row["description"])}, stats=stats)


class FindTasks(Listing):
    """The arguments of `find_tasks`."""

    task_id: Id | None = Field(None, description="UUID of the one task to show whole.")
    filter_by: Literal["status", "project", "assignee"] | None = Field(
        None, description="What filter_value is compared with; needs filter_value."
    )
    filter_value: Text | None = Field(
        None,
        description="A status (todo, doing, review, done), a project's UUID, or an assignee's exact name.",
    )
    project_id: Id | None = Field(None, description="UUID of a project: only its tasks.")
    include_closed: bool = Field(
        True, description="Whether tasks that are done are listed; a filter by status overrides it."
    )


class FoundTask(Success):
    """One task."""

    task: Task


class FoundTasks(Page):
    """A page of tasks."""

    tasks: list[TaskItem]
    total_count: int = Field(description="Tasks on all pages.")


async def find_tasks(archon: Archon, arguments: FindTasks) -> Success | Failure:
    """One task by its id, or a page of those that are not archived, in their order."""
    if arguments.task_id is not None:
        row = await archon.pool.fetchrow(_FIND_ONE, arguments.task_id)
        if row is None:
            return not_found("task", arguments.task_id)
        return FoundTask(task=Task(**row))
    where = _conditions(arguments)
    if isinstance(where, Failure):
        return where
    rows, total = await fetch_page(
        archon.pool, _LISTED, "archon_tasks", where, "task_order, created_at, id", arguments
    )
    return FoundTasks(
        tasks=[TaskItem.from_row(row) for row in rows],
        total_count=total,
        **arguments.place(count=len(rows), total=total),
    )


def _conditions(given: FindTasks) -> Where | Failure:
    """What selects the tasks of a list, or what is wrong with the filter."""
    where = Where(["archived IS NOT TRUE"])
    if given.project_id is not None:
        where.add("project_id = {value}", given.project_id)
    if problem := _add_filter(where, given.filter_by, given.filter_value):
        return invalid(problem)
    if not given.include_closed and given.filter_by != "status":
        where.conditions.append("status IS DISTINCT FROM 'done'")
    where.add_words("title, description, feature", given.query)
    return where


def _add_filter(where: Where, filter_by: str | None, value: str | None) -> str | None:
    """Add what `filter_by` and `filter_value` say together; the answer is what is wrong with them."""
    if filter_by is None or value is None:
        if filter_by is value:
            return None
        needed, given = ("filter_value", "filter_by") if value is None else ("filter_by", "filter_value")
        return f"{needed}: is required with {given}."
    if filter_by == "status":
        if value not in STATUSES:
            return f"filter_value: must be one of {', '.join(STATUSES)} with filter_by status."
        where.add("status = {value}::text::task_status", value)
    elif filter_by == "assignee":
        where.add("assignee = {value}", value)
    else:
        try:
            where.add("project_id = {value}", UUID(value))
        except ValueError:
            return "filter_value: must be a project's UUID with filter_by project."
    return None


class ManageTask(Arguments):
    """The arguments of `manage_task`."""

    may_be_empty = frozenset({"description", "feature"})

    action: Literal["create", "update", "delete"] = Field(
        description=(
            "create (needs project_id and title); update (needs task_id and a field to change); delete "
            "(archives the task and its sub-tasks; needs task_id)."
        )
    )
    task_id: Id | None = Field(None, description="UUID of the task; for update and delete.")
    project_id: Id | None = Field(
        None, description="UUID of the project; for update and delete, if given, the task must be in it."
    )
    title: Name | None = Field(None, description="What is to be done, in a line.")
    description: LongText | None = Field(None, description="What exactly, and when it counts as done.")
    status: Status | None = Field(None, description="Where the task stands; todo when created without one.")
    assignee: Name | None = Field(
        None, description='Who does it: "User", "Archon" or any agent\'s name; "User" when not given.'
    )
    task_order: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Place in the list, usually 0 to 100. Created above 0, it moves those behind it by one.",
    )
    priority: Literal["low", "medium", "high", "critical"] | None = Field(
        None, description="How much it matters; medium when created without one."
    )
    feature: Text | None = Field(None, description="Name of the feature it belongs to.")


class TaskChanged(Success):
    """A task after create or update."""

    task: TaskItem
    task_id: UUID
    message: str


async def manage_task(archon: Archon, arguments: ManageTask) -> Success | Failure:
    """Create, change or archive a task."""
    if arguments.action == "create":
        return await _create(archon.pool, arguments)
    if arguments.task_id is None:
        return invalid(f"task_id: is required for {arguments.action}.")
    match arguments.action:
        case "update":
            return await _update(archon.pool, arguments.task_id, arguments)
        case "delete":
            return await _delete(archon.pool, arguments.task_id, arguments.project_id)
        case _:
            assert_never(arguments.action)


async def _create(pool: asyncpg.Pool, given: ManageTask) -> Success | Failure:
    missing = [name for name in ("project_id", "title") if getattr(given, name) is None]
    if missing:
        return invalid("; ".join(f"{name}: is required for create" for name in missing) + ".")
    values = (
        given.project_id,
        given.title,
        given.description or "",
        given.status or "todo",
        given.assignee or "User",
        given.task_order or 0,
        given.priority or "medium",
        given.feature,
        actor(),
    )
    async with pool.acquire() as connection, connection.transaction():
        if given.task_order:
            await connection.execute(_LOCK_PROJECT, given.project_id)
        row = await connection.fetchrow(_CREATE, *values)
    return not_found("project", given.project_id) if row is None else _changed(row, "created")


async def _update(pool: asyncpg.Pool, task_id: UUID, given: ManageTask) -> Success | Failure:
    fields = (
        given.title,
        given.description,
        given.status,
        given.assignee,
        given.task_order,
        given.priority,
        given.feature,
    )
    if all(value is None for value in fields):
        return invalid(
            "Nothing to change: give title, description, status, assignee, task_order, priority or feature."
        )
    row = await pool.fetchrow(_UPDATE, task_id, given.project_id, *fields, actor())
    return _no_task(task_id, given.project_id) if row is None else _changed(row, "updated")


def _changed(row: asyncpg.Record, done: str) -> TaskChanged:
    task = TaskItem.from_row(row)
    return TaskChanged(task=task, task_id=task.id, message=f"Task {done}.")


async def _delete(pool: asyncpg.Pool, task_id: UUID, project_id: UUID | None) -> Success | Failure:
    rows = await pool.fetch(_ARCHIVE, task_id, project_id, actor())
    if any(row["id"] == task_id for row in rows):
        others = f", with {len(rows) - 1} sub-tasks" if len(rows) > 1 else ""
        return Done(message=f"Task archived{others}.")
    if await pool.fetchval(_EXISTS, task_id, project_id):
        return conflict("The task is archived already.")
    return _no_task(task_id, project_id)


def _no_task(task_id: UUID, project_id: UUID | None) -> Failure:
    return not_found("task" if project_id is None else f"task in the project {project_id}", task_id)


TOOLS = (
    Tool(
        name="find_tasks",
        title="Find tasks",
        description=(
            "Lists tasks in their order, or shows one whole when `task_id` is given. Filters and `query` "
            "apply together; archived (deleted) tasks are not listed. Descriptions in a list are cut to "
            "1000 characters."
        ),
        arguments=FindTasks,
        answers=(FoundTask, FoundTasks),
        annotations=READS,
        handler=find_tasks,
        replaces={"list_tasks": "find_tasks()", "get_task": 'find_tasks(task_id="...")'},
    ),
    Tool(
        name="manage_task",
        title="Manage a task",
        description=(
            "Creates, updates or deletes a task. The way of a task is todo, doing, review, done. Deleting "
            "archives it, with its sub-tasks: it is no longer listed but still shown by its id."
        ),
        arguments=ManageTask,
        answers=(TaskChanged, Done),
        annotations=CHANGES,
        handler=manage_task,
        replaces={
            "create_task": 'manage_task(action="create", project_id="...", title="...")',
            "update_task": 'manage_task(action="update", task_id="...", ...)',
            "delete_task": 'manage_task(action="delete", task_id="...")',
        },
    ),
)
