"""Builds everything, in order; the only module that knows every part.

`assemble` puts the transport together around any SDK `Server` and any store; `build` adds what makes
it Archon: the database (named or embedded), the tools, and the two words for monitors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from mcp.server import Server

from . import archon
from .auth import TokenVerifier
from .process import StartError
from .sessions import Limits, SessionStore, SessionTable, Writer
from .settings import Settings, redact
from .store import PostgresStore, StoreError
from .store.embedded import EmbeddedPostgres, EmbeddedPostgresError
from .transport import Calls, Endpoint, Guards, Kernel
from .upkeep import Sweep
from .web import Health

_log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks at which sessions may sleep."""


@dataclass(frozen=True, slots=True)
class Transport:
    """One node's transport, put together; `running()` keeps its side tasks for as long as it is entered."""

    kernel: Kernel
    sessions: SessionTable
    writer: Writer
    calls: Calls
    endpoint: Endpoint
    sweep: Sweep

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Enter the server's lifespan once, write, sweep and put to sleep until left."""
        async with self.kernel.lifespan(), _task(self.sweep.run(), "sweep"), _task(self._tick(), "sleep"):
            self.writer.start()
            try:
                yield
            finally:
                await self.writer.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self.sessions.tick()
            except Exception:
                _log.exception("sessions could not be put to sleep; it is tried again")


def assemble(
    server: Server[Any],
    store: SessionStore,
    *,
    node: str,
    limits: Limits | None = None,
    guards: Guards | None = None,
    token_verifier: TokenVerifier | None = None,
    require_session_id: bool = True,
    sweep_grace: float = 600.0,
) -> Transport:
    """The transport around one server and one store, not yet running."""
    limits = limits or Limits()
    kernel, calls = Kernel(server), Calls()
    writer = Writer(store, node=node)
    sessions = SessionTable(store, writer, node=node, limits=limits, busy=calls.busy)
    endpoint = Endpoint(
        kernel,
        sessions,
        writer,
        calls,
        guards or Guards(),
        token_verifier=token_verifier,
        require_session_id=require_session_id,
    )

    def gone(session_id: str) -> None:
        kernel.forget(session_id)
        calls.end_session(session_id)

    sessions.on_gone = gone
    sessions.on_asleep = kernel.forget
    sweep = Sweep(store, idle_timeout=limits.idle_timeout, grace=sweep_grace)
    return Transport(kernel, sessions, writer, calls, endpoint, sweep)


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class App:
    """Archon's server, built and running: `web` serves it, `database` says in one line what it uses."""

    def __init__(
        self,
        application: web.Application,
        database: str,
        transport: Transport,
        drain: float,
        cleanup: AsyncExitStack,
    ) -> None:
        self.web = application
        self.database = database
        self._transport = transport
        self._drain = drain
        self._cleanup = cleanup
        self._cut = 0

    async def drain(self) -> None:
        """Take nothing new and let running calls finish, for the drain time."""
        _, self._cut = await self._transport.endpoint.drain(self._drain)

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
    cleanup = AsyncExitStack()
    try:
        store, database = await _open_store(settings, cleanup)
        app = await _open_app(settings, store, database, cleanup)
    except (StoreError, EmbeddedPostgresError) as error:
        await cleanup.aclose()
        raise StartError(str(error)) from error
    except BaseException:
        await cleanup.aclose()
        raise
    return app


async def _open_store(settings: Settings, cleanup: AsyncExitStack) -> tuple[PostgresStore, str]:
    if settings.database_url is not None:
        dsn, description = settings.database_url, redact(settings.database_url)
    else:
        embedded = EmbeddedPostgres(settings.data_directory)
        cleanup.push_async_callback(embedded.stop)
        await embedded.start()
        dsn, description = embedded.dsn, embedded.describe()
    store = PostgresStore(dsn, sets=("transport", "knowledge", "archon"))
    cleanup.push_async_callback(store.close)
    await store.start()
    return store, description


async def _open_app(settings: Settings, store: PostgresStore, database: str, cleanup: AsyncExitStack) -> App:
    limits = Limits(
        idle_timeout=settings.session_idle_timeout,
        sleep_after=settings.session_sleep_after,
        max_sessions=settings.max_sessions,
        max_cached=settings.max_cached_sessions,
    )
    transport = assemble(
        archon.build(store.pool, started_at=time.monotonic(), session_timeout=settings.session_idle_timeout),
        store,
        node=f"{socket.gethostname()}/{os.getpid()}",
        limits=limits,
        guards=Guards(settings.allow_host, settings.allow_origin),
        require_session_id=False,
        sweep_grace=settings.sweep_grace,
    )
    application = web.Application()
    Health(lambda: transport.endpoint.draining, store.ping).attach(application)
    transport.endpoint.attach(application, settings.path)
    await cleanup.enter_async_context(transport.running())
    return App(application, database, transport, settings.drain, cleanup)
