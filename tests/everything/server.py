"""The SDK server around the tools, prompts and resources; it knows no transport."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as types
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import ListenHandler, SubscriptionBus
from mcp.shared.exceptions import MCPError

from . import prompts, resources
from .call import Call, House, InputRequired
from .tools import TOOLS

NAME: Final = "mcp-conformance-test-server"
HINT: Final = CacheHint(ttl_ms=60_000, scope="public")

Context = Any


def build(bus: SubscriptionBus, security: RequestStateSecurity) -> Server[Any]:
    """A server of its own; announcements go over `bus`, request states are sealed by `security`."""
    handlers = _Handlers(House(bus))
    server: Server[Any] = Server(
        NAME,
        version="0.1.0",
        instructions="A server for tests: everything a client can use.",
        cache_hints={
            "tools/list": HINT,
            "prompts/list": HINT,
            "resources/list": HINT,
            "resources/templates/list": HINT,
            "resources/read": HINT,
        },
        get_tool_input_schema=_input_schema,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
        on_subscribe_resource=handlers.nothing,
        on_unsubscribe_resource=handlers.nothing,
        on_subscriptions_listen=ListenHandler(bus),
        on_completion=handlers.complete,
    )
    # Registered by hand: as an argument of the constructor it warns of its age, and tests have no warnings.
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, handlers.nothing)
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))
    return server


def _input_schema(name: str) -> dict[str, Any] | None:
    tool = TOOLS.get(name)
    return None if tool is None else tool.listed.input_schema


class _Handlers:
    def __init__(self, house: House) -> None:
        self._house = house

    async def list_tools(self, context: Context, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.listed for tool in TOOLS.values()])

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:100]}")
        try:
            return await tool(Call(context, params, self._house))
        except InputRequired as required:
            return required.result

    async def list_prompts(self, context: Context, params: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[prompt for prompt, _ in prompts.PROMPTS.values()])

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        try:
            return await prompts.get(Call(context, params, self._house))
        except InputRequired as required:
            return required.result

    async def list_resources(self, context: Context, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=list(resources.RESOURCES))

    async def list_templates(self, context: Context, params: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[resources.TEMPLATE])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        return resources.read(params.uri)

    async def complete(self, context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))

    async def nothing(self, context: Context, params: Any) -> types.EmptyResult:
        """What the transport does by itself: the session's log level, its subscriptions."""
        return types.EmptyResult()
