"""Tools that talk before they answer: log messages, progress, a closed connection, announcements."""

from __future__ import annotations

import asyncio
from typing import Final

from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged

from ..call import Call
from ..toolbox import Toolbox

box = Toolbox()

PAUSE: Final = 0.05
"""Seconds between two words of a tool."""


@box.tool("test_tool_with_logging", "Logs three times while it works.")
async def with_logging(call: Call) -> str:
    await call.log("Tool execution started")
    await asyncio.sleep(PAUSE)
    await call.log("Tool processing data")
    await asyncio.sleep(PAUSE)
    await call.log("Tool execution completed")
    return "Tool with logging executed successfully"


@box.tool("test_logging_tool", "Logs once.")
async def logging_tool(call: Call) -> str:
    await call.log("One log message")
    return "Logged where it is wanted."


@box.tool("test_tool_with_progress", "Reports progress three times.")
async def with_progress(call: Call) -> str:
    for done in (0, 50, 100):
        await call.progress(done, 100, f"{done} of 100")
        await asyncio.sleep(PAUSE)
    return "Tool with progress executed successfully"


@box.tool("test_reconnection", "Closes the connection in the middle of its work.")
async def reconnection(call: Call) -> str:
    await call.log("Before disconnect")
    if call.context.close_sse_stream is not None:
        await call.context.close_sse_stream()
    await asyncio.sleep(4 * PAUSE)
    await call.log("After reconnect")
    return "Reconnection test completed"


@box.tool("test_trigger_tool_change", "Announces that the list of tools has changed, which it has not.")
async def trigger_tool_change(call: Call) -> str:
    await call.house.bus.publish(ToolsListChanged())
    return "Announced."


@box.tool("test_trigger_prompt_change", "Announces that the list of prompts has changed, which it has not.")
async def trigger_prompt_change(call: Call) -> str:
    await call.house.bus.publish(PromptsListChanged())
    return "Announced."
