"""Tools as values, and the MCP server made of them.

A `Tool` says everything about one tool: its names, what it takes, what it answers and the function that
does it. `build_server` turns a row of them into the SDK's low-level `Server`: it publishes the schemas,
checks arguments, gives every call a time limit and turns whatever happens into one answer, as JSON text
and as structured content. It knows no tool by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

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

from . import answers, budget, schemas
from .answers import Failure, Success
from .context import Archon, calling, may, reporter
from .former import FORMER
from .schemas import Arguments

Handler = Callable[[Archon, Any], Coroutine[Any, Any, Success | Failure]]
"""The function behind a tool; its second argument is an instance of the tool's arguments model."""


def hints(
    *, reads: bool = False, destroys: bool = False, again: bool = False, outside: bool = False
) -> ToolAnnotations:
    """What a tool does; `again`: a second call changes nothing more, `outside`: it leaves the server."""
    return ToolAnnotations(
        read_only_hint=reads, destructive_hint=destroys, idempotent_hint=again, open_world_hint=outside
    )


READS = hints(reads=True, again=True)
"""A tool that changes nothing."""

CHANGES = hints(destroys=True)
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
        """Check who asks and the arguments, do it, and answer, whatever happens."""
        if not self.annotations.read_only_hint and not may("write"):
            return answers.forbidden(self.name, "write")
        try:
            checked = self.arguments.model_validate(arguments)
        except ValidationError as error:
            return schemas.refusal(self.name, self.arguments, error)
        if problem := checked.problem():
            return answers.invalid(problem)
        try:
            async with asyncio.timeout(self.timeout):
                return await self.handler(archon, checked)
        except Exception as error:
            return answers.from_exception(error, operation=self.name)


def tool(handler: Handler, title: str, annotations: ToolAnnotations, *, timeout: float = 30.0) -> Tool:
    """A tool from the function behind it: its name, its types and its docstring are what clients see."""
    name, types = handler.__name__, get_type_hints(handler)
    returned = types.pop("return")
    return Tool(
        name=name,
        title=title,
        description=schemas.one_line(handler.__doc__),
        arguments=[*types.values()][1],
        answers=tuple(each for each in get_args(returned) or (returned,) if each is not Failure),
        annotations=annotations,
        handler=handler,
        timeout=timeout,
        replaces={old: call for old, call in FORMER.items() if call.startswith(f"{name}(")},
    )


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
        return ListToolsResult(tools=list(published.values()), ttl_ms=60_000, cache_scope="public")

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        calling(client.client_info.name if (client := context.session.client_params) else "")
        if tool := by_name.get(params.name):
            reporter.set(context.session.report_progress)
            return _result(await tool.call(archon, params.arguments or {}))
        if tool := former.get(params.name):
            return _result(answers.renamed(params.name, tool.replaces[params.name]))
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


async def call_tool(server: Server[Any], name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a tool of `build_server` answers to somebody inside the program, who has no session.

    Raises:
        MCPError: there is no such tool.
    """
    entry = server.get_request_handler("tools/call")
    if entry is None:
        raise MCPError(INVALID_PARAMS, "This server has no tools.")
    nobody: Any = SimpleNamespace(session=SimpleNamespace(client_params=None, report_progress=None))
    result: Any = await entry.handler(nobody, CallToolRequestParams(name=name, arguments=arguments))
    return dict(result.structured_content)


def _result(answer: Success | Failure) -> CallToolResult:
    """The answer twice, as text for older clients and as structured content, from one set of values."""
    content = budget.fitted(answer.content())
    return CallToolResult(
        content=[TextContent(text=budget.as_json(content))],
        structured_content=content,
        is_error=isinstance(answer, Failure),
    )
