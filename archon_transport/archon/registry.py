"""Tools as values, and the MCP server made of them.

A `Tool` says everything about one tool: its names, what it takes, what it answers and the function that
does it. `build_server` turns a row of them into the SDK's low-level `Server`: it publishes the schemas,
checks arguments, gives every call a time limit and turns whatever happens into one answer, as JSON text
and as structured content. It knows no tool by name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as PublishedTool
from pydantic import ValidationError

from . import answers, schemas
from .answers import Failure, Success
from .context import Archon
from .schemas import Arguments

Handler = Callable[[Archon, Any], Awaitable[Success | Failure]]
"""The function behind a tool; its second argument is an instance of the tool's arguments model."""

READS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
"""A tool that changes nothing."""

CHANGES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
)
"""A tool that creates, overwrites and deletes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. `answers` are the models of what it answers when it does not refuse.

    `replaces` has the tool's former names, each with the call that does the same now.
    """

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    answers: tuple[type[Success], ...]
    annotations: ToolAnnotations
    handler: Handler
    timeout: float = 30.0
    replaces: Mapping[str, str] = field(default_factory=dict)

    def published(self) -> PublishedTool:
        """The tool as `tools/list` shows it."""
        return PublishedTool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=schemas.input_schema(self.arguments),
            output_schema=schemas.output_schema(self.answers),
            annotations=self.annotations,
        )

    async def call(self, archon: Archon, arguments: Mapping[str, Any]) -> Success | Failure:
        """Check the arguments, do it, and answer, whatever happens."""
        try:
            checked = self.arguments.model_validate(arguments)
        except ValidationError as error:
            return schemas.refusal(self.name, self.arguments, error)
        try:
            async with asyncio.timeout(self.timeout):
                return await self.handler(archon, checked)
        except Exception as error:
            return answers.from_exception(error, operation=self.name)


def build_server(
    tools: Sequence[Tool], archon: Archon, *, name: str, version: str, instructions: str
) -> Server[Any]:
    """The MCP server that serves these tools.

    Raises:
        ValueError: two tools answer to one name.
    """
    by_name = {tool.name: tool for tool in tools}
    former = {old: tool for tool in tools for old in tool.replaces}
    if len(by_name) + len(former) != len(tools) + sum(len(tool.replaces) for tool in tools):
        raise ValueError("two tools answer to one name")
    if clash := by_name.keys() & former.keys():
        raise ValueError(f"both a tool and a former name of one: {', '.join(sorted(clash))}")
    published = {tool.name: tool.published() for tool in tools}

    async def list_tools(
        context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(INVALID_PARAMS, "Unknown cursor: the list of tools has one page.")
        return ListToolsResult(tools=list(published.values()))

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        if tool := by_name.get(params.name):
            return _result(await tool.call(archon, params.arguments or {}))
        if tool := former.get(params.name):
            return _result(answers.renamed(params.name, tool.name, tool.replaces[params.name]))
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {params.name}")

    def tool_input_schema(tool: str) -> Mapping[str, Any] | None:
        return published[tool].input_schema if tool in published else None

    return Server(
        name,
        version=version,
        instructions=instructions,
        get_tool_input_schema=tool_input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _result(answer: Success | Failure) -> CallToolResult:
    """The answer twice, as text for older clients and as structured content, from one set of values."""
    content = answer.model_dump(mode="json", exclude_none=isinstance(answer, Failure))
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return CallToolResult(
        content=[TextContent(text=text)], structured_content=content, is_error=isinstance(answer, Failure)
    )
