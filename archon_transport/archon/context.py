"""What a tool is given beside its arguments: the database, the clocks, and who is calling.

One `Archon` is made when the server is built and lives as long as the process. Who is calling is not
in it: that is asked of the session at each call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from ..sessions import current


def utc_now() -> datetime:
    """The wall clock, for the timestamps in answers."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archon:
    """The parts that every tool shares.

    The pool's connections have Archon's schema in their search path. `started_at` is a reading of
    `monotonic`, so that the uptime does not jump with the wall clock; `session_timeout` is in seconds
    of idleness, None for never.
    """

    pool: asyncpg.Pool
    started_at: float
    session_timeout: float | None
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now

    @property
    def uptime_seconds(self) -> float:
        """Seconds since the server started."""
        return round(self.monotonic() - self.started_at, 3)


def actor() -> str:
    """Who is calling, for the `..._by` columns: the principal, else the client, else Archon's `User`."""
    caller = current()
    if caller is None:
        return "User"
    if caller.owner is not None and caller.owner[1]:
        return caller.owner[1]
    return (caller.session.client_name if caller.session is not None else "") or "User"
