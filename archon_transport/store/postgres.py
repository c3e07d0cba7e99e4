"""`PostgresStore`: the ports of sessions and streams over a Postgres 15 or newer, for any number of nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import asyncpg

from ..sessions.port import StoreUnavailable
from .hints import NEWS, Hints
from .incarnations import IncarnationRows
from .inferred import InferredRows
from .keyring import KeyRows
from .migrations import migrate
from .pool import Database
from .requests import RequestRows
from .sessions import SessionRows
from .statements import ENDED
from .streams import StreamRows
from .tokens import TokenRows
from .wakeups import WakeUps

_log = logging.getLogger(__name__)


class PostgresStore(SessionRows, StreamRows, IncarnationRows, KeyRows, InferredRows, RequestRows, TokenRows):
    """Sessions and streams in the Postgres at `dsn`, in `schema` if one is named, else in its role's default.

    Where `dsn` leads through PgBouncer in transaction mode, `direct` is the same database past it; the role's
    search path then has to name the schema, since a pooler passes no settings on.

    `sets` are the migrations to apply at the start; `command_timeout` (seconds) bounds every statement and
    every wait for a connection of the pool; `patience` is how long a server may take to come up.
    """

    def __init__(
        self,
        dsn: str,
        *,
        direct: str | None = None,
        schema: str | None = None,
        sets: Iterable[str] = ("transport",),
        pool_size: int = 10,
        command_timeout: float = 10.0,
        patience: float = 10.0,
    ) -> None:
        if direct is not None and schema is not None:
            raise ValueError("through a pooler the schema is set by ALTER ROLE ... SET search_path")
        database = Database(
            dsn, direct=direct, schema=schema, pool_size=pool_size, command_timeout=command_timeout
        )
        super().__init__(database)
        self._schema = schema
        self._sets = tuple(sets)
        self._patience = patience
        self._wakeups = WakeUps(database.connect, (ENDED, NEWS))
        self._hints = Hints(database, self._wakeups)

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        """The pool, for statements of other rooms; a session variable set on its connections stays set."""
        return self._database.pool

    @property
    def database(self) -> Database:
        """How the pool is asked: what failed, and who hears of statements."""
        return self._database

    async def start(self) -> None:
        """Connect, migrate, open the pool and begin to listen.

        Raises:
            StoreError: the database cannot be used; the message says what to do.
        """
        connection = await self._database.first(self._patience)
        try:
            self._database.check(connection)
            applied = await migrate(connection, self._sets, schema=self._schema)
            self._hints.scope = await connection.fetchval("SELECT current_schema()")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._database.explain(error) from error
        finally:
            connection.terminate()
        if applied:
            _log.info("tables brought up to date", extra={"migrations": ", ".join(applied)})
        await self._database.open()
        await self._wakeups.start()

    async def close(self) -> None:
        """Let go of every connection; sessions stay."""
        await self._wakeups.close()
        await self._database.close()

    async def ping(self) -> bool:
        """Whether the database answers within its time-out."""
        try:
            await self._database.fetch("SELECT 1", repeat=True)
        except StoreUnavailable:
            return False
        return True

    def subscribe(self, on_end: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        """Hear of every session that ends, on any node, and of gaps in the hearing."""
        self._wakeups.subscribe(ENDED, on_end, on_gap)

    def heard_within(self, seconds: float) -> bool:
        """Whether an end that was committed `seconds` ago has been heard of."""
        return self._wakeups.heard_within(seconds)
