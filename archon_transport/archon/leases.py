"""Leases: a task that was claimed goes back to `todo` when its holder shows no sign of life in time.

A claim and every change by the holder renew the lease. One that ran out is ended by whoever looks next: a
claim, a list, or `expire` called from a timer; the history of the task says whose it was.
"""

from __future__ import annotations

import asyncpg

from .context import Archon, Connection, task_address
from .history import Change, record

_ANY_RAN_OUT = "SELECT EXISTS (SELECT FROM archon_tasks WHERE lease_until < now())"

# A task that another program has moved on stays where it is and only loses its lease.
_END = """
    WITH lapsed AS (
        SELECT id, status AS old_status, lease_holder AS old_holder FROM archon_tasks
         WHERE lease_until < now() ORDER BY lease_until LIMIT 100 FOR UPDATE SKIP LOCKED
    )
    UPDATE archon_tasks AS task
       SET status = CASE WHEN old_status = 'doing' THEN 'todo' ELSE old_status END, updated_at = now(),
           lease_holder = NULL, lease_by = NULL, lease_until = NULL, lease_seconds = NULL
      FROM lapsed WHERE task.id = lapsed.id
    RETURNING task.id, old_status = 'doing' AS returned, old_holder
"""


async def expire(archon: Archon) -> int:
    """End the leases that ran out; how many tasks went back to `todo`."""
    if not await archon.pool.fetchval(_ANY_RAN_OUT):
        return 0
    async with archon.pool.acquire() as connection, connection.transaction():
        returned = await _end(connection)
    await archon.changed([task_address(row["id"]) for row in returned])
    return len(returned)


async def _end(connection: Connection) -> list[asyncpg.Record]:
    returned = [row for row in await connection.fetch(_END) if row["returned"]]
    reasons = [(row["id"], f"The lease of {row['old_holder']} ran out.") for row in returned]
    lines = [Change(task_id, "status", "doing", "todo", reason) for task_id, reason in reasons]
    await record(connection, lines, by="system")
    return returned
