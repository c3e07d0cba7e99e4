"""Markdown to chunks: what one search hit is.

A page is read as sections, each under its path of headings. A documented function, class, option or term is
a section too, with its qualified name among the `symbols`. A section becomes chunks of whole paragraphs and
whole code fences; what is tiny joins its neighbour, what is giant is cut at lines, and in the end anywhere.

Headings that came from HTML carry a mark, two private characters around a number: what the number stands
for (anchor, depth, symbols) is in the page's marks, because Markdown has no place for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

TARGET = 1_800
"""Characters of a chunk, as long as whole paragraphs make it so."""

FENCE_CAP = 6_000
"""Characters up to which a code fence is kept whole."""

TINY = 250
"""Sections smaller than this join a neighbour, up to `JOINED` characters."""

JOINED = 1_000
EXAMPLE_LINES = 2
EXAMPLE_LIMIT = 5_000
AROUND = 300
"""Characters of the words before and after a code example that are kept with it."""

MARK = "\ue000{}\ue001"
_MARK = re.compile("\ue000(\\d+)\ue001")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([\w+#.-]*)")
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_DEFINITION = re.compile(
    r"(?:export\s+|pub(?:\(\w+\))?\s+|public\s+|static\s+|abstract\s+|default\s+|async\s+)*"
    r"(?:def|class|func|fn|function|interface|struct|enum|trait|impl|type|module|CREATE\s+\w+)\s+\*?(\w[\w.]*)"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands behind a heading. An empty title ends a definition: the text goes on at `level`."""

    level: int
    anchor: str = ""
    title: str = ""
    symbols: tuple[str, ...] = ()


@dataclass(slots=True)
class Section:
    """A heading and what stands under it, up to the next."""

    path: tuple[str, ...]
    anchor: str = ""
    symbols: tuple[str, ...] = ()
    blocks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One hit."""

    content: str
    path: tuple[str, ...]
    anchor: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A code fence with its language, where it stands, and the words around it."""

    code: str
    language: str
    path: tuple[str, ...]
    around: str


def unmarked(markdown: str) -> str:
    """The text as it is stored and shown."""
    return re.sub(r"\n{3,}", "\n\n", _MARK.sub("", markdown)).strip()


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, headings and fences, in order; a fence is one block whatever stands in it."""
    block: list[str] = []
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if fence:
            block.append(line)
            if found and found[1].startswith(fence) and not found[2]:
                yield "\n".join(block)
                block, fence = [], ""
            continue
        if found or not line.strip() or _HEADING.match(line):
            if block:
                yield "\n".join(block)
            block = [line] if line.strip() else []
            fence = found[1] if found else ""
            if block and not fence:
                yield line
                block = []
            continue
        block.append(line)
    if block:
        yield "\n".join(block)


def sections(
    markdown: str, title: str, trail: Sequence[str] = (), marks: Sequence[Mark] = ()
) -> list[Section]:
    """The sections of a page called `title`; `trail` is where the page stands in its site."""
    above: list[tuple[int, str]] = []
    found = [Section((*trail, title))]
    for block in blocks(markdown):
        heading, number = _HEADING.match(block), _MARK.search(block)
        if not heading and not number:
            found[-1].blocks.append(block)
            continue
        text = _MARK.sub("", heading[2] if heading else block).strip().strip("`")
        mark = marks[int(number[1])] if number else Mark(len(heading[1]) if heading else 1)
        above = [each for each in above if each[0] < mark.level]
        if text:
            above.append((mark.level, mark.title or text))
        names = [name for _, name in above]
        names = names if names and names[0] == title else [title, *names]
        found.append(Section((*trail, *names), mark.anchor, mark.symbols))
        if text:
            found[-1].blocks.append(_MARK.sub("", block).strip())
    return [section for section in found if section.blocks]


def code_sections(text: str, language: str, title: str) -> list[Section]:
    """The sections of a source file: what is defined at its left margin, each with the lines before it."""
    groups: list[tuple[str, list[str]]] = [("", [])]
    for line in text.splitlines():
        found = _DEFINITION.match(line)
        if found:
            groups.append((found[1], []))
        groups[-1][1].append(line)
    made = []
    for name, lines in groups:
        if body := "\n".join(lines).strip("\n"):
            path = (title, name) if name else (title,)
            made.append(Section(path, symbols=(name,) if name else (), blocks=[fenced(body, language)]))
    return made


def chunks(found: Sequence[Section]) -> list[Chunk]:
    """The chunks of a page, in order."""
    made: list[Chunk] = []
    for section in found:
        for content in _packed(section.blocks):
            chunk = Chunk(content, section.path, section.anchor, section.symbols)
            joined = _joined(made[-1], chunk) if made else None
            if joined:
                made[-1] = joined
            else:
                made.append(chunk)
    return made


def examples(found: Sequence[Section]) -> list[Example]:
    """The code fences of a page that are worth finding by themselves."""
    made = []
    for section in found:
        for number, block in enumerate(section.blocks):
            opened = _FENCE.match(block)
            if not opened:
                continue
            code = "\n".join(block.splitlines()[1:-1])
            if code.strip().count("\n") + 1 < EXAMPLE_LINES or len(code) > EXAMPLE_LIMIT:
                continue
            before = [each for each in section.blocks[:number] if not _FENCE.match(each)][-1:]
            after = [each for each in section.blocks[number + 1 : number + 2] if not _FENCE.match(each)]
            around = "\n".join([each[-AROUND:] for each in before] + [each[:AROUND] for each in after])
            made.append(Example(code, opened[2].lower(), section.path, around))
    return made


def _joined(before: Chunk, chunk: Chunk) -> Chunk | None:
    """The two as one, where they are better told together: a bare heading, or what is tiny beside kin."""
    below = chunk.path[: len(before.path)] == before.path
    beside = chunk.path[:-1] == before.path[:-1]
    sizes = len(before.content), len(chunk.content)
    bare = _HEADING.fullmatch(before.content) is not None
    named = bool(before.symbols and chunk.symbols)  # two things that are documented, each worth a hit
    tiny = ((below or beside) and max(sizes) < TINY) or (below and min(sizes) < TINY and not named)
    if not (tiny and sum(sizes) <= JOINED) and not (bare and below):
        return None
    head = chunk if bare else before
    symbols = tuple(dict.fromkeys((*before.symbols, *chunk.symbols)))
    return Chunk(f"{before.content}\n\n{chunk.content}", head.path, head.anchor or chunk.anchor, symbols)


def _packed(given: Sequence[str]) -> Iterator[str]:
    """Blocks put together up to the target, larger ones cut."""
    group: list[str] = []
    size = 0
    for block in (part for each in given for part in _cut(each)):
        if group and size + len(block) > TARGET:
            yield "\n\n".join(group)
            group, size = [], 0
        group.append(block)
        size += len(block) + 2
    if group:
        yield "\n\n".join(group)


def _cut(block: str) -> Iterator[str]:
    opened = _FENCE.match(block)
    if len(block) <= (FENCE_CAP if opened else TARGET):
        yield block
    elif opened:
        for part in _lines("\n".join(block.splitlines()[1:-1]), TARGET):
            yield fenced(part, opened[2])
    else:
        yield from _lines(block, TARGET)


def _lines(text: str, limit: int) -> Iterator[str]:
    """The text in parts of at most `limit`, cut at line ends, else at spaces, else anywhere."""
    while len(text) > limit:
        end = (
            max(text.rfind("\n", limit // 2, limit), 0) or max(text.rfind(" ", limit // 2, limit), 0) or limit
        )
        yield text[:end].rstrip()
        text = text[end:].lstrip("\n ") if text[end] != "\n" else text[end + 1 :]
    if text.strip():
        yield text


def fenced(code: str, language: str) -> str:
    """Code between fences that are longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"
