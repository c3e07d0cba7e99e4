"""From bound socket to closing line: build, answer, wait for a signal, and stop in the one right order.

    bind -- build -- listen -- READY=1 -- signal -- STOPPING=1 -- drain -- cleanup -- close
                                                                   (1)      (2, 3)     (4)

1. `Program.drain` admits nothing more (readiness off, 503 with `Retry-After`) and waits for running calls.
   The socket still listens: a client that comes now is told to come back instead of being refused. On a
   shared port it listens no longer: the other processes take who comes, and those who came before are served.
2. It stops listening. Who came until then is still told the same; who comes later is refused by the system,
   so that a proxy takes the next node. `AppRunner.cleanup` then runs the application's `on_shutdown`, where
   open streams must be ended. aiohttp runs `on_shutdown` before it waits for handlers, and for a stream that
   nobody ended it would wait twice its time-out.
3. Handlers that still run get `SHUTDOWN_TIMEOUT`, then are cancelled; the application's `on_cleanup` follows.
4. `Program.close` writes what is left and lets go of the database. It comes last, because until here a
   handler may still need it.

The first signal begins at 1, a second one ends the drain early, a third ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from .listen import Listener, refusal
from .notify import heartbeat, heartbeat_interval, notify

SHUTDOWN_TIMEOUT = 2.0
"""Seconds that aiohttp waits for handlers after the drain, at most twice."""

DRAIN_MARGIN = 2.0
"""Seconds beyond its own limit after which a drain is given up."""

CLOSE_TIMEOUT = 15.0
"""Seconds each for the connections and for the last writes and the embedded database's own stop."""

LINGER = 0.2
"""Seconds between the last connection that is taken and the close of those that say nothing."""

BACKLOG = 1024
"""Connections that wait to be accepted: after a restart all clients come at once."""

_log = logging.getLogger(__name__)


class Program(Protocol):
    """What is served: an application, and what must happen before and after its sockets close."""

    @property
    def web(self) -> web.Application:
        """The application to answer with; its `on_shutdown` ends every open stream."""

    async def drain(self) -> None:
        """Admit nothing more and wait for running calls, for a bounded time."""

    async def close(self) -> str:
        """Let go of everything; the closing line, with numbers."""


_P = TypeVar("_P", bound=Program)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stopped:
    """How it ended: the closing line, and whether everything was closed as it should be."""

    line: str
    clean: bool


async def serve(
    listener: Listener,
    build: Callable[[], Coroutine[Any, Any, _P]],
    started: Callable[[_P], None],
    *,
    drain: float,
) -> Stopped:
    """Build a program, answer with it until a signal, and stop it.

    `started` is called once the sockets listen. A signal while `build` runs cancels it: it must then
    leave nothing behind. `drain` is the limit in seconds that the program's own drain keeps.

    Raises:
        StartError: the port was taken meanwhile. What `build` raises comes through as well.
    """
    async with _signals() as signals, _heart():
        notify("STATUS=starting")
        program = await _built(build(), signals.stop)
        if program is None:
            return Stopped("stopped before it had started", clean=True)
        runner = web.AppRunner(
            program.web,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            logger=_server_log(),
        )
        servers: list[asyncio.Server] = []
        try:
            servers += await _listen(runner, listener)
            started(program)
            notify("READY=1", "STATUS=serving")
            await signals.stop.wait()
            notify("STOPPING=1", "STATUS=draining")
            if listener.shared:
                await _deaf(runner, listener, servers)
            await _drained(program, signals.hurry, drain + DRAIN_MARGIN)
            if not listener.shared:
                await _deaf(runner, listener, servers)
        finally:
            for server in servers:
                server.close()
            stopped = await _closed(runner, program)
    return stopped


def _server_log() -> logging.Logger:
    """aiohttp's own log, without a traceback for each request that its parser refuses."""

    def calm(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            record.msg, record.args, record.exc_info = "a request could not be read as HTTP", (), None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True

    log = logging.getLogger("aiohttp.server")
    log.addFilter(calm)
    return log


class _Signals:
    """SIGTERM and SIGINT, counted: the first asks to stop, the second to hurry, the third ends."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def received(self, number: signal.Signals) -> None:
        """One signal more."""
        if self.hurry.is_set():
            os._exit(128 + number)
        (self.hurry if self.stop.is_set() else self.stop).set()


@contextlib.asynccontextmanager
async def _signals() -> AsyncIterator[_Signals]:
    """Take both signals over from Python for as long as this lasts."""
    loop = asyncio.get_running_loop()
    signals = _Signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.received, number)
    try:
        yield signals
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _heart() -> AsyncIterator[None]:
    """Keep the service manager's watchdog content, where there is one, from here to the very end."""
    interval = heartbeat_interval()
    task = None if interval is None else asyncio.create_task(heartbeat(interval), name="heartbeat")
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def _built(build: Coroutine[Any, Any, _P], stop: asyncio.Event) -> _P | None:
    """What `build` makes, or None where a signal came first. Made in the same instant, it is served."""
    task = asyncio.create_task(build, name="build")
    try:
        await _first(task, stop, limit=None)
    finally:
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def _listen(runner: web.AppRunner, listener: Listener) -> list[asyncio.Server]:
    """Answer on every socket of the listener."""
    await runner.setup()
    loop, factory = asyncio.get_running_loop(), _factory(runner)
    try:
        return [await loop.create_server(factory, sock=bound, backlog=BACKLOG) for bound in listener.sockets]
    except OSError as error:  # another process bound it in the same instant and listened first
        raise refusal(error, listener.host, listener.port) from error


async def _deaf(runner: web.AppRunner, listener: Listener, servers: list[asyncio.Server]) -> None:
    """Stop listening without resetting those who wait to be accepted: they are told to come back, too."""
    loop, factory = asyncio.get_running_loop(), _factory(runner)
    waiting = [connection for bound in listener.sockets for connection in _accepted(bound)]
    for server in servers:
        server.close()
    for connection in waiting:
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(factory, connection)
    await asyncio.sleep(LINGER)


def _factory(runner: web.AppRunner) -> web.Server:
    """What makes the protocol of a connection; there once the runner is set up."""
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    return runner.server


def _accepted(bound: socket.socket) -> Iterator[socket.socket]:
    with contextlib.suppress(OSError):  # BlockingIOError: nobody waits any more
        while True:
            connection, _ = bound.accept()
            connection.setblocking(False)
            yield connection


async def _drained(program: Program, hurry: asyncio.Event, limit: float) -> None:
    task = asyncio.create_task(program.drain(), name="drain")
    await _first(task, hurry, limit=limit)
    task.cancel()
    await _attempt(task, "drain", DRAIN_MARGIN)


async def _closed(runner: web.AppRunner, program: Program) -> Stopped:
    """Close the connections, then the program, each for a bounded time and whatever happens to the other."""
    notify("STATUS=closing")
    _, connections = await _attempt(runner.cleanup(), "close the connections", CLOSE_TIMEOUT)
    line, closed = await _attempt(program.close(), "close", CLOSE_TIMEOUT)
    stopped = Stopped(
        line or "stopped, but not everything could be closed: see the log", connections and closed
    )
    _log.info(stopped.line)
    return stopped


async def _attempt(work: Awaitable[_T], what: str, limit: float) -> tuple[_T | None, bool]:
    """The result of `work` and whether it came in time and without an error; the rest is logged."""
    try:
        async with asyncio.timeout(limit):
            return await work, True
    except asyncio.CancelledError:
        _log.warning("could not %s: cut short", what)
    except TimeoutError:
        _log.error("could not %s within %g s", what, limit)
    except Exception:
        _log.exception("could not %s", what)
    return None, False


async def _first(task: asyncio.Task[Any], event: asyncio.Event, *, limit: float | None) -> None:
    """Wait until the task is done, the event is set or the limit has passed."""
    waiter = asyncio.create_task(event.wait(), name="signal")
    await asyncio.wait({task, waiter}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
