"""What a command prints: a table for people, JSON for machines.

A terminal obeys what it is sent, so no character of a client's text that is not printable reaches it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

WIDEST = 60


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below their headings, in columns as wide as they must be; numbers stand to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    right = [all(isinstance(row[i], int | float) for row in rows) and bool(rows) for i in range(len(widths))]
    lines = []
    for row in (list(headings), *cells):
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    text = f"{value:.0f}" if isinstance(value, float) else str(value)
    return printable(text, WIDEST)


def printable(text: str, length: int) -> str:
    """The text without what a terminal would obey, cut."""
    clean = "".join(c if c.isprintable() else " " for c in text[: length + 1])
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def as_json(value: Any) -> str:
    """Records, or lists or dicts of them, as one JSON text with every field."""
    return json.dumps(value, default=_plain, indent=2)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
