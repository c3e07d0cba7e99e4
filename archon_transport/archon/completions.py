"""Completion of ids and titles, for the arguments of prompts and of resource templates.

What a user has typed is the beginning of an id or a part of a title; ids come back, as they are what the
argument wants.
"""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp.server import Server

from .context import Archon
from .rows import DOCUMENTS

MOST = 100
"""The most values that the protocol allows in one answer."""

_MATCHES = "(starts_with({id}, lower($1)) OR strpos(lower({title}), lower($1)) > 0)"
_ROWS = f"""
    SELECT {{what}} FROM {{table}} WHERE archived IS NOT TRUE
       AND {_MATCHES.format(id="id::text", title="title")} AND ($2::text IS NULL OR {{project}}::text = $2)
     ORDER BY updated_at DESC NULLS LAST, id LIMIT 101
"""
_PROJECTS = _ROWS.format(what="id::text", table="archon_projects", project="id")
_TITLES = _ROWS.format(what="title", table="archon_projects", project="id")
_TASKS = _ROWS.format(what="id::text", table="archon_tasks", project="project_id")
_DOCUMENTS = f"""
    SELECT doc ->> 'id' FROM {DOCUMENTS}
     WHERE id::text = $2 AND doc ->> 'id' <> ''
       AND {_MATCHES.format(id="doc ->> 'id'", title="COALESCE(doc ->> 'title', '')")} LIMIT 101
"""

_QUERIES = {
    ("archon://projects/{id}", "id"): _PROJECTS,
    ("archon://tasks/{id}", "id"): _TASKS,
    ("archon://documents/{project_id}/{document_id}", "project_id"): _PROJECTS,
    ("archon://documents/{project_id}/{document_id}", "document_id"): _DOCUMENTS,
    ("plan_feature", "project_id"): _PROJECTS,
    ("plan_feature", "title"): _TITLES,
    ("take_next_task", "project_id"): _PROJECTS,
}
"""By the template or prompt and its argument."""


def attach(server: Server[Any], archon: Archon) -> None:
    """Let the server complete arguments."""

    async def complete(context: Any, params: types.CompleteRequestParams) -> types.CompleteResult:
        ref = params.ref
        name = ref.uri if isinstance(ref, types.ResourceTemplateReference) else ref.name
        query = _QUERIES.get((name, params.argument.name))
        if query is None:
            return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))
        resolved = (params.context.arguments if params.context is not None else None) or {}
        within = None if params.argument.name == "project_id" else resolved.get("project_id")
        typed, within = storable_part(params.argument.value), within and storable_part(within)
        rows = await archon.pool.fetch(query, typed, within)
        values = [row[0] for row in rows[:MOST]]
        return types.CompleteResult(completion=types.Completion(values=values, has_more=len(rows) > MOST))

    server.add_request_handler("completion/complete", types.CompleteRequestParams, complete)


def storable_part(text: str) -> str:
    """The text without what Postgres cannot take."""
    return text.encode("utf-8", "ignore").decode().replace("\0", "")
