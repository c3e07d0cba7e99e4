"""Archon's own MCP server: its tools on its own tables.

`build` makes the SDK's low-level `Server`, which any transport can serve. One module per domain holds
that domain's tools, their arguments and answers, and their SQL; `registry` makes a server of them.
"""

from .server import build

__all__ = ["build"]
