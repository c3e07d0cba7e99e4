"""`health_check` and `session_info` on a real database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from mcp.server import Server

from archon_transport.archon import build
from archon_transport.archon.status import SLOW
from archon_transport.sessions import Session, serving

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def server(pool) -> Server[Any]:
    return build(pool, started_at=100.0, session_timeout=1800.0, monotonic=lambda: 107.5, now=lambda: NOON)


async def test_a_healthy_server(call) -> None:
    """The database answered a real round trip; uptime and time are the clocks' own."""
    assert await call("health_check") == {
        "success": True,
        "health": {
            "status": "healthy",
            "api_service": True,
            "agents_service": False,
            "last_health_check": "2026-03-01T12:00:00Z",
        },
        "uptime_seconds": 7.5,
        "timestamp": "2026-03-01T12:00:00Z",
    }


class TestSlowDatabase:
    """A server whose clock moves more than `SLOW` between two readings."""

    @pytest.fixture
    def server(self, pool) -> Server[Any]:
        readings = iter([0.0, SLOW + 0.1, 9.0])
        return build(pool, started_at=0.0, session_timeout=None, monotonic=lambda: next(readings))

    async def test_a_slow_database(self, call) -> None:
        """A round trip of over a second is `degraded`, and the database still counts as there."""
        health = (await call("health_check"))["health"]
        assert (health["status"], health["api_service"]) == ("degraded", True)


async def test_sessions_that_count_as_active(call, pool) -> None:
    """Active are the live rows of ours: not the ended ones, and not those that Archon itself made."""
    await pool.execute("""
        INSERT INTO archon_mcp_sessions (secret_digest, ended_at) VALUES
            ('\\x01', NULL), ('\\x02', NULL), ('\\x03', now()), (NULL, NULL)
    """)
    answer = await call("session_info")
    assert answer == {
        "success": True,
        "session_management": {
            "active_sessions": 2,
            "session_timeout": 1800.0,
            "server_uptime_seconds": 7.5,
        },
        "session": None,
        "timestamp": "2026-03-01T12:00:00Z",
    }


async def test_session_info_is_about_the_caller(call) -> None:
    """The caller's session is described, its owner too, its secret not."""
    session = Session(
        session_id=str(uuid.uuid4()),
        secret_digest=b"\x2a" * 32,
        owner=("https://issuer", "ann", "cli"),
        revision="2025-11-25",
        initialize_params=b'{"secret": 1}',
        client_name="claude-code",
        client_title="Claude Code",
        client_version="2.1",
        user_agent="claude/2",
        connected_at=NOON,
        initialized=True,
    )
    serving(session, session.owner)
    answer = await call("session_info")
    assert answer["session"] == {
        "session_id": session.session_id,
        "client_name": "claude-code",
        "client_title": "Claude Code",
        "client_version": "2.1",
        "protocol_version": "2025-11-25",
        "user_agent": "claude/2",
        "connected_at": "2026-03-01T12:00:00Z",
        "initialized": True,
        "principal": "ann",
    }
