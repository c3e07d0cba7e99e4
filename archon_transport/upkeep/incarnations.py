"""Incarnations: who still runs, and what the dead left behind.

Every start of a process is one. It says every `BEAT` seconds that it lives, by the store's clock; silent
for `SILENT` seconds, or at once where its process can be seen to be gone from this machine, it is declared
dead by whoever notices. What it left, open streams and waiting questions, is then closed with an error
that says the call may be repeated.

A process that was only frozen finds out at its next beat or commit. It takes a new incarnation and goes
on; the calls of the old one are refused by the store, so what was told to clients stays true.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..sessions import StoreUnavailable
from ..sessions.streams import Incarnation, StreamStore, Wakes

_log = logging.getLogger(__name__)

BEAT: Final = 2.0
SILENT: Final = 10.0
AT_ONCE: Final = 500
"""Orphans looked at in one go."""

SELDOM: Final = 5
"""Every how many looks orphans are looked for although nobody was found dead: whoever did may be dead too."""


class Incarnations:
    """This process among the others. `error_for(stream_id)` is the response that ends a lost call.

    `on_reborn` is called when it was taken for dead and has a new incarnation.
    """

    def __init__(
        self,
        store: StreamStore,
        wakes: Wakes,
        *,
        node: str,
        error_for: Callable[[str], bytes],
        is_gone: Callable[[Incarnation], bool] | None = None,
    ) -> None:
        self._store = store
        self._wakes = wakes
        self._node = node
        self._error_for = error_for
        self._is_gone = is_gone or is_gone_here
        self._doubted = asyncio.Event()
        self.on_reborn: Callable[[], None] = lambda: None
        self.current = ""
        self.repaired = 0
        self._looks = 0

    def __repr__(self) -> str:
        return f"<Incarnations current={self.current} repaired={self.repaired}>"

    async def begin(self) -> None:
        """Take an incarnation and repair what earlier ones left."""
        await self._take()
        await self.look()

    def doubt(self) -> None:
        """A commit was refused: perhaps this incarnation was declared dead."""
        self._doubted.set()

    async def run(self) -> None:
        """Beat, and look after the others, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._doubted.wait()
            self._doubted.clear()
            try:
                if not await self._store.beat(self.current):
                    _log.warning("this process was taken for dead; it goes on under a new incarnation")
                    await self._take()
                    self.on_reborn()
                await self.look()
            except StoreUnavailable:
                continue
            except Exception:
                _log.exception("the look after other processes failed; it is tried again")

    async def end(self) -> None:
        """Leave: what this process left undone may be repaired at once."""
        with contextlib.suppress(StoreUnavailable):
            await self._store.bury(self.current)

    async def look(self) -> int:
        """Declare dead who is, and repair; returns how many streams were."""
        due = self._looks % SELDOM == 0
        self._looks += 1
        for other, silent in await self._store.suspects(SILENT):
            if (silent or self._is_gone(other)) and await self._store.bury(other.incarnation):
                due = True
                _log.info("a process is gone", extra={"node": other.node, "incarnation": other.incarnation})
        repaired = 0
        for key in await self._store.orphans(AT_ONCE) if due else []:
            repaired += await self._store.repair(key, self._error_for(key[1]))
        if repaired:
            self.repaired += repaired
            _log.info("calls of a process that is gone were answered", extra={"count": repaired})
        return repaired

    async def _take(self) -> None:
        boot_id, namespace = here()
        pid = os.getpid()
        mine = Incarnation(str(uuid.uuid4()), self._node, boot_id, namespace, pid, started(pid) or 0)
        await self._store.begin(mine, self._wakes)
        self.current = mine.incarnation


def here() -> tuple[str, str]:
    """(boot id, process namespace) of this process; empty where the system does not say."""
    with contextlib.suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot_id, os.readlink("/proc/self/ns/pid")
    return "", ""


def started(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        fields = stat.split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    return None


def is_gone_here(other: Incarnation) -> bool:
    """Whether a process of this very machine and namespace can be seen to be gone."""
    return (
        bool(other.boot_id)
        and (other.boot_id, other.namespace) == here()
        and started(other.pid) != other.started
    )
