"""The connection on which this node hears what happened on others.

It LISTENs, asks for a sign of life every second, and comes back by itself. A notification is a hint and
may be lost with the connection, so after every LISTEN the subscribers are told of a gap: what they hold
must be read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable

import asyncpg

from .pool import Connection

_log = logging.getLogger(__name__)

EVERY = 1.0
PATIENCE = 1.0
"""Seconds between two signs of life, and for how long one is waited for."""

CONNECT_PATIENCE = 5.0
BACKOFF = (0.1, 2.0)


class WakeUps:
    """Listens to `channels` from `start` to `close`, whatever happens to the connection."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]], channels: tuple[str, ...]
    ) -> None:
        self._connect = connect
        self._hearers: dict[str, list[Callable[[str], None]]] = {channel: [] for channel in channels}
        self._gaps: list[Callable[[], None]] = []
        self._heard_at = float("-inf")
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._asking = asyncio.Lock()  # one question at a time on the connection
        self.losses = 0

    def __repr__(self) -> str:
        return f"<WakeUps listening={self._listening.is_set()} losses={self.losses}>"

    def subscribe(self, channel: str, on_payload: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        """Call `on_payload` for each notification of `channel`, `on_gap` when some may have been missed."""
        self._hearers[channel].append(on_payload)
        self._gaps.append(on_gap)

    async def listen(self, channel: str, on_payload: Callable[[str], None]) -> None:
        """Listen to one more channel from now on, or from when there is a connection again."""
        self._hearers[channel] = [on_payload]
        async with self._asking:
            if self._connection is None:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._connection.add_listener(channel, self._on_notification)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self._connection.terminate()  # the next one listens to all

    def forget(self, channel: str) -> None:
        """Nobody is called for this channel any more."""
        self._hearers.pop(channel, None)

    def heard_within(self, seconds: float) -> bool:
        """Whether everything that was committed up to `seconds` ago has been heard."""
        return time.monotonic() - self._heard_at <= seconds

    async def start(self) -> None:
        """Begin to listen; returns when it does, or after `CONNECT_PATIENCE` seconds without."""
        self._task = asyncio.create_task(self._run(), name="store-wakeups")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_PATIENCE):
                await self._listening.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._task, self._heard_at = None, float("-inf")

    async def _run(self) -> None:
        delay, most = BACKOFF
        while True:
            try:
                async with asyncio.timeout(CONNECT_PATIENCE):
                    connection = await self._connect()
                try:
                    await self._listen(connection)
                    delay, most = BACKOFF
                    await self._watch(connection)
                finally:
                    self._listening.clear()
                    self._connection = None
                    connection.terminate()
            except Exception as error:
                self.losses += 1
                _log.warning("the wake-up connection is lost", extra={"error": error or type(error).__name__})
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads nodes, hides nothing
            delay = min(delay * 2, most)

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        asked = time.monotonic()
        async with self._asking, asyncio.timeout(PATIENCE):
            for channel in list(self._hearers):
                await connection.add_listener(channel, self._on_notification)
            self._connection = connection
        for on_gap in self._gaps:
            call(on_gap)
        self._heard_at = asked
        self._listening.set()

    async def _watch(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Ask for a sign of life until one fails.

        The server sends what has been committed before its answer, so an answer vouches for everything up to
        the moment of the question.
        """
        while True:
            await asyncio.sleep(EVERY)
            asked = time.monotonic()
            async with self._asking, asyncio.timeout(PATIENCE):
                await connection.execute("SELECT 1")
            self._heard_at = asked

    def _on_notification(self, connection: Connection, pid: int, channel: str, payload: object) -> None:
        for on_payload in self._hearers.get(channel, ()):
            call(on_payload, str(payload))


def call(callback: Callable[..., None], *args: str) -> None:
    """Call a subscriber: one subscriber's mistake must not make the node deaf."""
    try:
        callback(*args)
    except Exception:
        _log.exception("a subscriber of the wake-ups failed")
