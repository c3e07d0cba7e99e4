"""What the REST API takes and answers: Archon's shapes, as its front end reads them.

The models are the truth: requests are checked by them, answers are made through them, and the OpenAPI
document is generated from them.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

YEAR: Final = timedelta(days=366)


def _written_as_a_day(value: object) -> object:
    """A day is written 2026-01-31; a number, which would count as seconds, is none."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
        raise ValueError("must be a date such as 2026-01-31")
    return value


IsoDay = Annotated[date, BeforeValidator(_written_as_a_day)]
Limit = Annotated[int, Field(ge=1, le=200)]
Search = Annotated[str | None, Field(max_length=200)]
Word = Literal["active", "idle", "disconnected"]


class Parameters(BaseModel):
    """What is given in the path and the query."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Nothing(Parameters):
    """For what takes no parameter."""


class ClientsAsked(Parameters):
    """Which clients."""

    status_filter: Literal["active", "idle", "all"] = "all"
    limit: Limit = 200
    offset: Annotated[int, Field(ge=0, le=10_000)] = 0


class EndedAsked(Parameters):
    """Which ended sessions."""

    days: Annotated[int, Field(ge=1, le=30)] = 7
    limit: Limit = 50


class SessionAsked(Parameters):
    """Which session."""

    session_id: UUID


class Period(Parameters):
    """The last days, or the days from one date to another, at most a year of them."""

    days: Annotated[int, Field(ge=1, le=90)] = 30
    start_date: IsoDay | None = None
    end_date: IsoDay | None = None

    def between(self, now: datetime) -> tuple[datetime, datetime]:
        """From when to when: one date alone begins or ends a time with today, two come in any order."""
        if self.start_date is None and self.end_date is None:
            return now - timedelta(days=self.days), now
        first, last = sorted((self.start_date or now.date(), self.end_date or now.date()))
        first = max(first, last - min(YEAR, last - date.min))
        return datetime.combine(first, time(), UTC), datetime.combine(last, time.max, UTC)


class ErrorsAsked(Parameters):
    """Which failed requests."""

    severity: Literal["all", "error", "timeout"] = "all"
    limit: Limit = 50
    session_id: UUID | None = None


class AnalyticsAsked(Parameters):
    """Over how many days, and whether against those before."""

    days: Annotated[int, Field(ge=1, le=90)] = 30
    compare: bool = True


class LogsAsked(Parameters):
    """Which requests, as a log."""

    level: Literal["all", "info", "warning", "error"] = "all"
    search: Search = None
    session_id: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=50_000)] = 0


class Answer(BaseModel):
    """The root of what is answered."""

    model_config = ConfigDict(from_attributes=True)


class Status(Answer):
    """Whether the server runs; `uptime` is in seconds."""

    status: Literal["running", "unhealthy"]
    uptime: int
    logs: list[str] = []


class Config(Answer):
    """Where clients connect."""

    host: str
    port: int
    transport: Literal["streamable-http"] = "streamable-http"
    path: str
    model_choice: str | None = None


class Client(Answer):
    """One session; `inferred` groups requests that had none."""

    session_id: UUID
    client_type: str
    client_name: str
    client_version: str | None
    connected_at: datetime | None
    last_activity: datetime | None
    status: Word
    inferred: bool
    disconnected_at: datetime | None
    total_duration: int | None
    disconnect_reason: str | None
    user_id: UUID | None
    user_email: str | None
    user_name: str | None
    total_requests: int


class Clients(Answer):
    """A page of clients."""

    clients: list[Client]
    total: int


class Sessions(Answer):
    """How many sessions live; the time-out is in seconds, null for never."""

    active_sessions: int
    session_timeout: float | None
    server_uptime_seconds: int


class Breakdown(Answer):
    """Sessions by what they are."""

    active: int
    disconnected: int
    total: int


class Ages(Answer):
    """Live sessions by their last sign: within 5 minutes, 10, or longer ago."""

    healthy: int
    aging: int
    stale: int


class Connections(Answer):
    """How sessions come and go."""

    avg_duration_seconds: float
    sessions_per_hour: float
    disconnect_rate_percent: float
    total_sessions_24h: int


class Recent(Answer):
    """One of the last active; the id is cut to eight characters."""

    session_id: str
    client_type: str
    status: Word
    age_minutes: float
    uptime_minutes: float


class SessionsHealth(Answer):
    """How sessions are."""

    status_breakdown: Breakdown
    age_distribution: Ages
    connection_health: Connections
    recent_activity: list[Recent]
    timestamp: datetime


class EndedStatistics(Answer):
    """Why sessions ended and how long they had lasted."""

    total_disconnected: int
    disconnect_reasons: dict[str, int]
    avg_duration_seconds: float
    max_duration_seconds: float
    min_duration_seconds: float


class Ended(Answer):
    """Ended sessions, the last first."""

    sessions: list[Client]
    statistics: EndedStatistics
    period: dict[str, datetime]


class Request(Answer):
    """One request. Tokens are estimated from the bytes of a tool's answer; the model is not known here."""

    request_id: UUID
    session_id: UUID
    method: str | None
    tool_name: str | None
    timestamp: datetime
    duration_ms: int | None
    status: Literal["success", "error", "timeout"]
    outcome: str
    error_code: int | None
    error_message: str | None
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated_cost: float


class Sums(Answer):
    """Sums over requests; tokens are estimated."""

    total_requests: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    total_cost: float
    tokens_are_estimated: Literal[True] = True


class OneSession(Answer):
    """A session with its newest requests, at most a hundred; the summary is of those."""

    session: Client
    requests: list[Request]
    summary: Sums


class PeriodSums(Sums):
    """Sums over a time."""

    unique_sessions: int


class ToolUse(Answer):
    """One tool's part."""

    count: int
    tokens: int
    cost: float


class UsageSummary(Answer):
    """What was used in a time."""

    period: dict[str, datetime]
    summary: PeriodSums
    by_tool: dict[str, ToolUse]


class ErrorSums(Answer):
    """How often it went wrong in the last day."""

    error_count: int
    timeout_count: int
    last_error_at: datetime | None
    error_rate_percent: float


class Errors(Answer):
    """Failed requests, the newest first."""

    errors: list[Request]
    summary: ErrorSums
    total: int


class Day(Answer):
    """One day."""

    date: date
    requests: int
    tokens: int
    cost: float
    success_rate: float


class Hour(Answer):
    """One hour of the last 24; the duration is in milliseconds."""

    hour: datetime
    requests: int
    avg_duration: float | None


class Trends(Answer):
    """By day and by hour, without those in which nothing happened."""

    daily: list[Day]
    hourly: list[Hour]


class Ratios(Answer):
    """Requests by their status."""

    success: int
    error: int
    timeout: int
    success_rate: float


class ToolTimes(Answer):
    """How long a tool takes."""

    tool: str
    avg_ms: float | None
    min_ms: int | None
    max_ms: int | None
    count: int


class Times(Answer):
    """How long requests take, in milliseconds; percentiles are of the newest 50,000."""

    by_tool: list[ToolTimes]
    overall_avg: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class Change(Answer):
    """A figure and what it was in the time before; null where it was nothing."""

    current: float
    previous: float
    change_percent: float | None


class Comparison(Answer):
    """This time against the one before."""

    requests: Change
    success_rate: Change
    tokens: Change
    cost: Change


class Analytics(Answer):
    """Trends, ratios and times over some days."""

    period: dict[str, datetime]
    trends: Trends
    ratios: Ratios
    response_times: Times
    comparison: Comparison | None


class LogLine(Request):
    """A request as a line of a log."""

    level: Literal["info", "warning", "error"]


class Pagination(Answer):
    """Where a page stands among what was found in the newest 50,000 requests."""

    total: int
    limit: int
    offset: int
    has_more: bool


class Logs(Answer):
    """A page of the log, the newest first."""

    logs: list[LogLine]
    pagination: Pagination


class Problem(Answer):
    """What is wrong with a request, and what to do."""

    error: str
    status: int
