"""MCP over Streamable HTTP with sessions that outlive the server.

The public names are imported when they are first asked for: a command line that only prints its help does
not wait for aiohttp and the SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .face import StreamableHTTP
    from .store import MemoryStore, PostgresStore

__version__ = "0.1.0"

__all__ = ["MemoryStore", "PostgresStore", "StreamableHTTP", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "StreamableHTTP":
        from .face import StreamableHTTP

        return StreamableHTTP
    if name in ("MemoryStore", "PostgresStore"):
        from . import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
