"""Pages of an allowed origin: what a browser must be told before it lets them call and read.

The Origin has been let in by the guards when this is asked; nothing here widens who may knock.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

_EXPOSED: Final = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, X-Request-Id"
_MAX_AGE: Final = "600"


def preflight(http: web.Request) -> web.Response | None:
    """The answer to a browser that asks whether a page may send this (Fetch, CORS preflight)."""
    if http.method != "OPTIONS" or "Access-Control-Request-Method" not in http.headers:
        return None
    asked = http.headers.get("Access-Control-Request-Headers", "")
    headers = {
        "Access-Control-Allow-Methods": "POST, GET, DELETE",
        "Access-Control-Allow-Headers": asked,
        "Access-Control-Max-Age": _MAX_AGE,
    }
    return web.Response(status=204, headers=headers)


def open_to_page(origin: str, response: web.StreamResponse) -> None:
    """Let the page that asked read the answer, and the headers that a client needs."""
    if response.status in (403, 421) and "WWW-Authenticate" not in response.headers:
        return  # the page itself was refused; a token that lacks a scope is the page's to know
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    response.headers["Vary"] = "Origin"
