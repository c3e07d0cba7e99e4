"""Where deletions go for 30 days, so that each can be undone.

A document is no row of its own but in its project's column: its JSON is kept. A project is deleted for
real, as Archon does it, and with everything that the database would delete along with it, whichever tables
those are; each row is kept as it stood, and `restore_project` puts all of them back.
"""

from __future__ import annotations

import uuid
from uuid import UUID

import asyncpg

from .context import Connection

_PUT = """
    INSERT INTO archon_trash (deletion, kind, item_id, project_id, title, content, deleted_by)
    VALUES (gen_random_uuid(), 'document', $1, $2, $3, $4::text::jsonb, $5)
"""
_TAKE = """
    DELETE FROM archon_trash WHERE id = (
        SELECT id FROM archon_trash
         WHERE kind = 'document' AND item_id = $1 AND project_id = $2
           AND deleted_at > now() - interval '30 days'
         ORDER BY deleted_at DESC, id DESC LIMIT 1 FOR UPDATE)
    RETURNING content::text
"""

# Rows go from the leaves to the root. What refers to a task goes before the tasks, and so on.
_BELOW = """
    SELECT conrelid::regclass::text AS name, quote_ident(attname) AS reference,
           confrelid = 'archon_tasks'::regclass AS of_tasks
      FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
     WHERE contype = 'f' AND confdeltype = 'c' AND cardinality(conkey) = 1
       AND confrelid IN ('archon_projects'::regclass, 'archon_tasks'::regclass)
       AND conrelid <> 'archon_tasks'::regclass
     ORDER BY of_tasks DESC, name
"""
_DISCARD = """
    WITH gone AS (DELETE FROM {table} WHERE {condition} RETURNING *)
    INSERT INTO archon_trash (deletion, kind, item_id, project_id, title, table_name, content, deleted_by)
    SELECT $2, $3, $1::text, $1, to_jsonb(gone) ->> 'title', $4, to_jsonb(gone), $5 FROM gone
"""
_LOCK_PROJECT = "SELECT FROM archon_projects WHERE id = $1 FOR UPDATE"
_TASKS_OF = "{reference} IN (SELECT id FROM archon_tasks WHERE project_id = $1)"

_NEWEST = """
    SELECT deletion FROM archon_trash
     WHERE kind = 'project' AND item_id = $1 AND deleted_at > now() - interval '30 days'
     ORDER BY deleted_at DESC, id DESC LIMIT 1 FOR UPDATE
"""
_TABLES = """
    SELECT table_name, to_regclass(table_name)::text AS name,
           (SELECT array_agg(quote_ident(attname)) FROM pg_attribute
             WHERE attrelid = to_regclass(table_name) AND attnum > 0 AND NOT attisdropped
               AND attgenerated = '') AS columns
      FROM (SELECT table_name, min(id) AS first FROM archon_trash WHERE deletion = $1 GROUP BY 1) AS found
     WHERE to_regclass(table_name) IS NOT NULL ORDER BY first DESC
"""
_RESTORE = """
    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values}
      FROM archon_trash, jsonb_populate_record(NULL::{table}, archon_trash.content) AS kept
     WHERE deletion = $1 AND table_name = $2
"""
_EMPTY = "DELETE FROM archon_trash WHERE deletion = $1"


async def put_document(
    connection: Connection, project_id: UUID, document: asyncpg.Record, deleted_by: str
) -> None:
    """Keep a document that is deleted in the same transaction: its `id`, its `title` and the `whole` JSON."""
    values = document["id"], project_id, document["title"], document["whole"], deleted_by
    await connection.execute(_PUT, *values)


async def take_document(connection: Connection, project_id: UUID, document_id: str) -> str | None:
    """The JSON of the newest deletion of a document, out of the trash; None when there is none."""
    content: str | None = await connection.fetchval(_TAKE, document_id, project_id)
    return content


async def discard_project(connection: Connection, project_id: UUID, deleted_by: str) -> bool:
    """Delete a project and everything in it, within the caller's transaction; False when it is not there."""
    if await connection.fetchrow(_LOCK_PROJECT, project_id) is None:
        return False
    below = await connection.fetch(_BELOW)
    steps = [(row["name"], _TASKS_OF.format(**row)) for row in below if row["of_tasks"]]
    steps.append(("archon_tasks", "project_id = $1"))
    steps += [(row["name"], f"{row['reference']} = $1") for row in below if not row["of_tasks"]]
    steps.append(("archon_projects", "id = $1"))
    deletion = uuid.uuid4()
    for table, condition in steps:
        kind = "project" if table == "archon_projects" else "row"
        statement = _DISCARD.format(table=table, condition=condition)
        await connection.execute(statement, project_id, deletion, kind, table, deleted_by)
    return True


async def restore_project(connection: Connection, project_id: UUID) -> bool:
    """Put a deleted project back with all that went with it; False when the trash does not have it."""
    deletion = await connection.fetchval(_NEWEST, str(project_id))
    if deletion is None:
        return False
    for row in await connection.fetch(_TABLES, deletion):
        columns, values = ", ".join(row["columns"]), ", ".join(f"kept.{name}" for name in row["columns"])
        statement = _RESTORE.format(table=row["name"], columns=columns, values=values)
        await connection.execute(statement, deletion, row["table_name"])
    await connection.execute(_EMPTY, deletion)
    return True
