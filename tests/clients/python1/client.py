"""One MCP client of the Python SDK 1.x, which knows the handshake era only.

    python client.py URL

Connects, lists, calls `echo`, has a call report progress, and prints what it got as one line of JSON.
"""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str) -> None:
    """Print what a server answers."""
    async with (
        streamablehttp_client(url) as (reading, writing, session_id),
        ClientSession(reading, writing) as session,
    ):
        begun = await session.initialize()
        tools = await session.list_tools()
        said = await session.call_tool("echo", {"text": "hällo"})
        heard: list[float] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append(progress)

        await session.call_tool("test_tool_with_progress", {}, progress_callback=hear)
        found = {
            "revision": begun.protocolVersion,
            "session": session_id() is not None,
            "tools": [tool.name for tool in tools.tools],
            "said": said.content[0].text,
            "heard": heard,
        }
    print(json.dumps(found))


asyncio.run(main(sys.argv[1]))
