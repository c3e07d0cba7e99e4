"""Projects with their boards and documents, by the tools' own functions: what an assistant sees, people see.

Tasks are added, edited, moved and assigned here; nothing else is changed from the page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from .markdown import rendered

STATUSES: Final = ("todo", "doing", "review", "done")
FIELDS: Final = ("title", "description", "status", "assignee", "priority", "feature")
PRIORITIES: Final = ("low", "medium", "high", "critical")

CallTool = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


class Board:
    """What the page asks the tools."""

    def __init__(self, call_tool: CallTool) -> None:
        self._call_tool = call_tool

    async def _ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self._call_tool(tool, {k: v for k, v in arguments.items() if v is not None})
        if answer["success"]:
            return answer
        error = answer["error"]
        text = " ".join(filter(None, (error["message"], error.get("suggestion"))))
        if error.get("http_status") == 404:
            raise web.HTTPNotFound(text=text)
        if error["type"] in ("timeout", "connection_error"):
            raise web.HTTPServiceUnavailable(text=text)
        raise web.HTTPBadRequest(text=text)

    async def projects(self, request: web.Request) -> dict[str, Any]:
        """A page of projects."""
        number = request.query.get("page", "0")
        page = min(int(number), 1000) + 1 if number.isdecimal() else 1
        search = request.query.get("q", "")[:200] or None
        return {"found": await self._ask("find_projects", query=search, page=page, per_page=20)}

    async def board(self, request: web.Request) -> dict[str, Any]:
        """One project and its tasks, by where they stand."""
        project_id = request.match_info["id"]
        project = (await self._ask("find_projects", project_id=project_id))["project"]
        search = request.query.get("q", "")[:200] or None
        columns, more = {}, {}
        for status in STATUSES:
            found = await self._ask(
                "find_tasks",
                project_id=project_id,
                filter_by="status",
                filter_value=status,
                query=search,
                per_page=100,
            )
            columns[status], more[status] = found["tasks"], found["total_count"] - len(found["tasks"])
        listed = await self._ask("find_documents", project_id=project_id, per_page=100)
        return {
            "project": project,
            "columns": columns,
            "more": more,
            "documents": listed["documents"],
            "PRIORITIES": PRIORITIES,
        }

    async def document(self, request: web.Request) -> dict[str, Any]:
        """One document of a project, rendered."""
        named = {"project_id": request.match_info["id"], "document_id": request.match_info["document"]}
        project = (await self._ask("find_projects", project_id=named["project_id"]))["project"]
        document = (await self._ask("find_documents", **named))["document"]
        content, piece = document["content"], document["piece"]
        pieces = []
        while piece is not None:  # a long content comes in several
            pieces.append(piece["text"])
            rest = piece["next_offset"]
            more = None if rest is None else await self._ask("find_documents", **named, offset=rest)
            piece = None if more is None else more["document"]["piece"]
        return {"project": project, "document": document, "html": rendered("".join(pieces) or content)}

    async def change(self, request: web.Request) -> str:
        """Add a task or change one, as the form says; where to go then."""
        given = {name: str(value) for name, value in (await request.post()).items()}
        project_id = request.match_info["id"]
        fields: dict[str, Any] = {name: given[name] for name in FIELDS if name in given}
        fields = {
            name: value for name, value in fields.items() if value or name in ("description", "feature")
        }
        if task_id := given.get("task_id"):
            await self._ask("manage_task", action="update", task_id=task_id, project_id=project_id, **fields)
        else:
            await self._ask("manage_task", action="create", project_id=project_id, **fields)
        return f"/projects/{project_id}"
