"""The reference of all tools, prompts and resources as one page of HTML, made of what clients are told.

Everything in it is escaped: descriptions are ours, but the page does not depend on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from .prompts import PROMPTS
from .registry import Tool
from .resources import TEMPLATES

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Archon: tools</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem;
  color: #1b1b1b; background: #fff }}
h2 {{ margin-top: 2.5rem; border-top: 1px solid #888; padding-top: 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #bbb }}
code {{ overflow-wrap: break-word }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; background: #161616 }} a {{ color: #8cf }} }}
</style>
</head>
<body>
<h1>Archon: tools</h1>
<p>What the server at this address offers to MCP clients. Every answer is JSON with <code>success</code>; a
refusal has <code>error</code> with <code>type</code>, <code>message</code> and <code>suggestion</code>.</p>
<nav><ul>{contents}</ul></nav>
<main>{main}</main>
</body>
</html>
"""


def page(tools: Iterable[Tool]) -> str:
    """The whole page."""
    tools = list(tools)
    sections = [_tool(tool) for tool in tools]
    rows = [(p.name, p.description or "", ", ".join(a.name for a in p.arguments or ())) for p in PROMPTS]
    sections.append(_section("prompts", "Prompts", _table(("Prompt", "What it does", "Arguments"), rows)))
    rows = [(t.uri_template, t.description or "", t.mime_type or "") for t in TEMPLATES]
    sections.append(_section("resources", "Resources", _table(("Address", "What it is", "Type"), rows)))
    names = [*(tool.name for tool in tools), "prompts", "resources"]
    contents = "".join(f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in names)
    return _PAGE.format(contents=contents, main="".join(sections))


def _section(anchor: str, heading: str, body: str) -> str:
    return f'<section id="{escape(anchor)}"><h2>{escape(heading)}</h2>{body}</section>'


def _tool(tool: Tool) -> str:
    published = tool.published()
    properties: Mapping[str, Any] = published.input_schema["properties"]
    required = published.input_schema.get("required", [])
    rows = [
        (name, _kind(schema), "yes" if name in required else "", schema.get("description", ""))
        for name, schema in properties.items()
    ]
    body = f"<p>{escape(tool.description)}</p>"
    body += _table(("Parameter", "Type", "Required", "What it is"), rows) if rows else "<p>No parameters.</p>"
    answers = (published.output_schema or {})["properties"]
    told = [(name, _kind(schema), schema.get("description", "")) for name, schema in answers.items()]
    body += _table(("Answer", "Type", "What it is"), told)
    former = ", ".join(f"<code>{escape(old)}</code>" for old in tool.replaces)
    return _section(tool.name, tool.name, body + (f"<p>Formerly {former}.</p>" if former else ""))


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema's type in few words, with what it allows."""
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_kind(each) for each in schema["anyOf"])
    kind = str(schema.get("type", "any JSON"))
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    if "default" in schema:
        kind += f" = {json.dumps(schema['default'])}"
    return kind


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(each)}</th>" for each in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td><code>{escape(each)}</code></td>" if not place else f"<td>{escape(each)}</td>"
            for place, each in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
