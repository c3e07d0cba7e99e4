"""The `claim` of `manage_task`: the next task for one of several agents, never the same one for two.

The most urgent waiting task is taken, then the one with the highest `task_order`, then the oldest. The row
is locked while it is taken and locked rows are skipped, so agents do not wait for each other.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from .answers import Done, Failure, Success, not_found
from .context import Archon, actor, identity, project_address, task_address
from .history import Change, record
from .leases import expire
from .rows import exists
from .tasks import LISTED, TaskItem

_TAKE = f"""
    WITH next AS (
        SELECT id AS next_id, assignee AS old_assignee FROM archon_tasks
         WHERE status = 'todo' AND archived IS NOT TRUE {{within}}
         ORDER BY priority DESC, COALESCE(task_order, 0) DESC, created_at, id
         LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE archon_tasks
       SET status = 'doing', assignee = $1, lease_holder = $2, lease_by = $3, lease_seconds = $4::int,
           lease_until = now() + make_interval(secs => $4::int), updated_at = now()
      FROM next WHERE id = next_id
    RETURNING {LISTED}, old_assignee, lease_until
"""
_TAKE_ANY = _TAKE.format(within="")
_TAKE_IN_PROJECT = _TAKE.format(within="AND project_id = $5")


class TaskClaimed(Success):
    """What claim answers when there was a task; its description is whole."""

    task: TaskItem
    task_id: UUID
    message: str
    lease_holder: str
    lease_until: datetime
    """When it goes back to todo unless its holder changes the task before."""


async def claim(
    archon: Archon, project_id: UUID | None, assignee: str | None, lease_seconds: int
) -> TaskClaimed | Done | Failure:
    """Take the next waiting task, of one project or of any, for the caller."""
    await expire(archon)
    holder, who = assignee or identity(), assignee or actor()
    within = () if project_id is None else (project_id,)
    take = _TAKE_IN_PROJECT if within else _TAKE_ANY
    async with archon.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(take, who, holder, identity(), lease_seconds, *within)
        if row is None:
            if within and not await exists(connection, "project", project_id):
                return not_found("project", project_id)
            return Done(message="No task is waiting in todo.")
        lines = [Change(row["id"], "status", "todo", "doing", f"Claimed by {holder}.")]
        if row["old_assignee"] != who:
            lines.append(Change(row["id"], "assignee", row["old_assignee"], who))
        await record(connection, lines, by=actor())
    await archon.changed([task_address(row["id"]), project_address(row["project_id"])])
    task = TaskItem.from_row(row).model_copy(update={"description": row["description"]})
    return TaskClaimed(
        task=task,
        task_id=task.id,
        message=f"Task claimed for {lease_seconds} seconds.",
        lease_holder=holder,
        lease_until=row["lease_until"],
    )
