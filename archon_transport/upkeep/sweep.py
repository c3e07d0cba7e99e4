"""The sweep: ends sessions that were idle for too long, and is slow to believe a clock.

A session that is ended by mistake is a lost user, one that lives ten minutes too long is nothing. So
after a start, an outage of the store, or a clock that moved otherwise than time did (a laptop that
slept, a corrected clock), nothing is ended for `grace` seconds; whoever comes back in that time has
touched the row. And the statement that ends rows refuses to when the clock has jumped since it was read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from ..sessions import IDLE, SessionStore, StoreUnavailable

_log = logging.getLogger(__name__)

JUMP: Final = 30.0
"""Seconds by which the store's clock may differ from time passed before it counts as a jump."""


class Sweep:
    """Ends idle sessions every `interval` seconds; all times in seconds, the clock is monotonic."""

    def __init__(
        self,
        store: SessionStore,
        *,
        idle_timeout: float | None,
        grace: float = 600.0,
        interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._idle_timeout = idle_timeout
        self._grace = grace
        self._interval = min(interval, max(grace / 4, 0.25))
        self._clock = clock
        self._read: tuple[datetime, float] | None = None
        self._quiet_until = 0.0
        self.ended = 0

    def __repr__(self) -> str:
        return f"<Sweep ended={self.ended} quiet={max(self._quiet_until - self._clock(), 0.0):.0f}s>"

    async def run(self) -> None:
        """Sweep until cancelled; where sessions never end by themselves, only inferred records do."""
        while True:
            try:
                await self.tick()
            except Exception:
                _log.exception("the sweep failed; it tries again")
            await asyncio.sleep(self._interval)

    async def tick(self) -> int:
        """One look at the clock and, out of grace, one sweep; returns how many sessions it ended."""
        try:
            return await self._tick()
        except StoreUnavailable:
            self._read = None  # an outage: whoever comes back first gets the grace
            return 0

    async def _tick(self) -> int:
        before = self._clock()
        now = await self._store.clock()
        if self._has_jumped(now, before):
            self._quiet_until = before + self._grace
        self._read = (now, before)
        if before < self._quiet_until:
            return 0
        await self._store.close_inferred(IDLE, unless_after=now + timedelta(seconds=JUMP))
        if self._idle_timeout is None:
            return 0
        ended = await self._store.expire(self._idle_timeout, unless_after=now + timedelta(seconds=JUMP))
        self.ended += ended
        if ended:
            _log.info("idle sessions ended", extra={"count": ended})
        return ended

    def _has_jumped(self, now: datetime, before: float) -> bool:
        if self._read is None:
            return True
        then, at = self._read
        return abs((now - then).total_seconds() - (before - at)) > JUMP
