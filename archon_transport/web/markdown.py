"""A document as HTML: the part of Markdown that documents use, and JSON as an outline.

Everything is escaped first and marked up after, so that no text of a document becomes markup of its own;
a link goes to http, https or mailto and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from markupsafe import Markup, escape

DEEPEST: Final = 8
LONGEST: Final = 500_000

_INLINE: Final = (
    (
        re.compile(r"\[([^\]\n]+)\]\(((?:https?://|mailto:)[^\s()]+)\)"),
        r'<a href="\2" rel="noreferrer">\1</a>',
    ),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*([^\s*][^*\n]*)\*(?![\w*])"), r"<em>\1</em>"),
)
_HEADING: Final = re.compile(r"(#{1,6})\s+(.*)")
_ITEM: Final = re.compile(r"\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)")
_FENCE: Final = re.compile(r"\s*(```|~~~)")


def rendered(content: Any, depth: int = 0) -> Markup:
    """A document's content: text is read as Markdown, objects and lists become an outline."""
    if depth == 0 and isinstance(content, dict) and set(content) == {"markdown"}:
        content = content["markdown"]
    if isinstance(content, dict) and depth < DEEPEST:
        pairs = ((escape(str(k).replace("_", " ")), rendered(v, depth + 1)) for k, v in content.items())
        return Markup("<dl>{}</dl>").format(
            Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(*p) for p in pairs)
        )
    if isinstance(content, list) and depth < DEEPEST:
        items = (Markup("<li>{}</li>").format(rendered(item, depth + 1)) for item in content)
        return Markup("<ul>{}</ul>").format(Markup("").join(items))
    text = "" if content is None else str(content)
    blocks = _blocks(text[:LONGEST].replace("\0", "").splitlines())
    return Markup("\n".join(blocks))  # noqa: S704 - each line is escaped before it is marked up


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    waiting: list[str] = []
    kind = "p"
    for line in [*lines, ""]:
        if kind == "pre":
            if _FENCE.match(line):
                kind, waiting = "p", [*_close("pre", waiting)]
                yield waiting.pop()
            else:
                waiting.append(str(escape(line)))
            continue
        found, heading = _ITEM.match(line), _HEADING.match(line)
        new = "pre" if _FENCE.match(line) else ("ol" if found[1] else "ul") if found else "p"
        if new != kind or heading or not line.strip():
            yield from _close(kind, waiting)
            waiting, kind = [], new
        if heading:
            level = min(len(heading[1]) + 1, 6)
            yield f"<h{level}>{_inline(heading[2])}</h{level}>"
        elif found:
            waiting.append(f"<li>{_inline(found[2])}</li>")
        elif line.strip() and kind == "p":
            waiting.append(_inline(line))
    yield from _close(kind, waiting)


def _close(kind: str, waiting: list[str]) -> Iterator[str]:
    if waiting or kind == "pre":
        inner = "\n".join(waiting)
        yield f"<pre><code>{inner}</code></pre>" if kind == "pre" else f"<{kind}>{inner}</{kind}>"


def _inline(text: str) -> str:
    """One line's marks; what stands in backticks has none."""
    parts = str(escape(text)).split("`")
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return "".join(f"<code>{part}</code>" if i % 2 else _marked(part) for i, part in enumerate(parts))


def _marked(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text
