"""What became of a task: `get_task_history`, `get_task_versions` and `get_completion_stats`.

Every change of a task leaves a line per field with who made it, and the four fields that hold text or
lists leave what they were before as a version. Some databases have Archon's own trigger, which writes
lines too and names the assignee as their author: `record` corrects those and adds only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import asyncpg
from pydantic import BeforeValidator, Field

from .answers import Described, Failure, Success, not_found
from .budget import room_for
from .context import Archon, Connection
from .registry import READS, tool
from .rows import exists
from .schemas import Arguments, Id

SHOWN = 500
"""Characters of a value in a line of history, as Archon's trigger keeps; versions keep the whole."""

Versioned = Literal["title", "description", "sources", "code_examples"]
VERSIONED = get_args(Versioned)
"""The fields whose former values are kept as versions."""

# What this transaction has written is what the trigger has written, as ours comes after it.
_RECORD = """
    WITH change AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
            AS change (task_id, field_name, old_value, new_value, change_reason)
    ), triggered AS (
        UPDATE archon_task_history AS line
           SET changed_by = $6, change_reason = COALESCE(change.change_reason, line.change_reason)
          FROM change
         WHERE line.task_id = change.task_id AND line.field_name = change.field_name
           AND line.xmin = pg_current_xact_id()::xid
        RETURNING line.task_id, line.field_name
    )
    INSERT INTO archon_task_history
           (task_id, field_name, old_value, new_value, change_reason, changed_by, changed_at)
    SELECT change.*, $6, clock_timestamp() FROM change
     WHERE (task_id, field_name) NOT IN (SELECT task_id, field_name FROM triggered)
"""

_KEEP_VERSIONS = """
    INSERT INTO archon_document_versions
           (task_id, field_name, version_number, content, change_type, created_by, created_at)
    SELECT $1, kept.field_name, 1 + COALESCE(
               (SELECT max(version_number) FROM archon_document_versions AS version
                 WHERE version.task_id = $1 AND version.field_name = kept.field_name), 0),
           kept.content, 'update', $4, clock_timestamp()
      FROM unnest($2::text[], $3::jsonb[]) AS kept (field_name, content)
"""

_LINES = """
    SELECT id, field_name, old_value, new_value, changed_by, changed_at, change_reason,
           count(*) OVER () AS total
      FROM archon_task_history WHERE task_id = $1 AND ($2::text IS NULL OR field_name = $2)
     ORDER BY changed_at DESC, id LIMIT $3
"""

_VERSIONS = """
    SELECT id, field_name, version_number, content::text AS content, change_type, change_summary, created_by,
           created_at, count(*) OVER () AS total
      FROM archon_document_versions WHERE task_id = $1 AND ($2::text IS NULL OR field_name = $2)
     ORDER BY created_at DESC, version_number DESC LIMIT $3
"""

_STATS = """
    SELECT count(*) AS total_tasks, count(*) FILTER (WHERE status = 'done') AS completed_tasks,
           count(*) FILTER (WHERE status IN ('doing', 'review')) AS in_progress_tasks,
           COALESCE(round(100.0 * count(*) FILTER (WHERE status = 'done') / NULLIF(count(*), 0), 2), 0)::float
               AS completion_rate,
           round((avg(extract(epoch FROM completed_at - created_at)) FILTER (WHERE status = 'done') / 3600)
                 ::numeric, 2)::float AS avg_completion_time_hours
      FROM archon_tasks WHERE archived IS NOT TRUE AND ($1::uuid IS NULL OR project_id = $1)
"""

_COMPLETED = """
    SELECT id, project_id, title, assignee, feature, completed_at, completed_by, count(*) OVER () AS total
      FROM archon_tasks
     WHERE completed_at > now() - make_interval(days => $2) AND status = 'done' AND archived IS NOT TRUE
       AND ($1::uuid IS NULL OR project_id = $1)
     ORDER BY completed_at DESC, id LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one task became another."""

    task_id: UUID
    field_name: str
    old_value: str | None
    new_value: str | None
    reason: str | None = None


async def record(connection: Connection, changes: Sequence[Change], *, by: str) -> None:
    """Write the history of what this transaction changed, once for each task, after changing it."""
    if changes:
        columns = list(zip(*map(astuple, changes), strict=True))
        shown = [[value and value[:SHOWN] for value in column] for column in columns[2:4]]
        await connection.execute(_RECORD, *columns[:2], *shown, columns[4], by)


async def keep_versions(connection: Connection, task_id: UUID, former: Mapping[str, Any], *, by: str) -> None:
    """Keep former values of versioned fields; the caller holds the task's row lock, so numbers are unique."""
    if former:
        values = [json.dumps(value) for value in former.values()]
        await connection.execute(_KEEP_VERSIONS, task_id, list(former), values, by)


class Newest(Success):
    """The newest of something, as many as were asked for and fit into one answer."""

    count: int
    """How many of them are in this answer."""

    def content(self) -> dict[str, Any]:
        """The answer with no more items than one answer holds."""
        content = super().content()
        (key,) = (key for key, value in content.items() if isinstance(value, list))
        kept = room_for(content, key)
        if not 0 < kept < self.count:
            return content
        note = f"Only the newest {kept} of {self.count} fit into one answer."
        return {**content, key: content[key][:kept], "count": kept, "note": note}


class OfTask(Newest):
    """The newest of what became of a task."""

    task_id: UUID
    field_filter: str | None
    total: int
    """How many there are in all."""


HistoryField = Literal[
    Versioned, "status", "assignee", "priority", "task_order", "feature", "parent_task_id", "archived"
]


class HistoryLine(Described):
    """One field of a task became another."""

    id: UUID
    field_name: str
    old_value: str | None
    """At most 500 characters of it."""
    new_value: str | None
    """At most 500 characters of it."""
    changed_by: str | None
    changed_at: datetime | None
    change_reason: str | None


class GetTaskHistory(Arguments):
    """The arguments of `get_task_history`."""

    task_id: Id
    """UUID of the task."""
    field_name: HistoryField | None = None
    """Only changes of this field."""
    limit: int = Field(50, ge=1, le=200)
    """The newest so many, at most 200."""


class TaskHistory(OfTask):
    """What `get_task_history` answers."""

    changes: list[HistoryLine]


async def get_task_history(archon: Archon, given: GetTaskHistory) -> TaskHistory | Failure:
    """Every change of a task, the newest first: which field, from what to what, who made it and when. A lease
    that ran out is in it too.
    """
    rows, about = await _newest(archon, _LINES, given)
    if about is None:
        return not_found("task", given.task_id)
    return TaskHistory(changes=[HistoryLine(**row) for row in rows], **about)


class TaskVersion(Described):
    """What a field of a task held before a change."""

    id: UUID
    field_name: str
    version_number: int
    content: Annotated[Any, BeforeValidator(json.loads), Field(description="What the field held.")]
    change_type: str | None
    change_summary: str | None
    created_by: str | None
    """Who made the change."""
    created_at: datetime | None


class GetTaskVersions(Arguments):
    """The arguments of `get_task_versions`."""

    task_id: Id
    """UUID of the task."""
    field_name: Versioned | None = None
    """Only versions of this field."""
    limit: int = Field(10, ge=1, le=100)
    """The newest so many, at most 100."""


class TaskVersions(OfTask):
    """What `get_task_versions` answers."""

    versions: list[TaskVersion]


async def get_task_versions(archon: Archon, given: GetTaskVersions) -> TaskVersions | Failure:
    """What a task's title, description, sources and code examples were before each change, whole, the newest
    first.
    """
    rows, about = await _newest(archon, _VERSIONS, given)
    if about is None:
        return not_found("task", given.task_id)
    return TaskVersions(versions=[TaskVersion(**row) for row in rows], **about)


async def _newest(
    archon: Archon, query: str, given: GetTaskHistory | GetTaskVersions
) -> tuple[list[asyncpg.Record], dict[str, Any] | None]:
    """The rows, and what the answer says about them; None where there is no such task."""
    rows = await archon.pool.fetch(query, given.task_id, given.field_name, given.limit)
    if not rows and not await exists(archon.pool, "task", given.task_id):
        return rows, None
    about = {"task_id": given.task_id, "field_filter": given.field_name}
    return rows, {**about, "count": len(rows), "total": _total(rows)}


def _total(rows: Sequence[asyncpg.Record]) -> int:
    return rows[0]["total"] if rows else 0


class CompletionStats(Described):
    """How far the tasks are, archived ones not counted."""

    total_tasks: int
    completed_tasks: int
    in_progress_tasks: int
    """In doing or review."""
    completion_rate: float
    """Completed tasks in per cent of all."""
    avg_completion_time_hours: float | None
    """From creation to completion."""


class CompletedTask(Described):
    """A task that was completed in the last days."""

    id: UUID
    project_id: UUID | None
    title: str
    assignee: str | None
    feature: str | None
    completed_at: datetime
    completed_by: str | None


class GetCompletionStats(Arguments):
    """The arguments of `get_completion_stats`."""

    project_id: Id | None = None
    """UUID of a project; all projects when not given."""
    days: int = Field(7, ge=1, le=3650)
    """List what was completed in the last so many days."""
    limit: int = Field(50, ge=1, le=200)
    """The newest so many, at most 200."""


class Completion(Newest):
    """What `get_completion_stats` answers."""

    project_id: UUID | None
    days_range: int
    stats: CompletionStats
    """Over all time."""
    recently_completed: list[CompletedTask]
    total: int
    """Tasks completed in these days."""


async def get_completion_stats(archon: Archon, given: GetCompletionStats) -> Completion | Failure:
    """How many tasks there are, how many are done and how long they took, in one project or in all, with the
    tasks completed in the last `days` days.
    """
    async with archon.pool.acquire() as connection:
        if given.project_id and not await exists(connection, "project", given.project_id):
            return not_found("project", given.project_id)
        (stats,) = await connection.fetch(_STATS, given.project_id)
        rows = await connection.fetch(_COMPLETED, given.project_id, given.days, given.limit)
    return Completion(
        project_id=given.project_id,
        days_range=given.days,
        stats=CompletionStats(**stats),
        recently_completed=[CompletedTask(**row) for row in rows],
        count=len(rows),
        total=_total(rows),
    )


TOOLS = (
    tool(get_task_history, "History of a task", READS),
    tool(get_task_versions, "Versions of a task", READS),
    tool(get_completion_stats, "Completion of tasks", READS),
)
