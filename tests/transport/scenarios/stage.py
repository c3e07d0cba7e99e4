"""The server on the stage: one tool that plays a script, so that a scenario says what its handler does.

A script is a list of lines such as `["progress", 1]`, `["hold", "a"]`, `["elicit", "name?"]`. A held handler
tells `reached` and waits for `gates`; what its questions brought is its result, as JSON. `alone` collects
what went on after a result, `heard` what the client told by notification.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import defaultdict
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

FORM = {"type": "object", "properties": {"name": {"type": "string"}}}


def text(value: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)])


class Stage:
    """What every node of a scenario serves; gates and notes are shared by all of them."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.cancelled = asyncio.Event()
        self.alone: set[asyncio.Task[None]] = set()
        self.progress: list[tuple[float, float | None, str | None]] = []

    def server(self) -> Server[Any]:
        """A server that plays on this stage."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # logging is of the handshake era, which is what is tested
            return Server(
                "stage",
                version="1",
                on_list_tools=self._list_tools,
                on_call_tool=self._call_tool,
                on_list_resources=self._list_resources,
                on_subscribe_resource=self._subscribe,
                on_unsubscribe_resource=self._subscribe,
                on_set_logging_level=self._level,
            )

    async def _list_tools(self, context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="play", input_schema={"type": "object"})])

    async def _list_resources(self, context: Any, params: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(resources=[])

    async def _subscribe(self, context: Any, params: Any) -> types.EmptyResult:
        if str(params.uri) == "file:///forbidden":
            raise MCPError(types.INVALID_PARAMS, "not this one")
        return types.EmptyResult()

    async def _level(self, context: Any, params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    async def _call_tool(self, context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        done: list[Any] = []
        try:
            for verb, *rest in (params.arguments or {}).get("script", []):
                outcome = await getattr(self, f"_{verb}")(context, *rest)
                if outcome is not None:
                    done.append(outcome)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return text(json.dumps(done) if done else "done")

    async def _hold(self, context: Any, gate: str) -> None:
        self.reached[gate].set()
        await self.gates[gate].wait()

    async def _progress(self, context: Any, progress: float, message: str | None = None) -> None:
        await context.session.report_progress(progress, None, message)

    async def _log(self, context: Any, level: Any, data: str, related: bool = True) -> None:
        params = types.LoggingMessageNotificationParams(level=level, data=data)
        about = context.request_id if related else None
        await context.session.send_notification(types.LoggingMessageNotification(params=params), about)

    async def _flood(self, context: Any, count: int, size: int) -> None:
        for i in range(count):
            await self._log(context, "info", f"{i}:" + "x" * size)

    async def _say(self, context: Any, value: str) -> str:
        return value

    async def _heavy(self, context: Any, size: int) -> str:
        return "x" * size

    async def _changed(self, context: Any) -> None:
        await context.session.send_tool_list_changed()

    async def _updated(self, context: Any, uri: str) -> None:
        await context.session.send_resource_updated(uri)

    async def _close(self, context: Any) -> str | None:
        if context.close_sse_stream is None:
            return "cannot close"
        await context.close_sse_stream()
        return None

    async def _close_standing(self, context: Any) -> None:
        await context.close_standalone_sse_stream()

    async def _later(self, context: Any, gate: str) -> None:
        """Go on talking when the call is over."""

        async def talk() -> None:
            await self.gates[gate].wait()
            await context.session.report_progress(99)
            self.reached[gate].set()

        task = asyncio.create_task(talk())
        self.alone.add(task)
        task.add_done_callback(self.alone.discard)

    async def _elicit(self, context: Any, message: str, seconds: float | None = None) -> Any:
        params = types.ElicitRequestFormParams(message=message, requested_schema=FORM)
        return await self._ask(context, types.ElicitRequest(params=params), types.ElicitResult, seconds)

    async def _sample(self, context: Any) -> Any:
        content = types.TextContent(type="text", text="a haiku, please")
        messages = [types.SamplingMessage(role="user", content=content)]
        params = types.CreateMessageRequestParams(messages=messages, max_tokens=10)
        return await self._ask(context, types.CreateMessageRequest(params=params), types.CreateMessageResult)

    async def _roots(self, context: Any) -> Any:
        return await self._ask(context, types.ListRootsRequest(), types.ListRootsResult)

    async def _ping(self, context: Any) -> Any:
        return await self._ask(context, types.PingRequest(), types.EmptyResult)

    async def _ping_outside(self, context: Any) -> Any:
        """As the SDK's own `send_ping` does it: without naming the request."""
        return (await context.session.send_ping()).model_dump(mode="json", exclude_none=True)

    async def _ask(self, context: Any, request: Any, answer: Any, seconds: float | None = None) -> Any:
        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append((progress, total, message))

        try:
            result = await context.session.send_request(
                request,
                answer,
                request_read_timeout_seconds=seconds,
                metadata=ServerMessageMetadata(related_request_id=context.request_id),
                progress_callback=on_progress,
            )
        except MCPError as error:
            return f"{error.error.code}: {error.error.message}"
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)
