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
from typing import Any, Protocol

from aiohttp import web
from mcp.server import Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary

from . import archon
from .auth import TokenVerifier
from .embedded import EmbeddedPostgres, EmbeddedPostgresError
from .process import StartError
from .sessions import Limits, SessionStore, SessionTable, StoreUnavailable, Writer
from .sessions.streams import StreamStore
from .settings import Settings, redact
from .store import PostgresStore, StoreError
from .transport import (
    STREAM_AFTER,
    Calls,
    Dispatch,
    Endpoint,
    Guards,
    Kernel,
    KeyRing,
    Listening,
    Patience,
    Questions,
    Standing,
    Streams,
    Viewers,
    Wires,
    lost_call,
)
from .upkeep import Incarnations, Sweep
from .web import Health

_log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks after sessions, viewers and questions."""

LAST_COMMIT = 1.0
"""Seconds that the last words of a stop have to be committed."""


class Store(SessionStore, StreamStore, Protocol):
    """Both ports in one store, as every store of ours keeps them."""


class _Wakes:
    """What the store's wake-ups set going on this node."""

    def __init__(self, sessions: SessionTable, viewers: Viewers, questions: Questions) -> None:
        self.stream = lambda session_id, stream_id: viewers.wake((session_id, stream_id))
        self.answered = questions.look
        self.changed = sessions.refresh


@dataclass(frozen=True, slots=True)
class Transport:
    """One node's transport, put together; `running()` keeps its side tasks for as long as it is entered."""

    store: Store
    kernel: Kernel
    sessions: SessionTable
    writer: Writer
    calls: Calls
    streams: Streams
    viewers: Viewers
    questions: Questions
    endpoint: Endpoint
    sweep: Sweep
    incarnations: Incarnations

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Enter the server's lifespan once; commit, repair, sweep and tick until left."""
        await self.incarnations.begin()
        async with (
            self.kernel.lifespan(),
            _task(self.incarnations.run(), "incarnation"),
            _task(self.sweep.run(), "sweep"),
            _task(self._tick(), "tick"),
        ):
            self.writer.start()
            self.streams.log.start()
            try:
                yield
            finally:
                await self.streams.log.stop()
                await self.writer.stop()
        await self.incarnations.end()

    async def drain(self, seconds: float) -> tuple[int, int]:
        """Take nothing new; listeners come back elsewhere, calls may finish. How many did, and were cut."""
        self.endpoint.draining = True
        self.viewers.end_foreign()
        self.kernel.end_listening()
        finished = await self.calls.drain(seconds)
        await self.streams.log.settled(LAST_COMMIT)
        return finished

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self.sessions.tick()
                self.viewers.tick()
                self.questions.look_at_all()
                if places := self.viewers.places():
                    grown = await self.store.grown(places, incarnation=self.incarnations.current)
                    for key, taken in grown.items():
                        self.viewers.looked(key, taken)
            except StoreUnavailable:
                continue
            except Exception:
                _log.exception("the look after sessions and viewers failed; it is tried again")


def assemble(
    server: Server[Any],
    store: Store,
    *,
    node: str,
    limits: Limits | None = None,
    guards: Guards | None = None,
    options: InitializationOptions | None = None,
    token_verifier: TokenVerifier | None = None,
    require_session_id: bool = True,
    json_response: bool = False,
    retry_interval: int | None = None,
    stream_after: float = STREAM_AFTER,
    sweep_grace: float = 600.0,
) -> Transport:
    """The transport around one server and one store, not yet running.

    `options` is what `initialize` answers with, where the server's own are not right: which lists may
    change, say.
    """
    limits = limits or Limits()
    kernel, calls, viewers, questions = Kernel(server, options=options), Calls(), Viewers(), Questions(store)
    writer = Writer(store, node=node)
    sessions = SessionTable(
        store,
        writer,
        node=node,
        limits=limits,
        busy=lambda session_id: calls.busy(session_id) or viewers.watches(session_id),
    )
    wakes = _Wakes(sessions, viewers, questions)
    incarnations = Incarnations(store, wakes, node=node, error_for=lost_call)
    streams = Streams(store, lambda: incarnations.current, incarnations.doubt)
    incarnations.on_reborn = streams.fence
    wires = Wires(store, sessions, questions, viewers, streams.log, lambda: incarnations.current)
    kernel.outside = lambda session_id: Standing(wires, session_id)
    dispatch = Dispatch(
        kernel,
        sessions,
        writer,
        calls,
        streams,
        wires,
        json_response=json_response,
        patience=Patience(stream_after),
    )
    listening = Listening(store, streams, viewers, lambda: incarnations.current, retry=retry_interval)
    endpoint = Endpoint(
        kernel,
        sessions,
        dispatch,
        listening,
        calls,
        guards or Guards(),
        token_verifier=token_verifier,
        require_session_id=require_session_id,
    )

    def gone(session_id: str) -> None:
        kernel.forget(session_id)
        calls.end_session(session_id)
        viewers.end_session(session_id)

    sessions.on_gone = gone
    sessions.on_asleep = kernel.forget
    sweep = Sweep(store, idle_timeout=limits.idle_timeout, grace=sweep_grace)
    return Transport(
        store, kernel, sessions, writer, calls, streams, viewers, questions, endpoint, sweep, incarnations
    )


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
    ring = KeyRing(store)
    await cleanup.enter_async_context(ring.running())
    server = archon.build(
        store.pool, started_at=time.monotonic(), session_timeout=settings.session_idle_timeout
    )
    server.middleware.append(RequestStateBoundary(ring.security, default_audience=server.name))
    transport = assemble(
        server,
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
