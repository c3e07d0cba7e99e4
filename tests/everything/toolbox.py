"""What a tool is here: a coroutine under a name, with a description and a schema; a box keeps them in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types

from .call import Call
from .media import words

Said = str | types.CallToolResult
Work = Callable[[Call], Awaitable[Said]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it is listed, and what it does."""

    listed: types.Tool
    work: Work

    async def __call__(self, call: Call) -> types.CallToolResult:
        """Do it; a string becomes a result of one block."""
        said = await self.work(call)
        return types.CallToolResult(content=[words(said)]) if isinstance(said, str) else said


class Toolbox(dict[str, Tool]):
    """Tools by name, in the order in which they were put in."""

    def tool(
        self,
        name: str,
        description: str,
        *,
        required: tuple[str, ...] = (),
        schema: Mapping[str, Any] | None = None,
        returns: Mapping[str, Any] | None = None,
        **properties: Any,
    ) -> Callable[[Work], Work]:
        """Put the decorated coroutine in; its input is an object of `properties`, or `schema` as it is."""
        if schema is None:
            schema = {"type": "object", "properties": properties}
            if required:
                schema["required"] = list(required)
        listed = types.Tool(
            name=name,
            description=description,
            input_schema=dict(schema),
            output_schema=None if returns is None else dict(returns),
        )

        def put(work: Work) -> Work:
            self[name] = Tool(listed, work)
            return work

        return put
