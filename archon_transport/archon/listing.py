"""Lists that come in pages: the parameters they share, their conditions, and the two queries behind one.

`find_projects` and `find_tasks` are lists. The total is a true one: it counts what the conditions
select, not what the page holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import asyncpg
from pydantic import Field, field_validator

from .answers import Described, Success
from .budget import excerpt, room_for
from .content import Reading
from .schemas import Arguments, Names, Text

FEW = 1000
"""Hits of a search that are kept by their ids while it counts them all."""

_MATCHES_ALL_WORDS = "concat_ws(E'\\n', {columns}) ILIKE ALL ({value}::text[])"


class Listing(Arguments):
    """The parameters of every list; `item` is the model of what it lists."""

    item: ClassVar[type[Described]] = Described

    query: Text | None = None
    """Words to look for; each must occur somewhere in the item. Case does not matter."""
    page: int = Field(1, ge=1)
    """Which page, counted from 1."""
    per_page: int = Field(10, ge=1, le=100)
    """Items on a page, at most 100."""

    fields: Names | None = None
    """The keys to show of each item in a list, beside its id; all when not given."""

    @field_validator("fields")
    @classmethod
    def _known(cls, fields: list[str] | None) -> list[str] | None:
        known = cls.item.model_fields
        if fields and not known.keys() >= set(fields):
            raise ValueError(f"must be among {', '.join(known)}")
        return fields

    @property
    def skipped(self) -> int:
        """How many items are before the page."""
        return (self.page - 1) * self.per_page


class Alone(Success):
    """One item whole, but for a long description, which is read in pieces."""

    total_chars: int | None = None
    """Characters of the whole description; only where a piece of it is shown."""
    next_offset: int | None = None
    """The offset of the description's next piece; null after the last one."""

    def content(self) -> dict[str, Any]:
        """The answer, with nothing about pieces where there are none."""
        absent = {"total_chars", "next_offset"} - self.model_fields_set
        return {key: value for key, value in super().content().items() if key not in absent}


class _HasDescription(Protocol):
    description: str | None


def alone(item: _HasDescription, reading: Reading) -> dict[str, int | None]:
    """Cut the item's description to the part that was asked for; the answer is what `Alone` says about it."""
    text, total, following = excerpt(item.description or "", reading.offset, reading.limit)
    if len(text) == total:
        return {}
    item.description = text
    return {"total_chars": total, "next_offset": following}


class Page(Success):
    """What every list answers beside its items, which are its one list."""

    count: int
    """Items on this page."""
    page: int
    per_page: int
    has_more: bool
    """Whether a next page has items."""
    query: str | None
    fields: list[str] | None = Field(None, exclude=True)

    def content(self) -> dict[str, Any]:
        """The answer with the chosen keys of its items, and no more items than one answer holds."""
        content = super().content()
        (key,) = (key for key, value in content.items() if isinstance(value, list))
        if self.fields:
            chosen = {"id", *self.fields}
            content[key] = [{k: v for k, v in item.items() if k in chosen} for item in content[key]]
        kept, skipped = room_for(content, key), (self.page - 1) * self.per_page
        if not 0 < kept < self.count:
            return content
        # The next page of a smaller size must begin where this answer ends, or before.
        size = next(size for size in range(kept, 0, -1) if skipped % size == 0)
        note = (
            f"Only {kept} of the page's {self.count} items fit into one answer: go on with per_page={size} "
            f"and page={(skipped + kept) // size + 1}, or choose fewer keys with `fields`."
        )
        return {**content, key: content[key][:kept], "count": kept, "has_more": True, "note": note}


@dataclass(slots=True)
class Where:
    """The conditions of one query, each with the value that it needs."""

    conditions: list[str] = field(default_factory=list)
    values: list[object] = field(default_factory=list)

    def add(self, condition: str, value: object | None) -> None:
        """Add a condition, if there is a value for it; `{value}` in it stands for the value's place."""
        if value is not None:
            self.values.append(value)
            self.conditions.append(condition.format(value=f"${len(self.values)}"))

    def add_words(self, columns: str, query: str | None) -> None:
        """Every word of `query` occurs in one of the columns, whatever its case."""
        patterns = [f"%{_escaped(word)}%" for word in (query or "").split()]
        self.add(_MATCHES_ALL_WORDS.format(columns=columns, value="{value}"), patterns or None)

    def __str__(self) -> str:
        return "WHERE " + " AND ".join(self.conditions) if self.conditions else ""


def _escaped(word: str) -> str:
    """A word without what LIKE would read as a pattern."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@dataclass(frozen=True, slots=True)
class Lists:
    """What is listed: the columns and the table, in which order."""

    columns: str
    table: str
    order: str

    async def page(
        self, pool: asyncpg.Pool, where: Where, listing: Listing, *, slow: bool = False
    ) -> tuple[list[asyncpg.Record], dict[str, Any]]:
        """The rows of one page, and what its answer says about the page.

        Where looking at each row is what takes long (`slow`), few hits are not looked for a second time.
        """
        ids = f", (array_agg(id))[1:{FEW}] AS ids" if slow else ""
        rows: list[asyncpg.Record] = []
        async with pool.acquire() as connection:
            count = f"SELECT count(*) AS total{ids} FROM {self.table} {where}"
            (found,) = await connection.fetch(count, *where.values)
            if listing.skipped < found["total"]:
                if slow and found["total"] <= FEW:
                    where = Where(["id = ANY($1::uuid[])"], [found["ids"]])
                given = len(where.values)
                select = (
                    f"SELECT {self.columns} FROM {self.table} {where} "
                    f"ORDER BY {self.order} LIMIT ${given + 1} OFFSET ${given + 2}"
                )
                rows = await connection.fetch(select, *where.values, listing.per_page, listing.skipped)
        more = listing.skipped + len(rows) < found["total"]
        place = listing.model_dump(include={"page", "per_page", "query", "fields"})
        return rows, {**place, "count": len(rows), "total": found["total"], "has_more": more}
