"""The one record: an MCP session and its tracking session, one dataclass, one row.

A `Session` is a value. Memory holds copies of rows, never the truth; whoever changes a session
changes the row and takes the row's answer. What is counted while it lives (requests, errors, bytes)
is added to the row by the writer and is not kept here.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

Owner = tuple[str | None, str | None, str | None]
"""(issuer, subject, client id) of a verified principal: who a session belongs to."""

EndReason = Literal["deleted", "idle", "operator", "full"]
"""Why a session ended: the client's DELETE, no traffic, somebody ended it, or the table was full."""

InferredEra = Literal["modern", "none"]
"""A request of the modern era, or one of the handshake's without its session."""

Verdict = Literal["ok", "tool_error", "error", "cancelled", "timeout", "detached"]
"""How a request ended; detached: its client left before the answer and could not come back for it."""

HANDSHAKE: Final = ("initialize", "listen", "delete")
"""What makes a session, listens to it (GET) and ends it (DELETE): rows, but not among its `requests`."""

SECRET_BITS = 128
_WIRE = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.([\w-]{22})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """One client's session: a row of `archon_mcp_sessions`.

    `session_id` is public (shown on pages and in logs); the secret that the client also holds is not
    here, only its SHA-256. `initialize_params` is the whole JSON of the client's `initialize` params.
    """

    session_id: str
    secret_digest: bytes
    owner: Owner | None
    revision: str
    initialize_params: bytes
    client_name: str
    client_title: str | None
    client_version: str
    user_agent: str | None
    connected_at: datetime
    initialized: bool = False
    log_level: str | None = None


@dataclass(frozen=True, slots=True)
class Inferred:
    """Requests without a session that seem to go together: a row for the records, never served.

    `told_apart` says that the client named its conversation: without that, two clients may share a row.
    """

    session_id: str
    era: InferredEra
    owner: Owner | None
    revision: str
    client_name: str
    client_version: str
    told_apart: bool


def new_request_id() -> uuid.UUID:
    """A request's id in its row, in the log and in an error that its client sees; no secret."""
    return uuid7(bits=random.getrandbits)


@dataclass(slots=True)
class Finished:
    """One admitted request that is over: a row of `archon_mcp_requests`, and its part of the totals.

    `began` is Unix time. `error` says in a word or a sentence what went wrong, None where nothing did; what
    was sent or answered never stands here.
    """

    session_id: str
    method: str
    began: float
    seconds: float
    outcome: Verdict
    tool: str | None = None
    error: str | None = None
    error_code: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    principal: str | None = None
    inferred: Inferred | None = None
    revision: str = ""
    request_id: uuid.UUID = field(default_factory=new_request_id)


@dataclass(frozen=True, slots=True)
class WireId:
    """An `Mcp-Session-Id` as a client presents it: the public id and the secret beside it."""

    session_id: str
    secret: str

    @classmethod
    def mint(cls) -> WireId:
        """A fresh id: UUIDv7, then 128 random bits (2025-11-25 transports, Session Management 1)."""
        return cls(session_id=str(uuid7()), secret=secrets.token_urlsafe(SECRET_BITS // 8))

    @classmethod
    def parse(cls, text: str) -> WireId | None:
        """The two halves of a presented id, or None where it cannot be one of ours."""
        found = _WIRE.fullmatch(text)
        return cls(found[1], found[2]) if found is not None else None

    def __str__(self) -> str:
        return f"{self.session_id}.{self.secret}"

    def __repr__(self) -> str:  # the secret reaches no log by accident
        return f"WireId({self.session_id})"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret: what the row keeps."""
        return hashlib.sha256(self.secret.encode("ascii")).digest()


def uuid7(milliseconds: int | None = None, bits: Callable[[int], int] = secrets.randbits) -> uuid.UUID:
    """A UUID version 7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, the rest from `bits`."""
    stamp = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    value = (stamp & (1 << 48) - 1) << 80 | bits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
