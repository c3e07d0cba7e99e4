"""Two prompts that put a user's wish and what the database knows of it into words for an assistant.

`plan_feature` begins the planning of a feature in a project; `take_next_task` hands over the task that is
next. Both say which tools to use and show what is there at this moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import mcp_types as types
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from .completions import storable_part
from .context import Archon
from .rows import DOCUMENTS

_SHOWN = 30
"""Documents and tasks that a prompt names; the tools show the rest."""

_PROJECT = """
    SELECT id, title, COALESCE(description, '') AS description, COALESCE(features, '[]')::text AS features
      FROM archon_projects
     WHERE archived IS NOT TRUE AND (id = $1 OR ($1 IS NULL AND lower(title) = lower($2)))
     ORDER BY created_at DESC LIMIT 1
"""
_DOCUMENTS = f"""
    SELECT doc ->> 'id' AS id, doc ->> 'title' AS title, doc ->> 'document_type' AS kind
      FROM {DOCUMENTS}
     WHERE archon_projects.id = $1 AND jsonb_typeof(doc) = 'object' LIMIT {_SHOWN}
"""
_OPEN_TASKS = f"""
    SELECT id, title, status::text AS kind FROM archon_tasks
     WHERE project_id = $1 AND archived IS NOT TRUE AND status IS DISTINCT FROM 'done'
     ORDER BY task_order, created_at, id LIMIT {_SHOWN}
"""
# The order of manage_task's claim.
_NEXT = """
    SELECT id, project_id, title, COALESCE(description, '') AS description, priority::text AS priority,
           feature
      FROM archon_tasks
     WHERE status = 'todo' AND archived IS NOT TRUE AND ($1::uuid IS NULL OR project_id = $1)
     ORDER BY archon_tasks.priority DESC, COALESCE(task_order, 0) DESC, created_at, id LIMIT 1
"""

PROMPTS = [
    types.Prompt(
        name="plan_feature",
        title="Plan a feature",
        description="Plans a feature with what its project has already, and makes its tasks.",
        arguments=[
            types.PromptArgument(name="feature", description="What it shall do.", required=True),
            types.PromptArgument(name="project_id", description="UUID of the project.", required=False),
            types.PromptArgument(
                name="title", description="Title of the project, in place of its id.", required=False
            ),
        ],
    ),
    types.Prompt(
        name="take_next_task",
        title="Take the next task",
        description="Takes the most urgent task that waits, and begins with it.",
        arguments=[
            types.PromptArgument(
                name="project_id", description="UUID of a project: only its tasks.", required=False
            )
        ],
    ),
]

_PLAN = """\
Plan this feature in Archon: {feature}

{project}

Do it in this order:
1. Read what touches it: `find_documents` with project_id and document_id, `find_tasks` with task_id.
2. Ask me what you cannot know. Do not guess at what decides the design.
3. Write the plan down with `manage_document` (action "create", document_type "spec", `text` in markdown):
   what it is for, how it works, what it leaves alone, and how we see that it is done.
4. Split it into tasks of 30 minutes to 4 hours with `manage_task` (action "create"), in the order of the
   work, each with a description of when it counts as done and the same `feature`.
5. Show me the plan and the tasks. Write no code yet.
"""

_NO_PROJECT = """\
There is no project called "{title}" yet. First make it: `manage_project` with action "create" and that
title."""

_TAKE = """\
Take the next task of Archon and do it.

{task}

Do it in this order:
1. Take it with `manage_task`, action "claim"{within}: that gives you the most urgent task that waits and
   keeps other agents from it. If it is another one than above, somebody was faster: go on with yours.
2. Read what belongs to it: {reading}.
3. Do the work. Change the task (`manage_task`, action "update") when something worth knowing turns up.
4. Set it to review when it is finished, with a line on what was done; to done only when it has been checked.
"""


def attach(server: Server[Any], archon: Archon) -> None:
    """Give the server its prompts."""

    async def listed(context: Any, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "Unknown cursor: the list of prompts has one page.")
        return types.ListPromptsResult(prompts=PROMPTS, ttl_ms=60_000, cache_scope="public")

    async def get(context: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        prompt = next((each for each in PROMPTS if each.name == params.name), None)
        if prompt is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {storable_part(params.name[:100])}")
        work = {"plan_feature": _plan_feature, "take_next_task": _take_next_task}[prompt.name]
        text = await work(archon.pool, _Given(params.arguments or {}))
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(description=prompt.description, messages=[message])

    server.add_request_handler("prompts/list", types.PaginatedRequestParams, listed)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, get)


class _Given:
    """The arguments of a prompt, which are text."""

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = arguments

    def text(self, name: str) -> str | None:
        return storable_part(self._arguments.get(name, "")).strip() or None

    def project_id(self) -> UUID | None:
        given = self.text("project_id")
        try:
            return None if given is None else UUID(given)
        except ValueError:
            raise MCPError(types.INVALID_PARAMS, "project_id must be a UUID.") from None


async def _plan_feature(pool: asyncpg.Pool, given: _Given) -> str:
    feature, project_id, title = given.text("feature"), given.project_id(), given.text("title")
    if feature is None:
        raise MCPError(types.INVALID_PARAMS, "feature is required: what the feature shall do.")
    if project_id is None and title is None:
        raise MCPError(types.INVALID_PARAMS, "project_id or title is required.")
    row = await pool.fetchrow(_PROJECT, project_id, title)
    if row is None and title is None:
        raise _no_project(project_id)
    project = _NO_PROJECT.format(title=title) if row is None else await _project(pool, row)
    return _PLAN.format(feature=feature, project=project)


def _no_project(project_id: UUID | None) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"There is no project with the id {project_id}.")


async def _project(pool: asyncpg.Pool, row: asyncpg.Record) -> str:
    """What there is to know of a project before one plans in it."""
    features = json.loads(row["features"])
    names = [each.get("name") for each in features if isinstance(each, dict)] if features else []
    documents = await pool.fetch(_DOCUMENTS, row["id"])
    tasks = await pool.fetch(_OPEN_TASKS, row["id"])
    parts = [f"The project is {row['title']} (project_id {row['id']}). {row['description'][:2000]}".strip()]
    if names:
        parts.append("Its features: " + ", ".join(str(name) for name in names[:_SHOWN]) + ".")
    parts.append(_lines("Its documents", documents) if documents else "It has no documents yet.")
    parts.append(_lines("Its open tasks", tasks) if tasks else "It has no open tasks.")
    return "\n\n".join(parts)


def _lines(heading: str, rows: list[asyncpg.Record]) -> str:
    more = " (the first ones)" if len(rows) == _SHOWN else ""
    return "\n".join([f"{heading}{more}:", *(f"- {r['title']} [{r['kind']}] {r['id']}" for r in rows)])


async def _take_next_task(pool: asyncpg.Pool, given: _Given) -> str:
    project_id = given.project_id()
    if project_id is not None and await pool.fetchrow(_PROJECT, project_id, None) is None:
        raise _no_project(project_id)
    task = await pool.fetchrow(_NEXT, project_id)
    if task is None:
        return (
            "No task of Archon waits now. Look with `find_tasks` (include_closed false) whether one is in "
            "review and check it, or tell me what should be planned next."
        )
    project = await pool.fetchrow(_PROJECT, task["project_id"], None)
    told = f'Waiting is "{task["title"]}" (task_id {task["id"]}, priority {task["priority"]}'
    told += f", feature {task['feature']})" if task["feature"] else ")"
    parts = [f"{told}.", task["description"][:5000]]
    if project is not None:
        parts.append(await _project(pool, project))
    within = f' and project_id "{project_id}"' if project_id is not None else ""
    reading = f'`get_linked_knowledge` with source_type "task" and source_id "{task["id"]}"'
    if project is not None:
        reading += ", and the documents above with `find_documents`"
    return _TAKE.format(task="\n\n".join(filter(None, parts)), within=within, reading=reading)
