"""From `package.module:name` to the MCP server that it names.

The module is imported as `python -m` would: the current directory comes first. An SDK server is taken as it
is. fastmcp's low-level server has no public name, so one function here reads a private one, and says so
where it is gone; and its code reads Starlette's requests, so one is made for it.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from operator import attrgetter
from typing import Any

from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from starlette.requests import Request

from ..face import low_level


class LoadError(Exception):
    """There is no server by that name; the text is one line that says why."""


def load(target: str) -> Server[Any]:
    """The low-level server behind `package.module:name`.

    Raises:
        LoadError: no such module, no such name, not a server, or one that wants a login of its own.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise LoadError(f"{target!r} does not name a server; write package.module:name")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = attrgetter(name)(_module(module_name))
    except AttributeError as error:
        raise LoadError(f"module {module_name} has no {name}: {error}") from error
    try:
        return low_level(_inside_fastmcp(found))
    except TypeError:
        kind = type(found).__name__
        raise LoadError(
            f"{target} is a {kind}, not an MCP server (Server, MCPServer or fastmcp's FastMCP)"
        ) from None
    except ValueError as error:
        raise LoadError(str(error)) from error


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(
            f"{error.name}."
        ):  # one that the module itself needs
            raise
        raise LoadError(f"there is no module {error.name} here or among what is installed") from error


def _inside_fastmcp(found: Any) -> Any:
    """The low-level server in a fastmcp server; anything else as it is."""
    fastmcp = sys.modules.get("fastmcp")  # whoever made one has imported it
    if fastmcp is None or not isinstance(found, fastmcp.FastMCP):
        return found
    if found.auth is not None:
        raise LoadError(f"{found.name} was made with auth of its own, which is not asked for here")
    inside = getattr(found, "_mcp_server", None)
    if not isinstance(inside, Server):
        version = fastmcp.__version__
        raise LoadError(f"fastmcp {version} keeps its server elsewhere than this program knows; use another")
    if _with_starlette not in inside.middleware:
        inside.middleware.insert(0, _with_starlette)
    return inside


async def _with_starlette(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """fastmcp takes the HTTP request of every message for Starlette's: give it one that says the same."""
    http: Any = ctx.request
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": http.method,
        "scheme": http.scheme,
        "path": http.path,
        "root_path": "",
        "query_string": http.query_string.encode(),
        "headers": [(name.lower(), value) for name, value in http.raw_headers],
        "client": (http.remote, 0),
        "server": (http.url.host, http.url.port),
    }
    return await call_next(replace(ctx, request=Request(scope)))
