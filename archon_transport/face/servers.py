"""The SDK's low-level `Server` behind whatever it is that an application has."""

from __future__ import annotations

import logging
from typing import Any

from mcp.server import Server
from mcp.server.mcpserver import MCPServer

_log = logging.getLogger(__name__)


def low_level(server: Server[Any] | MCPServer[Any], *, verified: bool = False) -> Server[Any]:
    """The low-level server of `server`; `verified` says that whoever serves it looks at tokens itself.

    Raises:
        TypeError: it is neither of the SDK's servers.
        ValueError: it was given `auth` of its own, which would silently not be asked for.
    """
    if isinstance(server, Server):
        return server
    if not isinstance(server, MCPServer):
        raise TypeError(f"not an MCP server of the SDK (Server or MCPServer): {type(server).__name__}")
    if server.settings.auth is not None and not verified:
        raise ValueError(
            f"the MCP server {server.name!r} was made with auth of its own, which is not asked for here; "
            "give auth and token_verifier to StreamableHTTP instead"
        )
    try:
        manager = server.session_manager
    except RuntimeError:  # it is made with the SDK's own application, which is not used
        if len(server.streamable_http_app().routes) > 1:
            _log.warning("custom routes of an MCPServer are not served; add them to your own application")
        manager = server.session_manager
    return manager.app
