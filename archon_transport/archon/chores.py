"""What Archon does unasked: it ends leases that ran out, and forgets what was kept for a time only.

The chores run beside the server for as long as its lifespan lasts, on every node; where several do the
same thing at once, one does it and the others find it done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from mcp.server import Server

from .context import Archon
from .leases import expire

logger = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds between two rounds: a lease may be that much longer than it says, where nobody looks."""

_FORGET_ANSWERS = "DELETE FROM archon_mcp_idempotency WHERE created_at < now() - interval '24 hours'"
_EMPTY_TRASH = "DELETE FROM archon_trash WHERE deleted_at < now() - interval '30 days'"

Lifespan = Callable[[Server[Any]], AbstractAsyncContextManager[Any]]


async def do_chores(archon: Archon) -> None:
    """One round of them."""
    await expire(archon)
    await archon.pool.execute(_FORGET_ANSWERS)
    await archon.pool.execute(_EMPTY_TRASH)


async def _do_for_ever(archon: Archon, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        try:
            await do_chores(archon)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            logger.warning("the chores have to wait: no database", extra={"reason": repr(error)})


def with_chores(lifespan: Lifespan, archon: Archon, interval: float = INTERVAL) -> Lifespan:
    """A lifespan like `lifespan`, during which the chores are done every `interval` seconds."""

    @asynccontextmanager
    async def running(server: Server[Any]) -> AsyncIterator[Any]:
        async with lifespan(server) as state:
            task = asyncio.create_task(_do_for_ever(archon, interval), name="archon chores")
            try:
                yield state
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    return running
