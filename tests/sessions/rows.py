"""Finished requests as tests need them: many, with little said about each."""

from __future__ import annotations

import time
from typing import Any

from archon_transport.sessions.record import Finished, uuid7


def done(session_id: str, method: str = "ping", **facts: Any) -> Finished:
    """A request of a session that is over; successful, unless an `error` is named."""
    outcome = facts.pop("outcome", "error" if "error" in facts else "ok")
    facts.setdefault("request_id", uuid7())
    return Finished(session_id, method, time.time(), 0.002, outcome, **facts)
