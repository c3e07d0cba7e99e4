"""Projects, tasks and documents as resources that a client can list, read and watch.

A resource's address is `archon://projects/{id}`, `archon://tasks/{id}` or
`archon://documents/{project_id}/{document_id}`. The list has what changed last; everything else is read by
its template. The transport keeps who watches what; here every change is announced, on a bus that reaches
all nodes: `notifications/resources/updated` at once, a changed list at most once in `LIST_EVERY` seconds.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import asyncpg
import mcp_types as types
from mcp.server import Server
from mcp.server.subscriptions import ListenHandler, ResourcesListChanged, ResourceUpdated, SubscriptionBus
from mcp.shared.exceptions import MCPError

from .budget import as_json
from .completions import storable_part
from .content import plain_text
from .context import Archon, document_address, project_address, task_address
from .documents import FIND_ONE
from .projects import find_project, without_content
from .rows import AS_ARRAY
from .tasks import find_task

NOT_FOUND = -32002
"""The handshake era's code for an unknown resource; the transport translates it for the modern era."""

LIST_EVERY = 1.0
PAGE = 50
LISTED_MS, READ_MS = 60_000, 5_000
"""For how long a client may keep what it has listed or read; who watches is told sooner."""

JSON = "application/json"
_TYPES = {"json": JSON, "markdown": "text/markdown", "text": "text/plain"}

_PROJECT = "A project with its features and data, and its documents without their content."
_DOCUMENT = "A document's content: markdown or text as it is, anything else as JSON."
TEMPLATES = [
    types.ResourceTemplate(
        uri_template=f"archon://{path}", name=name, title=name.title(), description=what, mime_type=form
    )
    for path, name, what, form in (
        ("projects/{id}", "project", _PROJECT, JSON),
        ("tasks/{id}", "task", "A task.", JSON),
        ("documents/{project_id}/{document_id}", "document", _DOCUMENT, None),
    )
]

_ADDRESS = re.compile(
    r"archon://(projects|tasks|documents)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/([^/]+))?"
)

# Bounded on purpose: documents only of the projects that changed last, as finding them means reading the
# projects' whole columns.
_RECENT = f"""
    WITH projects AS (
        SELECT id, title, COALESCE(updated_at, created_at, 'epoch') AS changed, docs FROM archon_projects
         WHERE archived IS NOT TRUE ORDER BY changed DESC, id LIMIT 100
    ), tasks AS (
        SELECT id, title, COALESCE(updated_at, created_at, 'epoch') AS changed FROM archon_tasks
         WHERE archived IS NOT TRUE ORDER BY changed DESC, id LIMIT 100
    ), documents AS (
        SELECT busy.id AS project_id, doc ->> 'id' AS id, COALESCE(doc ->> 'title', '') AS title, changed
          FROM (SELECT * FROM projects ORDER BY changed DESC, id LIMIT 10) AS busy,
               jsonb_array_elements({AS_ARRAY.format("docs")}) AS doc
         WHERE doc ->> 'id' <> '' ORDER BY changed DESC, 1, 2 LIMIT 500
    ), listed AS (
        SELECT 'project ' || id AS key, 'project' AS kind, NULL::uuid AS project_id, id::text, title, changed
          FROM projects
        UNION ALL SELECT 'task ' || id, 'task', NULL, id::text, title, changed FROM tasks
        UNION ALL SELECT concat_ws(' ', 'document', project_id, id), 'document', project_id, id, title,
                         changed FROM documents
    )
    SELECT * FROM listed WHERE $1::timestamptz IS NULL OR (changed, key) < ($1, $2::text)
     ORDER BY changed DESC, key DESC LIMIT $3
"""


class Announcer:
    """Tells the bus of every change; `running` is the server's lifespan, which ends the pending notice."""

    def __init__(self, bus: SubscriptionBus) -> None:
        self._bus = bus
        self._notice: asyncio.Task[None] | None = None

    async def __call__(self, address: str) -> None:
        """Announce that a resource has changed, and soon that the list of the newest has."""
        if self._notice is None:
            self._notice = asyncio.create_task(self._tell(), name="resources changed")
        await self._bus.publish(ResourceUpdated(address))

    async def _tell(self) -> None:
        await asyncio.sleep(LIST_EVERY)
        self._notice = None
        await self._bus.publish(ResourcesListChanged())

    @asynccontextmanager
    async def running(self, server: Server[Any]) -> AsyncIterator[dict[str, Any]]:
        """As long as the server runs."""
        try:
            yield {}
        finally:
            if self._notice is not None:
                self._notice.cancel()
                await asyncio.wait([self._notice])
                self._notice = None


def attach(server: Server[Any], archon: Archon, bus: SubscriptionBus | None) -> None:
    """Give the server its resources; without a bus nobody can watch them."""

    async def listed(context: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        return await _list(archon.pool, params.cursor if params is not None else None)

    async def templates(context: Any, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(
            resource_templates=TEMPLATES, ttl_ms=LISTED_MS, cache_scope="public"
        )

    async def read(context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        contents = await _read(archon, params.uri)
        return types.ReadResourceResult(contents=[contents], ttl_ms=READ_MS, cache_scope="private")

    async def watch(context: Any, params: Any) -> types.EmptyResult:
        _parsed(params.uri)
        return types.EmptyResult()

    page = types.PaginatedRequestParams
    server.add_request_handler("resources/list", page, listed)
    server.add_request_handler("resources/templates/list", page, templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read)
    if bus is not None:
        announcer = Announcer(bus)
        archon.changed.publish, server.lifespan = announcer, announcer.running
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, watch)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, watch)
        listen = types.SubscriptionsListenRequestParams
        server.add_request_handler("subscriptions/listen", listen, ListenHandler(bus))


async def _list(pool: asyncpg.Pool, cursor: str | None) -> types.ListResourcesResult:
    rows = await pool.fetch(_RECENT, *_place(cursor), PAGE + 1)
    found = [_resource(row) for row in rows[:PAGE]]
    following = None
    if len(rows) > PAGE:
        last = json.dumps([rows[PAGE - 1]["changed"].isoformat(), rows[PAGE - 1]["key"]])
        following = base64.urlsafe_b64encode(last.encode()).decode()
    return types.ListResourcesResult(
        resources=found, next_cursor=following, ttl_ms=READ_MS, cache_scope="private"
    )


def _place(cursor: str | None) -> tuple[datetime | None, str | None]:
    """Where a page begins: after this moment and key."""
    if cursor is None:
        return None, None
    try:
        changed, key = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        return datetime.fromisoformat(changed).astimezone(UTC), storable_part(key)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise MCPError(types.INVALID_PARAMS, "Unknown cursor: list again from the first page.") from None


def _resource(row: asyncpg.Record) -> types.Resource:
    address = {"project": project_address, "task": task_address}.get(row["kind"])
    return types.Resource(
        uri=address(row["id"]) if address else document_address(row["project_id"], row["id"]),
        name=row["id"],
        title=row["title"],
        description=f"A {row['kind']}.",
        mime_type=JSON if address else None,
        annotations=types.Annotations(last_modified=row["changed"].isoformat()),
    )


def _parsed(uri: str) -> tuple[str, UUID, str]:
    """The kind, the id and, of a document, the second id of an address.

    Raises:
        MCPError: it is none of ours, or not written as our own are.
    """
    if uri.isascii() and (match := _ADDRESS.fullmatch(uri)):
        kind, first, second = match[1], UUID(match[2]), unquote(match[3] or "")
        address = document_address(first, second) if kind == "documents" else uri
        if address == uri and (kind == "documents") == bool(second) and "\0" not in second:
            return kind, first, second
    raise unknown(uri)


def unknown(uri: str) -> MCPError:
    """There is no such resource."""
    return MCPError(NOT_FOUND, "Resource not found", {"uri": storable_part(uri[:500])})


async def _read(archon: Archon, uri: str) -> types.TextResourceContents:
    kind, key, document_id = _parsed(uri)
    if kind == "documents":
        row = await archon.pool.fetchrow(FIND_ONE, key, document_id)
        if row is None:
            raise unknown(uri)
        form, text = plain_text(json.loads(row["content"] or "null"))
        return types.TextResourceContents(uri=uri, mime_type=_TYPES[form], text=text)
    item: dict[str, Any] | None = None
    if kind == "projects" and (project := await find_project(archon, key)):
        item = project.model_dump(mode="json")
        item["docs"] = [without_content(document) for document in item["docs"]]
    elif kind == "tasks" and (task := await find_task(archon, key)):
        item = task.model_dump(mode="json")
    if item is None:
        raise unknown(uri)
    return types.TextResourceContents(uri=uri, mime_type=JSON, text=as_json(item))
