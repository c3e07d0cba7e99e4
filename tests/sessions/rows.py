"""Sessions and finished requests as tests need them: many, with little said about each."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from archon_transport.sessions.record import Finished, Session, WireId, uuid7

START = datetime(2026, 1, 1, tzinfo=UTC)


def new_session(wire: WireId | None = None, **changes: Any) -> Session:
    """A session that nobody has used, of a client named probe; it opens to `wire`, where that is given."""
    wire = wire or WireId.mint()
    session = Session(
        session_id=wire.session_id,
        secret_digest=wire.digest,
        owner=None,
        revision="2025-11-25",
        initialize_params=b'{"clientInfo": {"name": "probe"}, "capabilities": {"roots": {}}, "x": "\\u0000"}',
        client_name="probe",
        client_title=None,
        client_version="1.0",
        user_agent="probe/1.0",
        connected_at=START,
    )
    return replace(session, **changes)


def done(session_id: str, method: str = "ping", **facts: Any) -> Finished:
    """A request of a session that is over; successful, unless an `error` is named."""
    outcome = facts.pop("outcome", "error" if "error" in facts else "ok")
    facts.setdefault("request_id", uuid7())
    return Finished(session_id, method, time.time(), 0.002, outcome, **facts)
