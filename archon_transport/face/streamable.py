"""`StreamableHTTP`: the transport for anybody's aiohttp application, its arguments named as in the SDK.

    transport = StreamableHTTP(server, PostgresStore("postgresql://..."))
    transport.attach(app, "/mcp")

It starts and stops with the application: its store, the server's lifespan (once, not once per session) and
its side tasks. Any number of them may stand in one application, each with a store of its own.
"""

from __future__ import annotations

import math
import os
import socket
import uuid
from collections.abc import AsyncIterator
from types import EllipsisType
from typing import Any
from weakref import WeakSet

from aiohttp import web
from mcp.server import Server
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http import EventStore
from mcp.server.transport_security import TransportSecuritySettings

from ..auth import TokenVerifier
from ..sessions import Limits, Session, SessionTable
from ..store import MemoryStore, PostgresStore
from ..transport.limits import MAX_BODY
from .assembly import assemble
from .hosts import NamedHosts
from .servers import low_level

DRAIN = 4.0
"""Seconds that running calls may go on after the application began to stop."""

IN_MEMORY = Limits(idle_timeout=1800.0, max_sessions=10_000)
"""What a store that does not outlive its process keeps, where nobody says."""

_in_use: WeakSet[MemoryStore | PostgresStore] = WeakSet()


class Sessions:
    """The table of sessions, for the application's own pages; a session's secret is not in it."""

    def __init__(self, store: MemoryStore | PostgresStore, table: SessionTable) -> None:
        self._store = store
        self._table = table

    async def list(self, *, limit: int = 100, before: str | None = None) -> list[Session]:
        """Live sessions, newest first; `before` is the last id of the page before."""
        return await self._store.page(limit=limit, before=before)

    async def get(self, session_id: str) -> Session | None:
        """A live session by its public id, None where there is none. Looking is not traffic."""
        try:
            next_id = str(uuid.UUID(int=uuid.UUID(session_id).int + 1))
        except ValueError:
            return None
        page = await self._store.page(limit=1, before=next_id)
        return next((session for session in page if session.session_id == session_id), None)

    async def end(self, session_id: str) -> bool:
        """End a session on every node, with what runs in it; False where it was not live."""
        return await self._table.end(session_id, "operator")

    async def count(self) -> int:
        """How many sessions live."""
        return await self._store.count()


class StreamableHTTP:
    """Serves an MCP server at a path of an aiohttp application, with sessions that are rows in `store`.

    Arguments are those of the SDK's `StreamableHTTPSessionManager`, with its meaning and defaults, except:

    - `server`: a low-level `Server` or an `MCPServer`.
    - `store`: a `MemoryStore` (the default) or a `PostgresStore`, which is started and closed with the
      application. Applications that name the same database serve the same sessions.
    - `session_idle_timeout`: 30 days with Postgres, as the SDK 1800 s in memory; None for never.
    - `max_sessions`: 1,000,000 with Postgres, 10,000 in memory. A full table first ends sessions that were
      idle for long; only where there are none is a new one refused with 503.
    - `security_settings`: None serves this machine's own names on this machine's own addresses and refuses
      what arrives elsewhere.
    - `event_store`: has every event of a call; its ids go out as `stream~id`. A stream is resumed from it
      anywhere and followed live on the node where its call runs. Without one, events are rows of `store`.
    - `require_session_id`: False serves requests of the handshake era that come without a session id, alone.
    - `auth`, `token_verifier`: as in the SDK's `streamable_http_app`.

    Raises:
        ValueError: an argument is out of range. TypeError: `server` is not a server.
    """

    def __init__(
        self,
        server: Server[Any] | MCPServer[Any],
        store: MemoryStore | PostgresStore | None = None,
        *,
        json_response: bool = False,
        stateless: bool = False,
        event_store: EventStore | None = None,
        retry_interval: int | None = None,
        security_settings: TransportSecuritySettings | None = None,
        session_idle_timeout: float | EllipsisType | None = ...,
        max_sessions: int | EllipsisType | None = ...,
        max_request_body_size: int = MAX_BODY,
        require_session_id: bool = True,
        auth: AuthSettings | None = None,
        token_verifier: TokenVerifier | None = None,
    ) -> None:
        if max_request_body_size <= 0:
            raise ValueError("max_request_body_size must be a positive number of bytes")
        self._store = store or MemoryStore()
        lasting = isinstance(self._store, PostgresStore)
        limits = _limits(lasting, session_idle_timeout, max_sessions)
        self._transport = assemble(
            low_level(server, verified=token_verifier is not None),
            self._store,
            node=f"{socket.gethostname()}/{os.getpid()}",
            limits=limits,
            guards=NamedHosts(security_settings),
            auth=auth,
            token_verifier=token_verifier,
            require_session_id=require_session_id,
            json_response=json_response,
            retry_interval=retry_interval,
            stateless=stateless,
            event_store=None if stateless else event_store,
            max_request_body_size=max_request_body_size,
            sweep_grace=600.0 if lasting else min(600.0, limits.idle_timeout or math.inf),
        )
        self.sessions = Sessions(self._store, self._transport.sessions)
        self._attached = False

    def attach(self, app: web.Application, path: str = "/mcp") -> None:
        """Serve at `path`, with and without a trailing slash, from the start of `app` to its end.

        Raises:
            RuntimeError: it is attached already.
        """
        if self._attached:
            raise RuntimeError("a StreamableHTTP is attached once; make another one for another path")
        self._attached = True
        self._transport.endpoint.attach(app, path)
        app.cleanup_ctx.append(self._run)
        app.on_shutdown.append(self._drain)

    async def _run(self, app: web.Application) -> AsyncIterator[None]:
        if self._store in _in_use:
            raise RuntimeError("each StreamableHTTP of a process needs a store of its own")
        _in_use.add(self._store)
        try:
            await self._store.start()
            async with self._transport.running():
                yield
        finally:
            _in_use.discard(self._store)
            await self._store.close()

    async def _drain(self, app: web.Application) -> None:
        await self._transport.drain(DRAIN)


def _limits(lasting: bool, idle: float | EllipsisType | None, cap: int | EllipsisType | None) -> Limits:
    """How long sessions live and how many, by what they are kept in where nobody says.

    Raises:
        ValueError: not a number that makes sense.
    """
    default = Limits() if lasting else IN_MEMORY
    idle = default.idle_timeout if isinstance(idle, EllipsisType) else idle
    cap = default.max_sessions if isinstance(cap, EllipsisType) else cap
    if idle is not None and not (math.isfinite(idle) and idle > 0):
        raise ValueError("session_idle_timeout must be a positive, finite number of seconds")
    if cap is not None and cap <= 0:
        raise ValueError("max_sessions must be a positive number of sessions or None")
    sleep_after = default.sleep_after if idle is None else min(default.sleep_after, idle / 4)
    return Limits(idle_timeout=idle, max_sessions=cap, sleep_after=sleep_after)
