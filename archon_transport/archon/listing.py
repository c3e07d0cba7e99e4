"""Lists that come in pages: the parameters they share, their conditions, and the two queries behind one.

`find_projects` and `find_tasks` are lists. The total is a true one: it counts what the conditions
select, not what the page holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import asyncpg
from pydantic import Field

from .answers import Success
from .schemas import Arguments, Text

_MATCHES_ALL_WORDS = "concat_ws(E'\\n', {columns}) ILIKE ALL ({value}::text[])"


class Listing(Arguments):
    """The parameters of every list."""

    query: Text | None = Field(
        None, description="Words to look for; each must occur somewhere in the item. Case does not matter."
    )
    page: int = Field(1, ge=1, description="Which page, counted from 1.")
    per_page: int = Field(10, ge=1, le=100, description="Items on a page, at most 100.")

    @property
    def offset(self) -> int:
        """How many items are before the page."""
        return (self.page - 1) * self.per_page

    def place(self, *, count: int, total: int) -> dict[str, Any]:
        """What the answer says about where its page is."""
        return {
            "count": count,
            "page": self.page,
            "per_page": self.per_page,
            "has_more": self.offset + count < total,
            "query": self.query,
        }


class Page(Success):
    """What every list answers beside its items."""

    count: int = Field(description="Items on this page.")
    page: int
    per_page: int
    has_more: bool = Field(description="Whether a next page has items.")
    query: str | None


@dataclass(slots=True)
class Where:
    """The conditions of one query, each with the value that it needs."""

    conditions: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)

    def add(self, condition: str, value: object) -> None:
        """Add a condition; `{value}` in it stands for the value's place."""
        self.values.append(value)
        self.conditions.append(condition.format(value=f"${len(self.values)}"))

    def add_words(self, columns: str, query: str | None) -> None:
        """Every word of `query` occurs in one of the columns, whatever its case."""
        if query is not None and query.split():
            patterns = [f"%{_escaped(word)}%" for word in query.split()]
            self.add(_MATCHES_ALL_WORDS.format(columns=columns, value="{value}"), patterns)

    def __str__(self) -> str:
        return "WHERE " + " AND ".join(self.conditions) if self.conditions else ""


def _escaped(word: str) -> str:
    """A word without what LIKE would read as a pattern."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def fetch_page(
    pool: asyncpg.Pool, columns: str, table: str, where: Where, order: str, listing: Listing
) -> tuple[list[asyncpg.Record], int]:
    """The rows of one page and how many rows there are on all pages."""
    count = f"SELECT count(*) FROM {table} {where}"
    place = len(where.values)
    page = f"SELECT {columns} FROM {table} {where} ORDER BY {order} LIMIT ${place + 1} OFFSET ${place + 2}"
    async with pool.acquire() as connection:
        total: int = await connection.fetchval(count, *where.values)
        if listing.offset >= total:
            return [], total
        return await connection.fetch(page, *where.values, listing.per_page, listing.offset), total
