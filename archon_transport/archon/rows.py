"""What several tools ask of the same rows: whether one is there, a project's lock, its list of documents.

Documents are no rows of their own: they are in one JSONB column of their project's row, so whoever changes
one takes the lock on that row first.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

from .context import Connection

TABLES = {"project": "archon_projects", "task": "archon_tasks"}
"""Where the things are that others refer to by a noun and an id."""

AS_ARRAY = """
    CASE jsonb_typeof({0}) WHEN 'array' THEN {0} WHEN 'object' THEN jsonb_build_array({0})
                           ELSE '[]'::jsonb END
"""
"""A column that should be a list, as one: older rows hold null or one bare object."""

DOCS = AS_ARRAY.format("docs")
DOCUMENTS = f"archon_projects, jsonb_array_elements({DOCS}) WITH ORDINALITY AS item (doc, place)"
"""The documents of projects, to select from: `doc` with its `place` from 1."""

# Weaker than FOR UPDATE: tasks may be added to the project meanwhile, other changes of it wait.
_LOCK = "SELECT FROM archon_projects WHERE id = $1 FOR NO KEY UPDATE"


async def exists(where: asyncpg.Pool | Connection, noun: str, key: UUID | None) -> bool:
    """Whether there is a project or a task with this id."""
    query = f"SELECT EXISTS (SELECT FROM {TABLES[noun]} WHERE id = $1)"
    return bool(await where.fetchval(query, key))


async def lock(connection: Connection, project_id: UUID | None) -> bool:
    """Keep everybody else from changing the project until the transaction ends; False: there is none."""
    return await connection.fetchrow(_LOCK, project_id) is not None
