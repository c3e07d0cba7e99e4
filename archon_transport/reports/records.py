"""What the reports answer with: one record for each kind of row, as people read it.

Texts are as clients sent them, only cut: whoever shows one escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from .words import in_words

TOKEN_BYTES = 4
"""Bytes of an answer that count as one token: an estimate, the model is not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """One session. `state` is active, idle, inferred, archon (kept by a running Archon v1) or ended."""

    session_id: UUID
    state: str
    client_name: str
    client_title: str | None
    client_version: str | None
    user_agent: str | None
    revision: str | None
    era: str | None
    told_apart: bool | None
    owner: str | None
    node: str | None
    connected_at: datetime | None
    last_activity: datetime | None
    ended_at: datetime | None
    ended_reason: str | None
    requests: int
    errors: int
    bytes_in: int
    bytes_out: int
    client_type: str
    status: str | None
    disconnected_at: datetime | None
    disconnect_reason: str | None
    total_duration: int | None
    user_id: UUID | None
    user_email: str | None
    user_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """One admitted request. `outcome` is ok, tool_error, error, cancelled, timeout or detached."""

    request_id: UUID
    session_id: UUID
    client_name: str
    timestamp: datetime
    method: str | None
    tool_name: str | None
    status: str
    outcome: str
    duration_ms: int | None
    error_code: int | None
    error_message: str | None
    principal: str | None
    bytes_in: int | None
    bytes_out: int | None
    node: str | None
    prompt_tokens: int
    completion_tokens: int
    estimated_cost: float

    @property
    def tokens(self) -> int:
        """Estimated tokens that a tool's answer put into the client's context."""
        return (self.bytes_out or 0) // TOKEN_BYTES if self.method == "tools/call" else 0


@dataclass(frozen=True, slots=True)
class Requests:
    """A page of requests; `total` counts what matches among the `searched` newest."""

    lines: list[RequestLine]
    total: int
    limit: int
    offset: int
    searched: int

    @property
    def has_more(self) -> bool:
        """Whether a later page has something."""
        return self.total > self.offset + self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Requests that were refused before they came to a session."""

    last: datetime
    rule: str
    bucket: str
    client: str
    status: int
    count: int
    example: str

    @property
    def words(self) -> str:
        """Why, and what to do about it."""
        return in_words(self.rule, self.example)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLine:
    """A stream of a session that is open."""

    stream_id: str
    kind: str
    node: str | None
    opened_at: datetime
    tail: int
    viewed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLine:
    """A question that waits for its client's answer."""

    question_id: str
    method: str
    asked_at: datetime
    deadline: datetime
    node: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """One process that serves, or did within a day; `silent` is seconds since its last heartbeat."""

    node: str
    incarnation: str
    began_at: datetime
    dead_at: datetime | None
    silent: float
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLine:
    """A tool, or a method of the protocol, over a time. Percentiles are of its newest requests."""

    tool: str
    requests: int
    errors: int
    timeouts: int
    avg_ms: float | None
    min_ms: int | None
    max_ms: int | None
    bytes_out: int
    tokens: int
    cost: float
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What happened in an hour or a day."""

    start: datetime
    requests: int
    errors: int
    timeouts: int
    tokens: int
    cost: float
    avg_ms: float | None
