"""`find_tasks`, and what a task looks like in answers.

A list shows a task's description cut and its sources and code examples counted; one task alone is shown
whole. How tasks are made, changed and claimed is in `task_changes` and `claims`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import asyncpg

from .answers import Described, Failure, JsonList, invalid, not_found, shorten
from .content import Reading
from .context import Archon
from .leases import expire
from .listing import Alone, Listing, Lists, Page, Where, alone
from .registry import READS, tool
from .schemas import Id, Text

Status = Literal["todo", "doing", "review", "done"]
Priority = Literal["low", "medium", "high", "critical"]

_PLAIN = """
    id, project_id, title, description, status::text AS status, assignee,
    COALESCE(task_order, 0) AS task_order, priority::text AS priority, feature, created_at, updated_at,
    COALESCE(archived, false) AS archived
"""

LISTED = f"""
    {_PLAIN},
    CASE WHEN jsonb_typeof(sources) = 'array' THEN jsonb_array_length(sources) ELSE 0 END AS sources_count,
    CASE WHEN jsonb_typeof(code_examples) = 'array' THEN jsonb_array_length(code_examples) ELSE 0 END
        AS code_examples_count
"""
"""The columns of a `TaskItem`."""

_TASKS = Lists(LISTED, "archon_tasks", "task_order, created_at, id")
_FILTERS = {
    "status": "status = {value}::text::task_status",
    "project": "project_id = {value}",
    "assignee": "assignee = {value}",
}

_FIND_ONE = f"""
    SELECT {_PLAIN}, parent_task_id, sources::text AS sources, code_examples::text AS code_examples,
           archived_at, archived_by, completed_at, completed_by, lease_holder, lease_until
      FROM archon_tasks WHERE id = $1
"""


class TaskFields(Described):
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
    lease_holder: str | None
    """Who claimed it."""
    lease_until: datetime | None
    """When it goes back to todo without a sign of life."""


class TaskStats(Described):
    """How much there is to a task that a list does not show."""

    sources_count: int
    code_examples_count: int


class TaskItem(TaskFields):
    """A task in a list: its description cut to 1000 characters."""

    stats: TaskStats

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> TaskItem:
        """From a row of `LISTED`."""
        stats = TaskStats(**row)
        return cls(**{**row, "description": shorten(row["description"])}, stats=stats)


class FindTasks(Listing, Reading):
    """The arguments of `find_tasks`."""

    item = TaskItem

    task_id: Id | None = None
    """UUID of the one task to show whole."""
    filter_by: Literal["status", "project", "assignee"] | None = None
    """What filter_value is compared with; needs filter_value."""
    filter_value: Text | None = None
    """A status (todo, doing, review, done), a project's UUID, or an assignee's exact name."""
    project_id: Id | None = None
    """UUID of a project: only its tasks."""
    include_closed: bool = True
    """Whether tasks that are done are listed; a filter by status overrides it."""


class FoundTask(Alone):
    """One task."""

    task: Task


class FoundTasks(Page):
    """A page of tasks."""

    tasks: list[TaskItem]
    total_count: int
    """Tasks on all pages."""


async def find_tasks(archon: Archon, given: FindTasks) -> FoundTask | FoundTasks | Failure:
    """Lists tasks in their order, or shows one whole when `task_id` is given. Filters and `query` apply
    together; archived (deleted) tasks are not listed. Descriptions in a list are cut to 1000 characters;
    that of one task is shown from `offset`, at most `limit` characters of it.
    """
    if problem := _filter_problem(given.filter_by, given.filter_value):
        return invalid(problem)
    await expire(archon)
    if given.task_id is not None:
        task = await find_task(archon, given.task_id)
        return FoundTask(**alone(task, given), task=task) if task else not_found("task", given.task_id)
    where = Where(["archived IS NOT TRUE"])
    where.add("project_id = {value}", given.project_id)
    if given.filter_by is not None:
        as_uuid = given.filter_by == "project" and given.filter_value
        where.add(_FILTERS[given.filter_by], UUID(as_uuid) if as_uuid else given.filter_value)
    if not given.include_closed and given.filter_by != "status":
        where.conditions.append("status IS DISTINCT FROM 'done'")
    where.add_words("title, description, feature", given.query)
    rows, place = await _TASKS.page(archon.pool, where, given, slow=given.query is not None)
    return FoundTasks(tasks=[TaskItem.from_row(row) for row in rows], total_count=place["total"], **place)


async def find_task(archon: Archon, task_id: UUID) -> Task | None:
    """A whole task by its id."""
    row = await archon.pool.fetchrow(_FIND_ONE, task_id)
    return Task(**row) if row else None


def _filter_problem(filter_by: str | None, value: str | None) -> str | None:
    """What is wrong with `filter_by` and `filter_value` together."""
    if filter_by is None or value is None:
        if filter_by is value:
            return None
        needed, given = ("filter_value", "filter_by") if value is None else ("filter_by", "filter_value")
        return f"{needed}: is required with {given}."
    if filter_by == "status" and value not in get_args(Status):
        return f"filter_value: must be one of {', '.join(get_args(Status))} with filter_by status."
    if filter_by == "project":
        try:
            UUID(value)
        except ValueError:
            return "filter_value: must be a project's UUID with filter_by project."
    return None


TOOLS = (tool(find_tasks, "Find tasks", READS),)
