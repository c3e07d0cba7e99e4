"""Tools that only answer: every kind of content, an error, two input schemas that clients must take as they are."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as types

from ..call import Call, missing_capabilities
from ..media import audio, embedded, image, words
from ..toolbox import Toolbox

box = Toolbox()

SCHEMA_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""Uses the words of JSON Schema 2020-12 that a careless server or client drops."""


@box.tool("test_simple_text", "Answers with one block of text.")
async def simple_text(call: Call) -> str:
    return "This is a simple text response for testing."


@box.tool("test_image_content", "Answers with a picture.")
async def image_content(call: Call) -> types.CallToolResult:
    return types.CallToolResult(content=[image()])


@box.tool("test_audio_content", "Answers with a sound.")
async def audio_content(call: Call) -> types.CallToolResult:
    return types.CallToolResult(content=[audio()])


@box.tool("test_embedded_resource", "Answers with a resource.")
async def embedded_resource(call: Call) -> types.CallToolResult:
    block = embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    return types.CallToolResult(content=[block])


@box.tool("test_multiple_content_types", "Answers with text, a picture and a resource.")
async def multiple_content_types(call: Call) -> types.CallToolResult:
    json_block = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return types.CallToolResult(content=[words("Multiple content types test:"), image(), json_block])


@box.tool("test_error_handling", "Fails, and says so in its result.")
async def error_handling(call: Call) -> types.CallToolResult:
    block = words("This tool intentionally returns an error for testing")
    return types.CallToolResult(content=[block], is_error=True)


@box.tool("json_schema_2020_12_tool", "Has an input schema of many words.", schema=SCHEMA_2020_12)
async def json_schema(call: Call) -> str:
    return "The schema is what matters here."


@box.tool(
    "test_x_mcp_header",
    "Says its region, which has to stand in a header as well.",
    region={"type": "string", "default": "<none>", "x-mcp-header": "Region"},
)
async def x_mcp_header(call: Call) -> str:
    return f"region={call.arguments.get('region', '<none>')}"


@box.tool("test_missing_capability", "Needs a client that has a model.")
async def missing_capability(call: Call) -> str:
    if call.is_modern and not call.can("sampling"):
        raise missing_capabilities("sampling")
    return "The client has what it takes."
