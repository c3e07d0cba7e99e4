"""Builds the programs, in order; the only module that knows every part.

Both are a database (named or embedded), a transport, and what a monitor or a client asks beside it:
`build` puts Archon's tools on it, `build_around` an MCP server of somebody else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web
from mcp.server import Server
from mcp.server.request_state import RequestStateBoundary

from . import archon
from .auth import StaticTokens, TokenVerifier
from .embedded import EmbeddedPostgres, EmbeddedPostgresError
from .face import Transport, assemble, beside
from .knowledge.embed import Embedder, EmbedderError
from .knowledge.embed import open_embedder as embedder_named
from .knowledge.ingest import run_jobs
from .process import StartError
from .reports import Reports
from .sessions import Limits
from .settings import Settings, redact
from .signals import traces
from .store import PostgresStore, StoreError
from .transport import Guards, KeyRing, StoreBus
from .upkeep import Kept, Retention
from .web import Discovery, Docs, Health, House, Metrics
from .web import attach as attach_page

_log = logging.getLogger(__name__)

NODE = f"{socket.gethostname()}/{os.getpid()}"
"""What this process is called in the tables."""

ALL_SETS = ("transport", "knowledge", "archon")
"""The migrations of Archon's database."""


@dataclass(frozen=True, slots=True)
class Made:
    """An MCP server, and what belongs to it and to no other: pages, and its tools for the page's boards."""

    server: Server[Any]
    call_tool: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]] | None = None
    pages: Callable[[web.Application, Guards], None] = lambda application, guards: None


Make = Callable[[Settings, PostgresStore, AsyncExitStack, asyncio.Event], Awaitable[Made]]
"""Makes the server; the event is set when the program begins to stop."""


class App:
    """A server, built and running: `web` serves it, `database` says in one line what it uses."""

    def __init__(
        self,
        application: web.Application,
        database: str,
        transport: Transport,
        drain: float,
        cleanup: AsyncExitStack,
        stopping: asyncio.Event,
    ) -> None:
        self.web = application
        self.database = database
        self._transport = transport
        self._drain = drain
        self._cleanup = cleanup
        self._stopping = stopping
        self._cut = 0

    def trace(self, tracer: traces.Tracer | None) -> None:
        """Make every request a trace, where somebody collects them."""
        self._transport.endpoint.trace = None if tracer is None else tracer.request

    async def drain(self) -> None:
        """Take nothing new and let running calls finish, for the drain time."""
        self._stopping.set()
        _, self._cut = await self._transport.drain(self._drain)

    async def close(self) -> str:
        """Let go of everything, last thing first; the line that says what was done."""
        await self._cleanup.aclose()
        transport = self._transport
        return (
            f"stopped: {transport.calls.served} calls served, {self._cut} cut off, "
            f"{transport.sessions.opened} sessions opened, all sessions kept"
        )


async def build(settings: Settings) -> App:
    """Start the database, bring its tables up to date, and put Archon on the transport.

    Raises:
        StartError: with a sentence that says what to do.
    """
    return await _build(settings, ALL_SETS, _archon)


async def build_around(settings: Settings, server: Server[Any]) -> App:
    """The same for an MCP server of somebody else: it is served as it is, on the tables of sessions alone.

    Raises:
        StartError: with a sentence that says what to do.
    """

    async def given(
        settings: Settings, store: PostgresStore, cleanup: AsyncExitStack, stopping: asyncio.Event
    ) -> Made:
        return Made(server)

    return await _build(settings, ("transport",), given)


async def _build(settings: Settings, sets: Sequence[str], make: Make) -> App:
    cleanup = AsyncExitStack()
    try:
        store, database = await open_store(settings, cleanup, sets)
        if (tracer := traces.configure()) is not None:
            cleanup.push_async_callback(tracer.close)
            store.database.on_statement = tracer.statement
        stopping = asyncio.Event()
        made = await make(settings, store, cleanup, stopping)
        app = await _open_app(settings, made, store, database, cleanup, stopping)
        app.trace(tracer)
    except (StoreError, EmbeddedPostgresError) as error:
        await cleanup.aclose()
        raise StartError(str(error)) from error
    except BaseException:
        await cleanup.aclose()
        raise
    return app


async def open_store(
    settings: Settings, cleanup: AsyncExitStack, sets: Sequence[str] = ALL_SETS
) -> tuple[PostgresStore, str]:
    """The store that the settings name, started and up to date, and one line about its database.

    Raises:
        StoreError, EmbeddedPostgresError: with a sentence that says what to do.
    """
    if settings.database_url is not None:
        dsn, description = settings.database_url, redact(settings.database_url)
    else:
        embedded = EmbeddedPostgres(settings.data_directory)
        cleanup.push_async_callback(embedded.stop)
        await embedded.start()
        dsn, description = embedded.dsn, embedded.describe()
    store = PostgresStore(dsn, direct=settings.direct_database_url, sets=sets)
    cleanup.push_async_callback(store.close)
    await store.start()
    return store, description


async def _verifier(
    settings: Settings, store: PostgresStore, cleanup: AsyncExitStack
) -> TokenVerifier | None:
    """Who looks at tokens, where the settings ask for them."""
    if settings.auth == "none":
        return None
    if not any(token.state == "valid" for token in await store.list_tokens()):
        _log.warning(
            "nobody can connect yet: make a token with `archon-transport tokens add NAME`, naming the same "
            "--data-dir or --database-url as here if one was named"
        )
    return await cleanup.enter_async_context(StaticTokens(store).running())


def open_embedder(settings: Settings) -> Embedder | None:
    """The embedder that the settings name.

    Raises:
        StartError: it is not installed.
    """
    try:
        return embedder_named(settings.embedder, model=settings.embedder_model, key=settings.embedder_key)
    except EmbedderError as error:
        raise StartError(str(error)) from error


async def _archon(
    settings: Settings, store: PostgresStore, cleanup: AsyncExitStack, stopping: asyncio.Event
) -> Made:
    embedder = open_embedder(settings)
    if embedder is not None:
        cleanup.push_async_callback(embedder.close)
    ring = KeyRing(store)
    await cleanup.enter_async_context(ring.running())
    server = archon.build(
        store.pool,
        started_at=time.monotonic(),
        session_timeout=settings.session_idle_timeout,
        bus=StoreBus(store, lists=False),
        embedder=embedder,
        stopping=stopping.is_set,
    )
    server.middleware.append(RequestStateBoundary(ring.security, default_audience=server.name))
    await cleanup.enter_async_context(beside(run_jobs(store.pool, NODE, embedder=embedder), "jobs"))
    return Made(
        server,
        call_tool=partial(archon.call_tool, server),
        pages=lambda application, guards: Docs(archon.reference(), guards.refuse).attach(application),
    )


async def _open_app(
    settings: Settings,
    made: Made,
    store: PostgresStore,
    database: str,
    cleanup: AsyncExitStack,
    stopping: asyncio.Event,
) -> App:
    verifier = await _verifier(settings, store, cleanup)
    guards = Guards(settings.allow_host, settings.allow_origin)
    transport = assemble(
        made.server,
        store,
        node=NODE,
        limits=Limits(
            idle_timeout=settings.session_idle_timeout,
            sleep_after=settings.session_sleep_after,
            max_sessions=settings.max_sessions,
            max_cached=settings.max_cached_sessions,
        ),
        guards=guards,
        token_verifier=verifier,
        require_session_id=False,
        sweep_grace=settings.sweep_grace,
    )
    application = web.Application()
    transport.endpoint.attach(application, settings.path)
    made.pages(application, guards)
    _attach_pages(application, settings, made, transport, store, verifier, guards)
    await cleanup.enter_async_context(transport.running())
    kept = Kept(
        settings.keep_requests, settings.keep_refusals, settings.keep_sessions, settings.max_request_rows
    )
    retention = Retention(store.pool.fetch, store.purge, kept)
    await cleanup.enter_async_context(beside(retention.run(), "retention"))
    return App(application, database, transport, settings.drain, cleanup, stopping)


def _attach_pages(
    application: web.Application,
    settings: Settings,
    made: Made,
    transport: Transport,
    store: PostgresStore,
    verifier: TokenVerifier | None,
    guards: Guards,
) -> None:
    """What people and monitors see beside the endpoint."""
    Health(lambda: transport.endpoint.draining, store.ping).attach(application)
    Discovery(settings.path, tokens=verifier is not None).attach(application)
    Metrics(
        transport,
        store,
        refuse=guards.refuse,
        verifier=verifier,
        schema_of=made.server.get_tool_input_schema,
        is_draining=lambda: transport.endpoint.draining,
        max_sessions=settings.max_sessions,
    ).attach(application)
    house = House(
        Reports(store.pool),
        end_session=lambda session_id: transport.sessions.end(session_id, "operator"),
        refuse=guards.refuse,
        verifier=verifier,
        path=settings.path,
        idle_timeout=settings.session_idle_timeout,
        started_at=datetime.now(UTC),
        tracking=lambda: {"rows waiting": transport.writer.waiting, "rows lost": transport.writer.lost},
        call_tool=made.call_tool,
    )
    attach_page(application, house)
