"""Free-form JSON: what a client may store, and how much of it one answer shows.

Documents and versions hold whatever JSON their authors want. It is checked here for what Postgres can
keep; on the way out it is shown whole where it is short, and as pieces of text where it is long.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .answers import Described
from .budget import PIECE, as_json, excerpt
from .schemas import Arguments, storable, unpacked

CONTENT_LIMIT = 1_000_000
"""Characters of one content; a request of the largest size that the server takes holds three of them."""

DEPTH = 64
"""Levels of one content, as many as a request may have."""

Kind = Literal["json", "markdown", "text"]


def _storable_json(value: Any) -> Any:
    """The value, if Postgres can keep it as JSONB and everybody can read it again."""
    _look_into(value, DEPTH)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as error:
        raise ValueError("must be valid JSON in valid Unicode") from error
    if len(text) > CONTENT_LIMIT:
        raise ValueError(f"must be at most {CONTENT_LIMIT} characters of JSON")
    return value


def _look_into(value: Any, depth: int) -> None:
    if not depth:
        raise ValueError(f"must be nested at most {DEPTH} levels deep")
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, dict):
        for each in (*value, *value.values()):
            _look_into(each, depth - 1)
    elif isinstance(value, list):
        for each in value:
            _look_into(each, depth - 1)


_ANY_OBJECT = {"type": "object", "additionalProperties": True}

JsonObject = Annotated[
    dict[str, Any],
    BeforeValidator(unpacked),
    AfterValidator(_storable_json),
    WithJsonSchema(_ANY_OBJECT),
]
"""Any JSON object that Postgres can keep."""

JsonItems = Annotated[
    dict[str, Any] | Annotated[list[dict[str, Any]], Field(max_length=10_000)],
    BeforeValidator(unpacked),
    AfterValidator(_storable_json),
    WithJsonSchema({"type": "array", "items": _ANY_OBJECT, "maxItems": 10_000}),
]
"""A list of JSON objects, as it is published; one object alone is taken as well."""


class Reading(Arguments):
    """The parameters of what shows one item that may be long; to be mixed in."""

    offset: int = Field(0, ge=0)
    """With one item: the character of its text to begin at."""
    limit: int = Field(PIECE, ge=1, le=PIECE)
    """With one item: most characters of its content."""


class Piece(Described):
    """A part of a content that is too long for one answer, as text."""

    text: str
    offset: int
    total: int
    """Characters of the whole text."""
    next_offset: int | None
    """Where the next piece begins; null after the last."""


class Shown(Described):
    """A content as an answer shows it: whole, or a piece of it."""

    content: Any
    """The whole content; null where it is shown in pieces."""
    piece: Piece | None
    """Set where the content is long or an offset was given."""


def plain_text(content: Any) -> tuple[Kind, str]:
    """What a content is and its text; Archon's page shows {"markdown": ...} and {"text": ...} as text."""
    match content:
        case str():
            return "text", content
        case {"markdown": str(text)} if len(content) == 1:
            return "markdown", text
        case {"text": str(text)} if len(content) == 1:
            return "text", text
        case _:
            return "json", as_json(content)


def shown(stored: str | None, reading: Reading) -> dict[str, Any]:
    """The values of a `Shown` for a content as it is stored."""
    content = json.loads(stored or "null")
    if not reading.offset and len(stored or "") <= reading.limit:
        return {"content": content, "piece": None}
    text, total, following = excerpt(plain_text(content)[1], reading.offset, reading.limit)
    return {
        "content": None,
        "piece": Piece(text=text, offset=reading.offset, total=total, next_offset=following),
    }
