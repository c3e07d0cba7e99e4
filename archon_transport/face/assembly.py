"""One node's transport, put together from its parts around any SDK `Server` and any store.

Everything that is true of a request is decided elsewhere; here the parts are given each other, started in
order and stopped in order. `StreamableHTTP` is this for the applications of others, `app` for Archon.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from mcp.server import Server
from mcp.server.auth.settings import AuthSettings
from mcp.server.models import InitializationOptions
from mcp.server.streamable_http import EventStore

from ..auth import TokenVerifier
from ..sessions import Limits, SessionStore, SessionTable, StoreUnavailable, Writer
from ..sessions.streams import StreamStore, Wakes
from ..transport import (
    STREAM_AFTER,
    Calls,
    Dispatch,
    Endpoint,
    Guards,
    Kernel,
    Listening,
    Patience,
    Questions,
    Standing,
    Streams,
    Viewers,
    Wires,
    lost_call,
)
from ..transport.limits import MAX_BODY
from ..upkeep import Incarnations, Sweep
from .events import NamedEvents, NamedListening

_log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks after sessions, viewers and questions."""

SELDOM = 2
"""Every how many ticks cancellations are looked for whose wake-up was lost."""

LAST_COMMIT = 1.0
"""Seconds that the last words of a stop have to be committed."""


class Store(SessionStore, StreamStore, Protocol):
    """Both ports in one store, as every store of ours keeps them."""


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
            beside(self.incarnations.run(), "incarnation"),
            beside(self.sweep.run(), "sweep"),
            beside(self._tick(), "tick"),
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
        for tick in itertools.count():
            await asyncio.sleep(TICK)
            try:
                if tick % SELDOM == 0:
                    self.calls.spawn(end_cancelled(self.store, self.calls), "cancelled")
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
    auth: AuthSettings | None = None,
    token_verifier: TokenVerifier | None = None,
    require_session_id: bool = True,
    json_response: bool = False,
    retry_interval: int | None = None,
    stateless: bool = False,
    event_store: EventStore | None = None,
    max_request_body_size: int = MAX_BODY,
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
    sessions = SessionTable(store, writer, node=node, limits=limits)
    _tie(store, kernel, sessions, calls, viewers)
    cancelled = partial(_look_for_cancelled, store, calls)
    wakes = Wakes(lambda *key: viewers.wake(key), questions.look, sessions.refresh, cancelled)
    incarnations = Incarnations(store, wakes, node=node, error_for=lost_call)
    names = None if event_store is None else NamedEvents(store, event_store)
    streams = Streams(names or store, lambda: incarnations.current, incarnations.doubt)
    incarnations.on_reborn = streams.fence
    wires = Wires(store, sessions, questions, viewers, streams.log, lambda: incarnations.current)
    kernel.outside = lambda session_id: Standing(wires, session_id)
    patience = Patience(stream_after)
    dispatch = Dispatch(
        kernel, sessions, writer, calls, streams, wires, json_response=json_response, patience=patience
    )
    parts = (store, streams, viewers, lambda: incarnations.current, retry_interval)
    listening = Listening(*parts) if names is None else NamedListening(*parts, names=names)
    endpoint = Endpoint(
        kernel,
        sessions,
        dispatch,
        listening,
        calls,
        guards or Guards(),
        auth=auth,
        token_verifier=token_verifier,
        require_session_id=require_session_id,
        stateless=stateless,
        max_request_body_size=max_request_body_size,
    )
    sweep = Sweep(store, idle_timeout=limits.idle_timeout, grace=sweep_grace)
    return Transport(
        store, kernel, sessions, writer, calls, streams, viewers, questions, endpoint, sweep, incarnations
    )


def _tie(store: Store, kernel: Kernel, sessions: SessionTable, calls: Calls, viewers: Viewers) -> None:
    """Tell each part what it has to know of the others: work keeps a session awake, its end ends the work."""

    def gone(session_id: str) -> None:
        kernel.forget(session_id)
        calls.end_session(session_id)
        viewers.end_session(session_id)

    sessions.busy = lambda session_id: calls.busy(session_id) or viewers.watches(session_id)
    sessions.on_gone = gone
    sessions.on_asleep = kernel.forget
    # What was said to listeners meanwhile stands nowhere: they ask anew, and read what they watch again.
    store.subscribe(lambda session_id: None, kernel.end_listening)


def _look_for_cancelled(store: StreamStore, calls: Calls, session_id: str) -> None:
    if calls.busy(session_id):
        calls.spawn(end_cancelled(store, calls), "cancelled")


async def end_cancelled(store: StreamStore, calls: Calls) -> None:
    """End those calls that were cancelled at another node."""
    running = calls.running()
    with contextlib.suppress(StoreUnavailable):  # the next look finds it
        for who, request_id, _ in await store.cancelled(running) if running else []:
            calls.cancel(who, request_id)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Do `work` in a task of its own until left."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
