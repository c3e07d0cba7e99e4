"""The connections to one Postgres: how they are made, checked, pooled and asked again.

`Database` knows nothing of sessions. Every statement of the store goes through `Database.run`, which
turns failures of the connection into `StoreUnavailable` and hides a restart of the server from callers
whose statement may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from ..sessions.port import StoreUnavailable
from .errors import LOST, StoreError, StoreUnsuitableError, address, explained, not_begun, translated

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

OLDEST = 15
"""The oldest major version of Postgres that the SQL is written for."""

CONNECT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 2.0


async def _keep(connection: Connection) -> None:
    """Give a connection back as it is: asyncpg's own reset costs a round trip after every statement.

    An open transaction has been rolled back before this is called; nothing here sets session variables.
    """


class _Pooled(asyncpg.Connection):
    """A connection that leads through a pooler in transaction mode.

    asyncpg prepares a statement and executes it in two messages, between which such a pooler may change the
    server. In a transaction it does not.
    """

    async def fetch(self, *args: Any, **options: Any) -> Any:
        return await self._pinned(super().fetch, *args, **options)

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        return await self._pinned(super().fetchrow, *args, **options)

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        return await self._pinned(super().fetchval, *args, **options)

    async def executemany(self, *args: Any, **options: Any) -> None:
        await self._pinned(super().executemany, *args, **options)

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        if not args:  # one message; and how a transaction itself begins and ends
            return await super().execute(query, **options)
        return await self._pinned(super().execute, query, *args, **options)

    async def _pinned(self, ask: Callable[..., Awaitable[_T]], *args: Any, **options: Any) -> _T:
        async with nullcontext() if self.is_in_transaction() else self.transaction():
            return await ask(*args, **options)


class Database:
    """One Postgres, asked through a pool; `schema` comes first in every connection's search path.

    `direct` is its address past a pooler, where `dsn` leads through one. `errors` counts statements that
    failed, by the name of the exception. `on_statement`, set before the first statement, hears of every one
    (asyncpg's `LoggedQuery`) in the context of whoever asked.
    """

    def __init__(
        self, dsn: str, *, direct: str | None, schema: str | None, pool_size: int, command_timeout: float
    ) -> None:
        path = {} if schema is None else {"search_path": f"{quoted(schema)}, public"}
        self._dsn = direct or dsn
        self._pooled_dsn = dsn
        self._where = address(self._dsn)
        self._pooled: dict[str, Any] = (
            {"connection_class": _Pooled, "statement_cache_size": 0} if direct is not None else {}
        )
        self._options: dict[str, Any] = {
            "timeout": CONNECT_TIMEOUT,
            "command_timeout": command_timeout,
            "server_settings": {"application_name": "archon-transport"} | path,
        }
        self._size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self.errors: Counter[str] = Counter()
        self.on_statement: Callable[[Any], None] | None = None

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        """The open pool.

        Raises:
            StoreUnavailable: before the start.
        """
        if self._pool is None:
            raise StoreUnavailable("the store has not been started")
        return self._pool

    async def connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection outside of the pool and past any pooler; whoever asks for it closes it."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self._dsn, **self._options)
        return connection

    async def first(self, patience: float) -> asyncpg.Connection[asyncpg.Record]:
        """The first connection, to a server that may still be starting up: asked for `patience` seconds.

        Raises:
            StoreError: it says what is wrong and what to do.
        """
        deadline = time.monotonic() + patience
        delay = 0.1
        while True:
            try:
                return await self.connect()
            except (*LOST, asyncpg.TooManyConnectionsError) as error:
                if time.monotonic() + delay > deadline:
                    raise self.explain(error) from error
                _log.info("waiting for %s", self._where)
            except Exception as error:
                raise self.explain(error) from None
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)

    def check(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Refuse, with a `StoreError`, a server that cannot hold the tables."""
        version = connection.get_server_version()
        if version.major < OLDEST:
            raise StoreUnsuitableError(
                f"{self._where} is Postgres {version.major}; {OLDEST} or newer is needed."
            )
        encoding = str(getattr(connection.get_settings(), "server_encoding", "UTF8"))
        if encoding.upper() not in {"UTF8", "UNICODE"}:
            raise StoreUnsuitableError(
                f"{self._where} is encoded as {encoding}. Create one with ENCODING 'UTF8' TEMPLATE template0."
            )

    def explain(self, error: BaseException) -> StoreError:
        """What to do about a failure at the start."""
        return explained(error, self._where)

    async def open(self) -> None:
        """Open the pool; its connections are made when they are needed."""
        options = {**self._options, **self._pooled}
        self._pool = await asyncpg.create_pool(
            self._pooled_dsn, min_size=0, max_size=self._size, reset=_keep, init=self._watch, **options
        )

    async def _watch(self, connection: Connection) -> None:
        if self.on_statement is not None:
            connection.add_query_logger(self.on_statement)

    async def close(self) -> None:
        """Close the pool: wait for statements that run, for at most `CLOSE_TIMEOUT` seconds."""
        if self._pool is not None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._pool.close()
            except (TimeoutError, asyncpg.InterfaceError, OSError):
                self._pool.terminate()

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Within the command time-out altogether, however many things are waited for.

        Raises:
            StoreUnavailable: it was not, or the database cannot be asked.
        """
        with translated():
            async with asyncio.timeout(self._options["command_timeout"]):
                yield

    async def run(self, work: Callable[[Connection], Awaitable[_T]], *, repeat: bool = False) -> _T:
        """Do `work` on a connection, once more on a fresh one where the first turned out to be broken.

        Work that may not be done twice is done again only when the first attempt certainly left nothing
        behind; `repeat` says that twice is as good as once.

        Raises:
            StoreUnavailable: the database cannot be asked.
        """
        async with self.bounded():
            try:
                return await self._once(work)
            except Exception as error:
                self.errors[type(error).__name__] += 1
                again = not_begun(error) or (repeat and isinstance(error, LOST))
                if isinstance(error, TimeoutError) or not again:
                    raise
            await self.pool.expire_connections()
            return await self._once(work)

    async def _once(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        pool = self.pool
        connection = await pool.acquire()
        try:
            return await work(connection)
        except (TimeoutError, asyncio.CancelledError):
            # Asking a server that may be frozen to cancel would take as long again.
            connection.terminate()
            raise
        finally:
            await pool.release(connection)

    async def fetch(self, query: str, *args: object, repeat: bool = False) -> list[asyncpg.Record]:
        """The rows of one statement."""
        return await self.run(lambda connection: connection.fetch(query, *args), repeat=repeat)


def quoted(name: str) -> str:
    """An identifier as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
