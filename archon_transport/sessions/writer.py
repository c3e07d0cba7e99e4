"""The batching writer: what sessions did is added to their rows a few times a second.

Nothing here is on a request's path: a request notes what it did and is answered. While the store is
away notes pile up, one per session and at most `bound` of them; what does not fit is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from .port import SessionStore, StoreUnavailable
from .record import Touch

_log = logging.getLogger(__name__)

Written = Callable[[set[str], set[str], float], None]


class Writer:
    """Collects `Touch`es and writes them every `interval` seconds.

    `on_written(asked, alive, started)` is called after each batch: the ids that were written, those
    of them that still live, and the monotonic time at which the statement was sent.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        node: str,
        on_written: Written = lambda asked, alive, started: None,
        interval: float = 0.2,
        bound: int = 100_000,
        batch: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._node = node
        self.on_written = on_written
        self._interval = interval
        self._bound = bound
        self._batch = batch
        self._clock = clock
        self._touches: dict[str, Touch] = {}
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    def __repr__(self) -> str:
        return f"<Writer waiting={len(self._touches)} lost={self.lost}>"

    def start(self) -> None:
        """Begin to write; needs a running loop."""
        self._task = asyncio.create_task(self._run(), name="sessions-writer")

    async def stop(self, timeout: float = 5.0) -> None:
        """Write what is left, for at most `timeout` seconds, and end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
        except TimeoutError:
            pass  # what is left is counted below
        except Exception:
            _log.exception("the writer could not write at the stop")
        if self._touches:
            self.lost += len(self._touches)
            _log.warning(
                "the store was away at the stop: what %d sessions did last is lost", len(self._touches)
            )

    def note(
        self,
        session_id: str,
        *,
        requests: int = 0,
        errors: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
        initialized: bool = False,
    ) -> None:
        """Add to what one session did. A note of nothing is a touch: it was alive."""
        self.add(Touch(session_id, requests, errors, bytes_in, bytes_out, initialized))

    def add(self, touch: Touch) -> None:
        """Add to what one session, or one inferred record, did."""
        known = self._touches.get(touch.session_id)
        if known is not None:
            known.add(touch)
        elif len(self._touches) >= self._bound:
            self.lost += 1
        else:
            self._touches[touch.session_id] = touch

    async def flush(self) -> None:
        """Write everything that is noted by now; what the store does not take is kept for the next time."""
        for _ in range(-(-len(self._touches) // self._batch)):  # not "while": notes go on coming under load
            ids = list(self._touches)[: self._batch]
            batch = [self._touches.pop(session_id) for session_id in ids]
            started = self._clock()
            inferred = [(touch.inferred, touch) for touch in batch if touch.inferred is not None]
            try:
                if inferred:
                    await self._store.infer(inferred, node=self._node)
                    batch = [touch for touch in batch if touch.inferred is None]  # only these may come again
                alive = await self._store.write(batch, node=self._node)
            except StoreUnavailable:
                self._put_back(batch)
                return
            except BaseException:
                self._put_back(batch)
                raise
            self.on_written({touch.session_id for touch in batch}, alive, started)

    def _put_back(self, batch: list[Touch]) -> None:
        for touch in batch:
            self.add(touch)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.flush()
            except Exception:
                _log.exception("the writer could not write; it tries again")
