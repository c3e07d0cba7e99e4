"""The resources: a text, a picture, one to watch, and a template."""

from __future__ import annotations

import json
import re
from typing import Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from .media import PNG

TEXT: Final = "text/plain"
STATIC: Final = "test://static-text"
WATCHED: Final = "test://watched-resource"

RESOURCES: Final = (
    types.Resource(uri=STATIC, name="static-text", description="A text.", mime_type=TEXT),
    types.Resource(
        uri="test://static-binary", name="static-binary", description="A picture.", mime_type="image/png"
    ),
    types.Resource(uri=WATCHED, name="watched-resource", description="A text to watch.", mime_type=TEXT),
)

TEMPLATE: Final = types.ResourceTemplate(
    uri_template="test://template/{id}/data",
    name="template",
    description="Data for any id.",
    mime_type="application/json",
)

_TEMPLATE_URI: Final = re.compile(r"test://template/([^/]+)/data")


def read(uri: str) -> types.ReadResourceResult:
    """What stands at a URI.

    Raises:
        MCPError: nothing does.
    """
    if uri == STATIC:
        return _text(uri, TEXT, "This is the content of the static text resource.")
    if uri == WATCHED:
        return _text(uri, TEXT, "This is the content of the watched resource.")
    if uri == "test://static-binary":
        blob = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
        return types.ReadResourceResult(contents=[blob])
    if match := _TEMPLATE_URI.fullmatch(uri):
        found = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        return _text(uri, "application/json", json.dumps(found, separators=(",", ":")))
    raise MCPError(types.INVALID_PARAMS, f"Unknown resource: {uri[:100]}", {"uri": uri})


def _text(uri: str, mime_type: str, text: str) -> types.ReadResourceResult:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return types.ReadResourceResult(contents=[contents])
