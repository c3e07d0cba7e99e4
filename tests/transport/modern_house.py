"""A house whose server has what only the modern era asks for, and a client that mirrors its requests in headers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import mcp_types as types
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.subscriptions import ListenHandler, SubscriptionBus
from mcp.shared.exceptions import MCPError

from archon_transport.sessions import current
from tests.transport.house import SECRET, TOOLS, Answer, House, Works, request, running, text

NOW = "2026-07-28"
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
MORE = ("progress", "chatter", "log", "needs", "gone", "url", "region", "wish")
REGION = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
    },
}


class ModernWorks(Works):
    """The house's tools and some more; `looked_up` makes the server say its tools' schemas itself."""

    def __init__(self, bus: SubscriptionBus, *, looked_up: bool = True) -> None:
        super().__init__()
        self.listings = 0
        self.listed_for: list[Any] = []
        self.list_fails: BaseException | None = None
        self.pages = 1
        self.listen = ListenHandler(bus)
        self.server = Server(
            "house",
            version="1",
            instructions="Knock.",
            lifespan=self._lifespan,
            cache_hints={"tools/list": CacheHint(ttl_ms=5000, scope="public")},
            get_tool_input_schema=self._schema if looked_up else None,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_read_resource=self._read,
            on_subscriptions_listen=self.listen,
        )

    def _schema(self, name: str) -> dict[str, Any] | None:
        if self.list_fails is not None:
            raise self.list_fails
        return REGION if name == "region" else {"type": "object"}

    async def _list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        self.listings += 1
        self.listed_for.append(current() and current().owner)
        if self.list_fails is not None:
            raise self.list_fails
        page = int((params and params.cursor) or 0)
        names = sorted((*TOOLS, *MORE))[page :: self.pages]
        schemas = {name: REGION if name == "region" else {"type": "object"} for name in names}
        tools = [types.Tool(name=name, input_schema=schema) for name, schema in schemas.items()]
        return types.ListToolsResult(
            tools=tools, next_cursor=str(page + 1) if page + 1 < self.pages else None
        )

    async def _call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in (*TOOLS, *MORE):
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        return await getattr(self, params.name)(context, **(params.arguments or {}))

    async def _read(self, context: Any, params: Any) -> types.ReadResourceResult:
        raise MCPError(-32002, "There is no such resource.", {"uri": params.uri})

    async def progress(self, context: Any) -> types.CallToolResult:
        for done in (1.0, 2.0):
            await context.session.report_progress(done, 2.0)
        return text("done")

    async def chatter(self, context: Any) -> types.CallToolResult:
        await context.session.report_progress(1.0, 2.0)
        return await self.slow(context)

    async def log(self, context: Any) -> types.CallToolResult:
        for level in ("debug", "info", "error"):
            await self._log(context, level)
        return text("logged")

    async def _log(self, context: Any, level: Any) -> None:
        """Past the SDK's own deprecated method, which looks at the level itself."""
        params = types.LoggingMessageNotificationParams(level=level, data=level)
        await context.session.send_notification(
            types.LoggingMessageNotification(params=params), context.request_id
        )

    async def needs(self, context: Any) -> types.CallToolResult:
        wanted = types.ClientCapabilities(sampling=types.SamplingCapability())
        if context.session.check_client_capability(wanted):
            return text("sampled")
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "It needs sampling.", data)

    async def gone(self, context: Any) -> types.CallToolResult:
        raise MCPError(-32002, "Gone.")

    async def url(self, context: Any) -> types.CallToolResult:
        raise MCPError(-32042, "Visit.")

    async def region(self, context: Any, **arguments: Any) -> types.CallToolResult:
        return text(json.dumps(arguments))

    async def wish(self, context: Any) -> types.CallToolResult:
        await context.session.send_ping()
        return text(SECRET)


def meta(**more: Any) -> dict[str, Any]:
    return {VERSION: NOW, CAPABILITIES: {}} | more


def sealed(value: str) -> str:
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def message(method: str, id: Any = 1, said: Any = None, **params: Any) -> dict[str, Any]:
    return request(id, method, {**params, "_meta": meta() if said is None else said})


def mirrored(value: dict[str, Any], **headers: Any) -> dict[str, Any]:
    """The headers of a request, some of them replaced; None leaves one out."""
    found = {"MCP-Protocol-Version": NOW, "Mcp-Method": value["method"]}
    key = NAMES.get(value["method"])
    if key is not None and key in value["params"]:
        found["Mcp-Name"] = value["params"][key]
    return found | {name.replace("_", "-"): said for name, said in headers.items()}


async def ask(
    house: House, method: str, id: Any = 1, said: Any = None, headers: Any = None, **params
) -> Answer:
    """One request and its whole answer."""
    value = message(method, id, said, **params)
    return await house.post(value, **mirrored(value, **(headers or {})))


async def call(
    house: House, tool: str, id: Any = 1, said: Any = None, headers: Any = None, **arguments
) -> Answer:
    """One `tools/call`."""
    return await ask(house, "tools/call", id, said, headers, name=tool, arguments=arguments)


def events(answer: Answer) -> list[dict[str, Any]]:
    """The messages of an event stream; an event id or a retry in it fails, comments do not."""
    assert answer.headers["Content-Type"] == "text/event-stream"
    return [found for block in answer.raw.split(b"\r\n\r\n") if (found := event(block)) is not None]


def event(block: bytes) -> dict[str, Any] | None:
    """What one event carries, None for a comment."""
    lines = [line for line in block.split(b"\r\n") if line and not line.startswith(b":")]
    if not lines:
        return None
    assert lines[0] == b"event: message"
    assert len(lines) == 2 and lines[1].startswith(b"data: "), "an id or a retry has no place here"
    return json.loads(lines[1].removeprefix(b"data: "))


class Stream:
    """An answer that is read as it comes; `leave` breaks the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.status = response.status
        self.headers = response.headers
        self._rest = b""

    async def block(self) -> bytes:
        """The next event or comment; b"" at the end."""
        while b"\r\n\r\n" not in self._rest:
            async with asyncio.timeout(5):
                chunk = await self.response.content.readany()
            if not chunk:
                return b""
            self._rest += chunk
        block, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return block

    async def next(self) -> dict[str, Any] | None:
        """The next message; None at the end."""
        while block := await self.block():
            if (found := event(block)) is not None:
                return found
        return None

    def leave(self) -> None:
        self.response.close()


@asynccontextmanager
async def opened(house: House, value: dict[str, Any], **headers: Any) -> AsyncIterator[Stream]:
    """An exchange whose answer is read as it comes."""
    named = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    named |= mirrored(value, **headers)
    body = json.dumps(value).encode()
    async with house.http.post(house.url, data=body, headers=named) as response:
        yield Stream(response)


@asynccontextmanager
async def modern_running(
    store: Any, bus: SubscriptionBus, *, looked_up: bool = True, **options: Any
) -> AsyncIterator[House]:
    """A house of that kind over a store."""
    works = ModernWorks(bus, looked_up=looked_up)
    async with running(store, works=works, **options) as house:
        yield house
