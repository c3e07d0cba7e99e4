"""Server-sent events: frames, and the ids by which a client comes back.

An event id is `stream.epoch.n`: which stream, which of its lives (a repair after a crash begins a new
one), and which event. Clients treat it as opaque. A stream's name carries a seal that only its own
session's key makes, so a foreign id is told from an own one without asking anybody; and it carries the
ids of the requests, so that calls whose rows are gone can still be answered.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from .messages import RequestId, is_request_id

Kind = Literal["call", "standing"]

KEEP_ALIVE: Final = b": keep-alive\r\n\r\n"
"""A comment: proxies see traffic, clients see nothing (2026-07-28 transports, Receiving Messages)."""

# A stream's name begins with the first letter of its kind.
_CURSOR = re.compile(r"([cs][\w-]{12}[\w-]{11}[\w-]{0,160})\.(\d{1,9})\.(\d{1,15})", re.ASCII)
_LONGEST_ID = 120


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a stream: everything after event `n` of `epoch` is still to be sent."""

    stream_id: str
    epoch: int
    n: int

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The place that a `Last-Event-ID` names, None where it is not one of ours."""
        found = _CURSOR.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3])) if found is not None else None

    def __str__(self) -> str:
        return f"{self.stream_id}.{self.epoch}.{self.n}"

    @property
    def kind(self) -> Kind:
        """Whether a call began the stream or it is the session's standing one."""
        return "call" if self.stream_id[0] == "c" else "standing"

    def belongs_to(self, key: bytes) -> bool:
        """Whether the stream was named for the session whose key this is."""
        return self.stream_id[13:24] == _seal(self.stream_id[:13], self.stream_id[24:], key)


def request_ids_of(stream_id: str) -> list[RequestId]:
    """The JSON-RPC ids of the requests that began a stream; none where the name does not carry them."""
    try:
        ids = json.loads(_unpacked(stream_id[24:])) if len(stream_id) > 24 else []
    except ValueError:
        return []
    return ids if isinstance(ids, list) and all(is_request_id(value) for value in ids) else []


def name_stream(kind: Kind, request_ids: Sequence[RequestId], randomness: bytes, key: bytes) -> str:
    """A new stream's name: nine random bytes, sealed with its session's key, and the requests' ids."""
    head = kind[0] + _packed(randomness[:9])
    packed = _packed(json.dumps(request_ids).encode()) if request_ids else ""
    tail = packed if len(packed) <= _LONGEST_ID else ""
    return head + _seal(head, tail, key) + tail


def frame(data: bytes, event_id: str | None = None) -> bytes:
    """One message as one event; `data` is JSON, which has no raw newline (WHATWG, 9.2.6)."""
    head = b"event: message\r\n" if event_id is None else b"event: message\r\nid: %b\r\n" % event_id.encode()
    return b"%bdata: %b\r\n\r\n" % (head, data)


def priming(event_id: str, retry: int | None) -> bytes:
    """The first event from 2025-11-25 on: an id to come back with and no data (transports, item 6)."""
    wait = b"" if retry is None else b"retry: %d\r\n" % retry
    return b"%bid: %b\r\ndata: \r\n\r\n" % (wait, event_id.encode())


def goodbye(retry: int) -> bytes:
    """What precedes a close by the server: how many milliseconds to wait before coming back."""
    return b"retry: %d\r\n\r\n" % retry


def _seal(head: str, tail: str, key: bytes) -> str:
    return _packed(hashlib.blake2b(f"{head}{tail}".encode(), key=key[:64], digest_size=8).digest())


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
