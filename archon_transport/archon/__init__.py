"""Archon's own MCP server: its tools on its own tables.

`build` makes the SDK's low-level `Server`, which any transport can serve; `reference` describes it in HTML.
One module per domain holds that domain's tools, their arguments and answers, and their SQL; `registry` makes
a server of them.
"""

from .registry import call_tool
from .server import build, reference

__all__ = ["build", "call_tool", "reference"]
