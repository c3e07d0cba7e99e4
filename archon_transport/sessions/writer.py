"""The batching writer: what requests did becomes rows, and is added to their sessions, a few times a second.

Nothing here is on a request's path: a request that is over appends one object and is answered. While the
store is away rows wait, at most `bound` of them; what comes beyond is lost, and counted. A row is taken off
the list when the store has it and not before, and the store takes every row once however often it is sent:
so a connection that breaks in the middle of a commit neither loses a row nor counts one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice

from ..signals.refusals import Refusals
from .port import SessionStore, StoreUnavailable, Unwritable
from .record import Finished

_log = logging.getLogger(__name__)

Written = Callable[[set[str], set[str], float], None]


class Writer:
    """Collects finished requests, signs of life and refusals, and writes them every `interval` seconds.

    `on_written(asked, alive, started)` is called after each batch: the sessions that were written, those
    of them that still live, and the monotonic time at which the statement was sent. `on_finished(rows)` is
    told of every request once, whether or not the store is there. `lost` counts rows.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        node: str,
        on_written: Written = lambda asked, alive, started: None,
        interval: float = 0.15,
        bound: int = 100_000,
        batch: int = 500,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._node = node
        self.on_written = on_written
        self.on_finished: Callable[[Sequence[Finished]], None] = lambda rows: None
        self._interval = interval
        self._bound = bound
        self._batch = batch
        self._clock = clock
        self._rows: list[Finished] = []
        self._told = 0
        self._touched: dict[str, bool] = {}
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.refusals = Refusals()
        self.lost = 0

    def __repr__(self) -> str:
        return f"<Writer waiting={len(self._rows)} refusals={len(self.refusals)} lost={self.lost}>"

    @property
    def waiting(self) -> int:
        """Rows that no store has yet."""
        return len(self._rows)

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
        except Exception:  # what is left is counted below
            _log.exception("the writer could not write at the stop")
        if self._rows or self.refusals:
            text = "the store was away at the stop: %d request rows and the count of %d refusals are lost"
            _log.warning(text, len(self._rows), len(self.refusals))
            self.lost += len(self._rows)

    def add(self, row: Finished) -> None:
        """Keep one finished request for the next batch."""
        if len(self._rows) < self._bound:
            self._rows.append(row)
        else:
            self.lost += 1

    def note(self, session_id: str, *, initialized: bool = False) -> None:
        """A session was alive, or its client said that it is initialized; one entry for each session."""
        self._touched[session_id] = initialized or self._touched.get(session_id, False)

    async def flush(self) -> None:
        """Write everything that is noted by now; what the store does not take is kept for the next time."""
        async with self._writing:
            waiting = max(len(self._rows), len(self._touched))
            with contextlib.suppress(StoreUnavailable):
                for _ in range(-(-waiting // self._batch)):  # not "while": rows go on coming under load
                    await self._flush_batch()
                await self._flush_refusals()

    async def _flush_batch(self) -> None:
        fresh, self._told = self._rows[self._told :], len(self._rows)
        self.on_finished(fresh)
        touched = {name: self._touched.pop(name) for name in list(islice(self._touched, self._batch))}
        try:
            await self._write(min(len(self._rows), self._batch), touched)
        except BaseException:
            for session_id, initialized in touched.items():
                self.note(session_id, initialized=initialized)
            raise

    async def _write(self, count: int, touched: dict[str, bool]) -> None:
        """Write the first `count` rows; of those that are refused for their data, each half by itself."""
        rows = self._rows[:count]
        started = self._clock()
        inferred = {row.session_id: row.inferred for row in rows if row.inferred is not None}
        try:
            if inferred:
                await self._store.infer(list(inferred.values()), node=self._node)
            known = await self._store.write(rows, touched, node=self._node)
        except Unwritable as error:
            if count > 1:
                await self._write(count // 2, touched)
                await self._write(count - count // 2, {})
                return
            self._drop(count)
            self.lost += count
            _log.warning(
                "a request row was dropped: the store refuses what it says", extra={"why": str(error)}
            )
            return
        self._drop(count)
        self.lost += sum(row.session_id not in known for row in rows)
        asked = (touched.keys() | {row.session_id for row in rows}) - inferred.keys()
        self.on_written(asked, {name for name in asked if known.get(name)}, started)

    def _drop(self, count: int) -> None:
        del self._rows[:count]
        self._told -= count

    async def _flush_refusals(self) -> None:
        refusals = self.refusals.take()
        try:
            if refusals:
                await self._store.refuse(refusals)
        except BaseException:
            self.refusals.put(refusals)
            raise

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.flush()
            except Exception:
                _log.exception("the writer could not write; it tries again")
