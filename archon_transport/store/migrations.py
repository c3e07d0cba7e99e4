"""The schema, as numbered SQL files in three sets, each applied once and in order.

`migrate` may be called by any number of processes at once: they queue on an advisory lock, the first
does the work and the others find it done. All of one call is one transaction. The files stand in
`sql/SET/NNN_name.sql`; a file that has been released is never edited, a new one is added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import asyncpg

from .errors import MigrationError
from .pool import Connection, quoted

SETS = ("transport", "archon", "knowledge")
"""Sessions and what travels; Archon's projects and tasks; Archon's knowledge. In this order."""

PATIENCE = 600.0
"""Seconds for one file, and for another process that is migrating."""

_LOCK = 0x617263686F6E  # "archon"; one migration at a time in a database, whatever the schema
# Not "IF NOT EXISTS": that asks for the right to create also where the table is there.
_EXISTS = """
SELECT EXISTS (SELECT FROM pg_tables
    WHERE schemaname = current_schema() AND tablename = 'archon_transport_migrations')"""
_TABLE = """
CREATE TABLE archon_transport_migrations (
    set_name TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (set_name, number)
)"""
_APPLIED = "SELECT set_name, number, name, checksum FROM archon_transport_migrations WHERE set_name = ANY($1)"
_NOTE = "INSERT INTO archon_transport_migrations (set_name, number, name, checksum) VALUES ($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of a set."""

    set_name: str
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, the same whatever line ends it was checked out with."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.set_name}/{self.name}"


def load(set_name: str) -> list[Migration]:
    """The migrations of a set, lowest number first."""
    folder = resources.files(__package__) / "sql" / set_name
    files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    found = [Migration(set_name, int(f.name.split("_")[0]), f.name, f.read_text("utf-8")) for f in files]
    return sorted(found, key=lambda migration: migration.number)


async def migrate(
    connection: Connection, sets: Iterable[str] = ("transport",), *, schema: str | None = None
) -> list[str]:
    """Bring `sets` up to date in `schema` (the first of the search path where None); names what was applied.

    A role without the right to create may call it on a database that is up to date.

    Raises:
        MigrationError: a file differs from what was applied, the database is newer, or a file failed.
    """
    chosen = set(sets)
    if not chosen <= set(SETS):
        raise ValueError(f"no such set of migrations: {', '.join(sorted(chosen - set(SETS)))}")
    wanted = [migration for name in SETS if name in chosen for migration in load(name)]
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=PATIENCE)
            # Waiting for long behind somebody's lock on a table would stop all who come after us as well.
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            if schema is not None:
                await _enter(connection, schema)
            if not await connection.fetchval(_EXISTS):
                await connection.execute(_TABLE)
            due = _due(wanted, await connection.fetch(_APPLIED, sorted(chosen)))
            for migration in due:
                await _apply(connection, migration)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
        raise MigrationError(
            f"The tables cannot be made: {error}. Grant the role CREATE on the schema, name another "
            "schema, or run `archon-transport migrate` once as the owner."
        ) from error
    return [str(migration) for migration in due]


async def _enter(connection: Connection, schema: str) -> None:
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema):
        await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
    await connection.execute(f"SET LOCAL search_path = {quoted(schema)}, public")


def _due(wanted: Sequence[Migration], applied: Sequence[asyncpg.Record]) -> list[Migration]:
    known = {(migration.set_name, migration.number): migration for migration in wanted}
    for row in applied:
        migration = known.pop((row["set_name"], row["number"]), None)
        if migration is None:
            text = f"The database is newer than this program: it has {row['set_name']}/{row['name']}."
            raise MigrationError(f"{text} Upgrade archon-transport.")
        if migration.checksum != row["checksum"]:
            raise MigrationError(
                f"The file {migration} is not the one that was applied to this database. Install the "
                "released archon-transport again; a change to the schema belongs in a new file."
            )
    return list(known.values())


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        await connection.execute(migration.sql, timeout=PATIENCE)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.PostgresConnectionError):
        raise
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"The file {migration} could not be applied, nothing was changed: {error}. If a table of this "
            "name is not Archon's, choose another schema or database."
        ) from error
    await connection.execute(_NOTE, migration.set_name, migration.number, migration.name, migration.checksum)
