"""Which process runs the Postgres of a data directory, and who takes over when that one goes.

One process holds an exclusive lock on the directory and runs Postgres as its child. Any other, a second
server or a one-shot command, uses that Postgres under the same address and keeps asking for the lock; it
gets it when the holder is gone, however it went, and starts Postgres again. When Postgres dies alone its
holder starts it.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from pathlib import Path
from typing import Any, Literal

import asyncpg

from .cluster import Cluster
from .spawn import EmbeddedPostgresError

_log = logging.getLogger(__name__)
_JOIN_LIMIT = 30.0
_LOOK_EVERY = 0.2
_TRY_AGAIN_AFTER = 2.0


class EmbeddedPostgres:
    """The Postgres in `data_dir`: run by this process, or by another and used by this. Main thread only."""

    def __init__(self, data_dir: Path, *, database: str = "archon") -> None:
        self._cluster = Cluster(data_dir)
        self._layout = self._cluster.layout
        self._database = database
        self._version = "unknown"
        self._lock: int | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.dsn = self._layout.dsn(database)
        self.role: Literal["holder", "follower"] = "follower"

    def describe(self) -> str:
        """One line for the start banner."""
        how = "run by this process" if self.role == "holder" else "run by another process, joined by this one"
        return f"embedded Postgres {self._version} in {self._layout.home}, {how}"

    async def start(self) -> None:
        """Have Postgres and the database ready, as holder or as follower, and begin to watch.

        Raises:
            EmbeddedPostgresError: it cannot be had; the text says what to do.
        """
        try:
            self._layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._layout.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            await self._lead_or_join(self._lock)
        except BaseException as error:
            await self.stop()
            if not isinstance(error, OSError):
                raise
            raise EmbeddedPostgresError(
                f"The data directory {self._layout.home} cannot be used: {error}. Choose one that this user "
                "can write to with --data-dir, or name a database with --database-url."
            ) from error
        self._watcher = asyncio.create_task(self._watch(self._lock), name="embedded-postgres")

    async def stop(self) -> None:
        """End Postgres if it is ours, cleanly, and only then give the lock away; else just leave."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        await self._cluster.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _lead_or_join(self, lock: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _JOIN_LIMIT
        while True:
            if _take(lock):
                return await self._lead()
            try:
                return await self._join()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if loop.time() > deadline:
                    raise EmbeddedPostgresError(
                        f"{self._layout.home} is in use by process {os.pread(lock, 20, 0).decode()}, but the "
                        f"Postgres there does not answer ({error}). See {self._layout.log}, end that "
                        "process, or choose another --data-dir."
                    ) from error
            await asyncio.sleep(_LOOK_EVERY)

    async def _lead(self) -> None:
        """Run Postgres and see that the database is there; the lock is ours."""
        await self._cluster.start()
        dsn = self._layout.dsn("postgres")
        query = "SELECT 1 FROM pg_database WHERE datname = $1"
        if not await _ask(dsn, query, self._database, limit=_JOIN_LIMIT):
            await _ask(dsn, f'CREATE DATABASE "{self._database}"', limit=_JOIN_LIMIT)
        self._version, self.role = self._cluster.version, "holder"

    async def _join(self) -> None:
        self._version = (await _ask(self.dsn, "SHOW server_version", limit=5.0)).split()[0]

    async def _watch(self, lock: int) -> None:
        """Keep Postgres running if it is ours; make it ours when its holder is gone."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                if self.role == "holder":
                    await self._mind()
                elif _take(lock):
                    _log.warning("The process that ran Postgres is gone: this one takes over.")
                    await self._lead()
            except Exception:
                _log.exception("Postgres in %s could not be started; trying again.", self._layout.home)
                await self._cluster.stop()
                if self.role == "follower":
                    fcntl.flock(lock, fcntl.LOCK_UN)  # let another process try
                await asyncio.sleep(_TRY_AGAIN_AFTER)

    async def _mind(self) -> None:
        if self._cluster.alive:
            self._layout.open_log().close()  # keeps it within its limit
        else:
            _log.warning("Postgres died and is started again; what it said is in %s.", self._layout.log)
            await self._cluster.start()


async def _ask(dsn: str, query: str, *args: str, limit: float) -> Any:
    connection = await asyncpg.connect(dsn, timeout=limit)
    try:
        return await connection.fetchval(query, *args)
    finally:
        await connection.close()


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}".encode(), 0)
    return True
