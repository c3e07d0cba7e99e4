"""The HTTP headers that the protocol reads, each with at most one value.

A header that stands twice is refused rather than folded: two readers on the way (a proxy that takes
the first value, a server that takes the last) would serve two different requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

SESSION_ID: Final = "Mcp-Session-Id"

_FIELDS: Final = {
    "mcp-session-id": "session_id",
    "mcp-protocol-version": "revision",
    "mcp-method": "method",
    "mcp-name": "name",
    "last-event-id": "last_event_id",
    "content-type": "content_type",
    "authorization": "authorization",
    "accept": "accept",
}
_PLAIN: Final = re.compile(r"[\t\x20-\x7e]*")


@dataclass(slots=True)
class ProtocolHeaders:
    """One request's protocol headers; None where absent.

    `duplicate` names one that stands twice, `spoiled` one with characters that a field may not have.
    """

    session_id: str | None = None
    revision: str | None = None
    method: str | None = None
    name: str | None = None
    last_event_id: str | None = None
    content_type: str | None = None
    authorization: str | None = None
    accept: str | None = None
    duplicate: str | None = None
    spoiled: str | None = None

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> ProtocolHeaders:
        """Pick the protocol's headers out of raw (name, value) lines."""
        headers = cls()
        for name, value in pairs:
            lowered = name.lower()
            if lowered.startswith("mcp-") and not _PLAIN.fullmatch(value):
                headers.spoiled = name
            field = _FIELDS.get(lowered)
            if field is None:
                continue
            standing = getattr(headers, field)
            if standing is None:
                setattr(headers, field, value.strip(" \t"))
            elif field == "accept":  # a list may go on in another line
                setattr(headers, field, f"{standing}, {value}")
            else:
                headers.duplicate = name
        return headers

    @property
    def is_json(self) -> bool:
        """Whether the body is declared as JSON: `application/json` in any case, parameters allowed."""
        return _media_type(self.content_type or "") == "application/json"

    def accepts(self, media_type: str) -> bool:
        """Whether the client takes `media_type`; a missing Accept means anything (RFC 9110, 12.5.1)."""
        return self.accept is None or _takes(self.accept, media_type)


@lru_cache(maxsize=256)  # a client sends the same line with every request
def _takes(accept: str, media_type: str) -> bool:
    """The most specific range decides: `application/json;q=0, */*` takes anything but JSON."""
    parts = accept.split(",")
    for wanted in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        named = [part for part in parts if _media_type(part) == wanted]
        if named:
            return not all(_is_zero(part) for part in named)
    return False


@lru_cache(maxsize=256)
def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _is_zero(part: str) -> bool:
    """`;q=0` says "not this one" (RFC 9110, 12.4.2)."""
    parameters = (parameter.strip().lower() for parameter in part.split(";")[1:])
    return any(p.startswith("q=") and p[2:].strip("0.") == "" for p in parameters)
