"""Vectors in Postgres, where it has the extension `vector`: Archon's columns, one per dimension, and HNSW.

The extension is probed, never required: `space` answers None without it, and full text goes on. Columns and
indexes are made here and not by a migration, because they depend on the embedder and on an extension that
may be installed later. What makes vectors calls `store_vectors`; `search` asks for `space`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from .embed import Embedder

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

_log = logging.getLogger(__name__)

TABLES = ("archon_crawled_pages", "archon_code_examples")
"""The tables that have vectors."""

_FULL, _HALF = 2000, 4000
"""Dimensions up to which HNSW indexes single and half precision; above, rows are compared one by one."""

_LOCK = 0x766563746F72  # "vector"; two nodes that start at once make one column

_PROBE = """
    SELECT available.installed_version, extnamespace::regnamespace::text AS place
      FROM pg_available_extensions AS available LEFT JOIN pg_extension ON extname = name
     WHERE name = 'vector'
"""

_HAS = """
    SELECT EXISTS (SELECT FROM pg_attribute
                    WHERE attrelid = to_regclass($1) AND attname = $2 AND NOT attisdropped) AS kept,
           EXISTS (SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                     JOIN pg_am ON pg_am.oid = relam
                    WHERE indrelid = to_regclass($1) AND amname = 'hnsw' AND indisvalid
                      AND pg_get_indexdef(indexrelid) LIKE '%' || $2 || '%') AS indexed
"""

_STORE = """
    UPDATE {table} SET {column} = vector::{kind}, embedding_model = $3, embedding_dimension = $4
      FROM unnest($1::bigint[], $2::text[]) AS given (id, vector) WHERE {table}.id = given.id
"""


@dataclass(frozen=True, slots=True)
class Space:
    """Where vectors of one dimension are, in SQL: the column, what the index holds of it, the distance."""

    dimension: int
    place: str
    """The schema of the extension, quoted where it must be: it is not on every search path."""

    iterative: bool
    """Whether an index scan goes on until a filter has let enough through (pgvector 0.8)."""

    @property
    def column(self) -> str:
        """Archon's column."""
        return f"embedding_{self.dimension}"

    @property
    def kind(self) -> str:
        """The column's type."""
        return f"{self.place}.vector({self.dimension})"

    @property
    def indexed(self) -> str:
        """The expression that the index is on, and that a search must use to be served by it."""
        if self.dimension <= _FULL:
            return self.column
        return f"({self.column}::{self.place}.halfvec({self.dimension}))"

    def distance(self, value: str) -> str:
        """The cosine distance from the vector that `value`, a text in SQL, holds."""
        kind = self.kind if self.dimension <= _FULL else f"{self.place}.halfvec({self.dimension})"
        return f"({self.indexed} OPERATOR({self.place}.<=>) {value}::{kind})"


async def space(connection: Connection, dimension: int) -> Space | None:
    """The place for vectors of this dimension, if the extension is installed."""
    row = await connection.fetchrow(_PROBE)
    if row is None or row["place"] is None:
        return None
    version = tuple(int(part) for part in row["installed_version"].split(".")[:2])
    return Space(dimension, row["place"], version >= (0, 8))


async def prepare(connection: Connection, dimension: int) -> Space | None:
    """The place for vectors of this dimension, made where it is missing; None where it cannot be."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        row = await connection.fetchrow(_PROBE)
        if row is None:
            return None
        if row["place"] is None:
            try:
                async with connection.transaction():
                    await connection.execute("CREATE EXTENSION vector")
            except asyncpg.InsufficientPrivilegeError:
                _log.warning("vectors are not stored: somebody with the right must CREATE EXTENSION vector")
                return None
        found = await space(connection, dimension)
        if found is not None:
            for table in TABLES:
                await _prepare(connection, table, found)
        return found


async def _prepare(connection: Connection, table: str, place: Space) -> None:
    has = await connection.fetchrow(_HAS, table, place.column)
    if has is None or (has["kept"] and (has["indexed"] or place.dimension > _HALF)):
        return
    await connection.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {place.column} {place.kind}")
    if place.dimension <= _HALF:
        kind = "vector" if place.dimension <= _FULL else "halfvec"
        name = f"{table}_{place.column}_hnsw"
        await connection.execute(
            f"CREATE INDEX IF NOT EXISTS {name} ON {table}"
            f" USING hnsw ({place.indexed} {place.place}.{kind}_cosine_ops)",
            timeout=3600,
        )


async def store_vectors(
    connection: Connection, table: str, rows: Sequence[tuple[int, list[float]]], embedder: Embedder
) -> int:
    """Keep each row's vector with its model and dimension; how many, which is none without the extension."""
    if table not in TABLES:
        raise ValueError(f"no table with vectors: {table}")
    place = await prepare(connection, embedder.dimension) if rows else None
    if place is None:
        return 0
    statement = _STORE.format(table=table, column=place.column, kind=place.kind)
    ids, vectors = [row[0] for row in rows], [literal(row[1]) for row in rows]
    await connection.execute(statement, ids, vectors, embedder.model, embedder.dimension)
    return len(rows)


def literal(vector: Sequence[float]) -> str:
    """A vector as the extension reads it; seven digits are all that it keeps."""
    return "[" + ",".join(f"{number:.7g}" for number in vector) + "]"
