"""What a tool is given beside its arguments: the database, the clocks, and who is calling.

One `Archon` is made when the server is built and lives as long as the process. Who is calling is not
in it: that is asked of the session at each call.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import quote

import asyncpg

from ..knowledge.embed import Embedder
from ..sessions import current

logger = logging.getLogger(__name__)

Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
"""A connection of its own or one of a pool's."""

reporter: ContextVar[Callable[[float, float | None, str | None], Awaitable[None]] | None] = ContextVar(
    "reporter", default=None
)
"""How the running call tells its client that it goes forward; the registry sets it."""


async def report(progress: float, total: float | None, message: str) -> None:
    """Tell the client of the running call how far it is, where the client asked to be told."""
    if (tell := reporter.get()) is not None:
        await tell(progress, total, message)


def utc_now() -> datetime:
    """The wall clock, for the timestamps in answers."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Changes:
    """Told by the tools, after each commit, which resources are not what they were.

    `publish` is what the server does with one address; without it nobody listens. A change has been
    made when it is told, so a failure to tell is logged and goes no further.
    """

    publish: Callable[[str], Awaitable[None]] | None = None

    async def __call__(self, addresses: Iterable[str]) -> None:
        """Tell that the resources of these addresses (`archon://...`) have changed."""
        if self.publish is None:
            return
        for address in addresses:
            try:
                await self.publish(address)
            except Exception:
                logger.warning("a change could not be announced", exc_info=True)


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
    changed: Changes = field(default_factory=Changes)
    embedder: Embedder | None = None
    stopping: Callable[[], bool] = lambda: False

    @property
    def uptime_seconds(self) -> float:
        """Seconds since the server started."""
        return round(self.monotonic() - self.started_at, 3)


def may(scope: str) -> bool:
    """Whether whoever is calling may do what needs `scope`; where no identity is asked, everybody may."""
    caller = current()
    return caller is None or caller.scopes is None or scope in caller.scopes


def project_address(project_id: object) -> str:
    """The address of a project's resource."""
    return f"archon://projects/{project_id}"


def task_address(task_id: object) -> str:
    """The address of a task's resource."""
    return f"archon://tasks/{task_id}"


def document_address(project_id: object, document_id: str) -> str:
    """The address of a document's resource."""
    return f"archon://documents/{project_id}/{quote(document_id, safe='')}"


_client: ContextVar[str] = ContextVar("archon_client", default="")


def calling(client: str) -> None:
    """Note the name that the client gives itself: in the modern era no session has it."""
    _client.set(client)


def actor() -> str:
    """Who is calling, for the `..._by` columns: the principal, else the client, else Archon's `User`."""
    caller = current()
    if caller is None:
        return "User"
    if caller.owner is not None and caller.owner[1]:
        return caller.owner[1]
    return (caller.session.client_name if caller.session is not None else _client.get()) or "User"


def identity() -> str:
    """Who is calling, for telling callers apart: the principal, else the session, else Archon's `User`."""
    caller = current()
    if caller is None or (caller.owner is None and caller.session is None):
        return "User"
    if caller.owner is not None and caller.owner[1]:
        return caller.owner[1]
    return caller.session.session_id if caller.session is not None else "User"


def principal() -> str:
    """The verified principal as one text; empty for everybody who did not sign in."""
    caller = current()
    return "" if caller is None or caller.owner is None else json.dumps(caller.owner)
