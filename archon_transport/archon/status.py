"""`health_check`, `session_info` and `heartbeat`: how the server is, and what it knows of the session."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Literal

import asyncpg
from pydantic import BeforeValidator, ConfigDict, Field

from ..sessions import Owner, current
from .answers import Described, Success
from .context import Archon
from .registry import READS, tool
from .schemas import NoArguments

PROBE_LIMIT = 5.0
"""Seconds the database has to answer a probe; Archon's own health check waited as long."""

SLOW = 1.0
"""Seconds above which an answering database counts as degraded."""

_PROBE = "SELECT 1"
_COUNT_LIVE_SESSIONS = """
    SELECT count(*) FROM archon_mcp_sessions WHERE ended_at IS NULL AND secret_digest IS NOT NULL
"""


class Health(Described):
    """How the server's parts are."""

    status: Literal["healthy", "degraded", "unhealthy"]
    api_service: bool
    """Whether the database answers; this server is its own API."""
    agents_service: bool
    """Always false: there is no separate agents service."""
    last_health_check: datetime


class HealthAnswer(Success):
    """What `health_check` answers."""

    health: Health
    uptime_seconds: float
    timestamp: datetime


async def health_check(archon: Archon, arguments: NoArguments) -> HealthAnswer:
    """How the server is. One real round trip to the database decides: `healthy`, `degraded` (it took over a
    second) or `unhealthy`. There is no separate API or agents service here: `api_service` is true when the
    database answers, `agents_service` is always false.
    """
    started = archon.monotonic()
    try:
        async with asyncio.timeout(PROBE_LIMIT):
            await archon.pool.fetchval(_PROBE)
        answers = True
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        answers = False
    status: Literal["healthy", "degraded", "unhealthy"] = "healthy" if answers else "unhealthy"
    if answers and archon.monotonic() - started > SLOW:
        status = "degraded"
    now = archon.now()
    health = Health(status=status, api_service=answers, agents_service=False, last_health_check=now)
    return HealthAnswer(health=health, uptime_seconds=archon.uptime_seconds, timestamp=now)


class SessionManagement(Described):
    """Archon's numbers about all sessions."""

    active_sessions: int
    session_timeout: float | None
    """Seconds of idleness until a session ends; null: never."""
    server_uptime_seconds: float


def _subject(owner: Owner | None) -> str | None:
    return None if owner is None else owner[1]


class SessionInfo(Described):
    """The caller's own session; its secret is not here."""

    model_config = ConfigDict(from_attributes=True)

    session_id: str
    client_name: str
    client_title: str | None
    client_version: str
    protocol_version: str = Field(validation_alias="revision")
    user_agent: str | None
    connected_at: datetime
    initialized: bool
    principal: Annotated[str | None, BeforeValidator(_subject)] = Field(validation_alias="owner")
    """Whom it belongs to; null where nobody had to sign in."""


class SessionAnswer(Success):
    """What `session_info` answers."""

    session_management: SessionManagement
    session: SessionInfo | None
    """This session; null where the request came without one."""
    timestamp: datetime


async def session_info(archon: Archon, arguments: NoArguments) -> SessionAnswer:
    """This session as the server keeps it (id, client, protocol version, since when), and how many sessions
    are live. A session outlives restarts of the server; it ends when its client ends it or after
    `session_timeout` seconds of idleness.
    """
    management = SessionManagement(
        active_sessions=await archon.pool.fetchval(_COUNT_LIVE_SESSIONS),
        session_timeout=archon.session_timeout,
        server_uptime_seconds=archon.uptime_seconds,
    )
    caller = current()
    own = None if caller is None or caller.session is None else SessionInfo.model_validate(caller.session)
    return SessionAnswer(session_management=management, session=own, timestamp=archon.now())


class Alive(Success):
    """What `heartbeat` answers."""

    message: str
    timestamp: datetime
    timeout_seconds: float | None
    """Seconds of idleness until a session ends; null: never."""


async def heartbeat(archon: Archon, arguments: NoArguments) -> Alive:
    """A sign of life. Nobody has to send one: every request is one, and a session ends only after
    `timeout_seconds` of idleness. It needs no reconnecting after a restart or a broken connection.
    """
    caller = current()
    alive = caller is not None and caller.session is not None
    message = "The session is alive." if alive else "The server is alive; this call came without a session."
    return Alive(message=message, timestamp=archon.now(), timeout_seconds=archon.session_timeout)


TOOLS = (
    tool(health_check, "Health check", READS),
    tool(session_info, "Session info", READS),
    tool(heartbeat, "Heartbeat", READS),
)
