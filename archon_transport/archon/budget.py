"""How much one answer may hold, and what is done with more.

An assistant reads an answer with the same budget as everything else it reads, and the clients cut off or
refuse what is over theirs. Long texts are read piece by piece (`excerpt`), lists shrink their page, and
whatever still does not fit is cut here (`fitted`), with a note that says so.
"""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

CHARACTERS = 80_000
"""The most characters of JSON in an answer: 20,000 tokens at four characters each. Claude Code stops
reading at 25,000."""

PIECE = 40_000
"""Characters of a long text in one answer where the caller does not ask for another number."""

_FOR_THE_NOTE = 300
_FOR_THE_REST = 10_000

_CAPS = ((20_000, 1000), (4000, 200), (1000, 100), (200, 50), (60, 10), (20, 2))
"""Ever smaller limits for the characters of a text and the items of a list."""


def excerpt(text: str, offset: int = 0, limit: int = PIECE) -> tuple[str, int, int | None]:
    """A piece of a text, how long the whole text is, and where the next piece begins (None: nowhere).

    The piece is shorter than `limit` where its JSON would not leave room for the rest of an answer.
    """
    piece = text[offset : offset + limit]
    while len(as_json(piece)) > CHARACTERS - _FOR_THE_REST:
        piece = piece[: len(piece) * 3 // 4]
    end = offset + len(piece)
    return piece, len(text), end if end < len(text) else None


def as_json(content: Any) -> str:
    """The text that is sent."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def room_for(content: dict[str, Any], key: str) -> int:
    """How many of the items under `key`, from the first, an answer has room for."""
    room = CHARACTERS - len(as_json({**content, key: []})) - _FOR_THE_NOTE
    sizes = accumulate(len(as_json(item)) + 1 for item in content[key])
    return sum(size <= room for size in sizes)


def fitted(content: dict[str, Any]) -> dict[str, Any]:
    """An answer that is within the budget: itself, or with its longest texts and lists cut and a `note`."""
    if len(as_json(content)) <= CHARACTERS:
        return content
    note = "The answer was too long: texts that end in ... and long lists were cut. Ask for less at a time."
    note = " ".join(filter(None, (content.get("note"), note)))
    for characters, items in _CAPS:
        smaller = {**_cut(content, characters, items), "note": note}
        if len(as_json(smaller)) <= CHARACTERS:
            return smaller
    return {"success": content["success"], "note": note}


def _cut(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str) and len(value) > characters:
        return value[: characters - 3] + "..."
    if isinstance(value, list):
        return [_cut(item, characters, items) for item in value[:items]]
    if isinstance(value, dict):
        return {key: _cut(item, characters, items) for key, item in value.items()}
    return value
