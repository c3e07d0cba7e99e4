"""Four tools for black-box tests, which see a server only from outside."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any, Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from ..call import Call, elicit, filled
from ..media import words
from ..toolbox import Toolbox

box = Toolbox()

COUNTS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {name: {"type": "integer"} for name in ("started", "finished", "cancelled")},
    "required": ["started", "finished", "cancelled"],
}


@box.tool("echo", "Says what it is told.", required=("text",), text={"type": "string"})
async def echo(call: Call) -> str:
    return call.text("text")


@box.tool(
    "slow",
    "Takes its time without a word; it can be cancelled.",
    required=("seconds",),
    seconds={"type": "number", "minimum": 0},
)
async def slow(call: Call) -> str:
    seconds = call.arguments.get("seconds")
    if not isinstance(seconds, int | float) or seconds < 0:
        raise MCPError(types.INVALID_PARAMS, "slow needs the argument seconds, a number not below 0.")
    counts = call.house.slow
    counts.started += 1
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        counts.cancelled += 1
        raise
    counts.finished += 1
    return f"Took {seconds:g} s."


@box.tool("slow_counts", "What became of the calls of slow in this process.", returns=COUNTS)
async def slow_counts(call: Call) -> types.CallToolResult:
    counts = asdict(call.house.slow)
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    return types.CallToolResult(content=[words(text)], structured_content=counts)


@box.tool(
    "ask",
    "Asks the user a question and says what he answered.",
    required=("question",),
    question={"type": "string", "description": "What the user is asked"},
)
async def ask(call: Call) -> str:
    field = {"type": "string", "description": "Your answer"}
    answers = await call.ask({"answer": elicit(call.text("question"), ("answer",), answer=field)})
    answer: types.ElicitResult = answers["answer"]
    if answer.action != "accept":
        return f"The user chose to {answer.action}."
    return f"You said: {filled(answer, 'answer')}"
