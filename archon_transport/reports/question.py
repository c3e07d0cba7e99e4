"""How a report asks: one statement, bounded, and once more where the database was restarted.

Nothing here writes. What is searched is bounded by `WINDOW`, so that a view over a million rows costs
what a view over fifty thousand costs, and says so.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from ..sessions import StoreUnavailable

WINDOW = 50_000
"""How many of the newest requests a filter, a search or a percentile looks at."""

_BROKEN = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


class Questions:
    """The pool and the one way to ask it."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def _ask(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a statement that only reads.

        Raises:
            StoreUnavailable: the database cannot be asked.
        """
        try:
            return await self._pool.fetch(query, *arguments)
        except TimeoutError as error:
            raise StoreUnavailable("the database did not answer in time") from error
        except _BROKEN:
            await self._pool.expire_connections()
        try:
            return await self._pool.fetch(query, *arguments)
        except _BROKEN as error:
            raise StoreUnavailable(f"the database cannot be asked: {type(error).__name__}") from error

    async def _one(self, query: str, *arguments: object) -> dict[str, Any]:
        """The one row of a statement that has one."""
        return dict((await self._ask(query, *arguments))[0])

    async def _has(self, table: str) -> bool:
        """Whether a table is there: not every database has the sets of knowledge and projects."""
        return bool(await self._ask("SELECT WHERE to_regclass($1) IS NOT NULL", table))
