"""Migrations: many processes at once, refusals, a schema of one's own, and a database that Archon made."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from archon_transport.store import (
    SETS,
    MigrationError,
    PostgresStore,
    StoreMisconfiguredError,
    StoreUnreachableError,
    StoreUnsuitableError,
    migrate,
)
from archon_transport.store.migrations import load
from tests.sessions.rows import done, new_session

from .test_sessions_contract import DAY

ARCHON_SCHEMA = """
CREATE TABLE archon_mcp_sessions (
    session_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    client_type VARCHAR(50) NOT NULL DEFAULT 'Unknown', client_version VARCHAR(50), client_capabilities JSONB,
    connected_at TIMESTAMPTZ DEFAULT now(), disconnected_at TIMESTAMPTZ,
    last_activity TIMESTAMPTZ DEFAULT now(),
    status VARCHAR(20) DEFAULT 'active' CHECK (status IN ('active', 'idle', 'disconnected')),
    metadata JSONB DEFAULT '{}', total_duration INTEGER
);
CREATE INDEX idx_mcp_sessions_status ON archon_mcp_sessions (status, last_activity DESC);
CREATE TABLE archon_mcp_requests (
    request_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id UUID NOT NULL REFERENCES archon_mcp_sessions (session_id) ON DELETE CASCADE,
    method VARCHAR(100), tool_name VARCHAR(100), prompt_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0,
    total_tokens INTEGER GENERATED ALWAYS AS (prompt_tokens + completion_tokens) STORED,
    estimated_cost DECIMAL(10, 6) DEFAULT 0, timestamp TIMESTAMPTZ DEFAULT now(), duration_ms INTEGER,
    status VARCHAR(20) DEFAULT 'success' CHECK (status IN ('success', 'error', 'timeout')), error_message TEXT
);
INSERT INTO archon_mcp_sessions (session_id, client_type, last_activity)
    VALUES ('00000000-0000-7000-8000-000000000001', 'Claude Code', now() - interval '90 days');
INSERT INTO archon_mcp_requests (session_id, method, prompt_tokens)
    VALUES ('00000000-0000-7000-8000-000000000001', 'tools/call', 7);
"""
ARCHONS_OWN = "00000000-0000-7000-8000-000000000001"

STARTER = """
import asyncio, sys
from archon_transport.store import SETS, PostgresStore
async def main():
    store = PostgresStore(sys.argv[1], sets=SETS, pool_size=1)
    sys.stdin.readline()
    await store.start()
    print(await store.count())
    await store.close()
asyncio.run(main())
"""


@pytest.fixture
def dsn(empty_dsn: str) -> str:
    """A database without a table: they are made here."""
    return empty_dsn


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_eight_processes_start_at_once_on_an_empty_database(dsn: str, connection: Any):
    """However many start at once, all come up and every file is applied once."""
    pipe = asyncio.subprocess.PIPE
    starters = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", STARTER, dsn, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ
        )
        for _ in range(8)
    ]
    results = await asyncio.gather(*(starter.communicate(b"go\n") for starter in starters))
    assert [out for out, _ in results] == [b"0\n"] * 8, results
    applied = await connection.fetch("SELECT set_name, number FROM archon_transport_migrations")
    assert {row["set_name"] for row in applied} == set(SETS)


async def test_a_second_run_changes_nothing(connection: Any):
    """On a database that is up to date nothing is applied, in whatever order the sets are asked for."""
    assert await migrate(connection, SETS) == names(SETS)
    assert await migrate(connection, reversed(SETS)) == []


def names(sets: tuple[str, ...]) -> list[str]:
    return [str(migration) for name in sets for migration in load(name)]


async def test_only_the_sets_asked_for_are_applied(connection: Any):
    """A library user gets the tables of the sessions and no others; the rest may follow later."""
    await migrate(connection)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert {row["tablename"] for row in tables} == {
        "archon_mcp_sessions",
        "archon_mcp_requests",
        "archon_mcp_usage",
        "archon_mcp_refusals",
        "archon_mcp_incarnations",
        "archon_mcp_keys",
        "archon_mcp_streams",
        "archon_mcp_cancellations",
        "archon_mcp_events",
        "archon_mcp_questions",
        "archon_mcp_subscriptions",
        "archon_mcp_tokens",
        "archon_transport_migrations",
    }
    assert await migrate(connection, SETS) == names(SETS[1:])
    with pytest.raises(ValueError, match="nonsense"):
        await migrate(connection, ("nonsense",))


async def test_a_changed_file_is_refused(connection: Any):
    """A file that is not the one applied stops the start, and is named."""
    await migrate(connection)
    await connection.execute("UPDATE archon_transport_migrations SET checksum = 'other'")
    with pytest.raises(MigrationError, match=r"transport/001_sessions\.sql is not the one that was applied"):
        await migrate(connection)


async def test_a_newer_database_is_refused(dsn: str, connection: Any):
    """An older program does not touch the tables of a newer one."""
    await migrate(connection)
    await connection.execute(
        "INSERT INTO archon_transport_migrations VALUES ('transport', 999, '999_later.sql', 'x')"
    )
    with pytest.raises(MigrationError, match=r"newer.*999_later\.sql.*Upgrade archon-transport"):
        await PostgresStore(dsn).start()


async def test_a_file_that_fails_leaves_nothing(connection: Any):
    """A table of the same name with other columns stops the start; nothing is half done."""
    await connection.execute("CREATE TABLE archon_mcp_sessions (session_id TEXT)")
    with pytest.raises(MigrationError, match=r"001_sessions\.sql could not be applied"):
        await migrate(connection)
    assert await connection.fetchval("SELECT to_regclass('archon_transport_migrations')") is None


async def test_a_schema_of_ones_own(dsn: str, connection: Any):
    """Two schemas of one database are two stores that do not see each other's rows."""
    stores = [PostgresStore(dsn), PostgresStore(dsn, schema='my "own"')]
    for store in stores:
        await store.start()
    session = new_session()
    await stores[1].open(session, node="a", limit=5)
    assert [await store.count() for store in stores] == [0, 1]
    assert await connection.fetchval('SELECT count(*) FROM "my ""own""".archon_mcp_sessions') == 1
    assert await stores[1].end(session.session_id, "deleted")
    for store in stores:
        await store.close()


async def test_a_role_without_rights_runs_on_tables_that_are_there(dsn: str, connection: Any):
    """Once the owner has migrated, the program needs no right to create; before, it says which."""
    role = f"plain_{os.getpid()}"
    await connection.execute(f"CREATE ROLE {role} LOGIN")
    plain = dsn.replace("postgres@", f"{role}@")
    try:
        with pytest.raises(MigrationError, match="Grant the role CREATE"):
            await PostgresStore(plain).start()
        await migrate(connection)
        await connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        store = PostgresStore(plain)
        await store.start()
        await store.open(new_session(), node="a", limit=5)
        assert await store.count() == 1
        await store.close()
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
async def archons(dsn: str, connection: Any) -> AsyncIterator[PostgresStore]:
    """A store on a database that an early Archon made and used."""
    await connection.execute(ARCHON_SCHEMA)
    store = PostgresStore(dsn)
    await store.start()
    yield store
    await store.close()


async def test_archons_rows_are_not_ours(archons: PostgresStore, connection: Any):
    """A row without a secret is never admitted, adopted, written, ended, listed, counted or pushed out."""
    before = await connection.fetchrow("SELECT * FROM archon_mcp_sessions")
    assert await archons.admit(ARCHONS_OWN, node="a") is None
    assert await archons.adopt(ARCHONS_OWN, ("i", "s", None)) is None
    assert await archons.write([done(ARCHONS_OWN)], {}, node="a") == {}
    assert not await archons.end(ARCHONS_OWN, "operator")
    soon = (await archons.clock()).replace(year=2999)
    assert await archons.expire(DAY, unless_after=soon) == 0
    await archons.open(new_session(), node="a", limit=1)
    assert await archons.count() == len(await archons.page()) == 1
    assert (
        await connection.fetchrow("SELECT * FROM archon_mcp_sessions WHERE secret_digest IS NULL") == before
    )


async def test_archons_rows_and_keys_stay(archons: PostgresStore, connection: Any):
    """Archon's statements work on as before: its defaults, its generated column and its key."""
    assert await connection.fetchval("SELECT total_tokens FROM archon_mcp_requests") == 7
    await connection.execute("INSERT INTO archon_mcp_sessions (client_type) VALUES ('Cursor')")
    await connection.execute(
        "INSERT INTO archon_mcp_requests (session_id, method) VALUES ($1, 'x')", ARCHONS_OWN
    )
    keys = (
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = $1::regclass"
    )
    assert await connection.fetchval(keys, "archon_mcp_requests") == "PRIMARY KEY (request_id)"


async def test_a_fresh_request_table_is_keyed_by_session(connection: Any):
    """A table that we make can be distributed by session."""
    await migrate(connection)
    keys = (
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = $1::regclass"
    )
    assert await connection.fetchval(keys, "archon_mcp_requests") == "PRIMARY KEY (session_id, request_id)"


async def test_archon_marking_a_session_dead_does_not_end_it(archons: PostgresStore, connection: Any):
    """Archon's columns are mirrors: what Archon writes there is overwritten and never read."""
    session = new_session()
    await archons.open(session, node="a", limit=None)
    dead = (
        "UPDATE archon_mcp_sessions "
        "SET status = 'disconnected', disconnected_at = now(), disconnect_reason = 'x'"
    )
    mirrors = (
        "SELECT status, disconnected_at, disconnect_reason FROM archon_mcp_sessions WHERE session_id = $1"
    )
    await connection.execute(dead)
    assert await archons.admit(session.session_id, node="a") == session
    assert tuple(await connection.fetchrow(mirrors, session.session_id)) == ("active", None, None)
    await connection.execute(dead)
    assert await archons.write([], {session.session_id: False}, node="a") == {session.session_id: True}
    assert tuple(await connection.fetchrow(mirrors, session.session_id)) == ("active", None, None)


async def test_the_mirrors_of_an_end(archons: PostgresStore, connection: Any):
    """An end reads in Archon's words in Archon's columns, with the duration in whole seconds."""
    now = await archons.clock()
    reasons: dict[Any, str] = {
        "deleted": "client_disconnect",
        "idle": "timeout_no_activity",
        "operator": "operator",
        "full": "full",
    }
    for reason, word in reasons.items():
        session = new_session(connected_at=now.replace(year=now.year - 100))
        await archons.open(session, node="a", limit=None)
        await archons.end(session.session_id, reason)
        row = await connection.fetchrow(
            "SELECT *, ended_at - disconnected_at < interval '1 second' AS together FROM archon_mcp_sessions "
            "WHERE session_id = $1",
            session.session_id,
        )
        assert (row["status"], row["disconnect_reason"], row["ended_reason"]) == (
            "disconnected",
            word,
            reason,
        )
        assert row["together"]
        assert row["total_duration"] == 2_147_483_647


async def test_the_mirrors_of_an_opening(archons: PostgresStore, connection: Any):
    """A session is in Archon's words too: who the client is and what it can do."""
    words = {
        "claude-code": "Claude Code",
        "Cursor-vscode": "Cursor",
        "kiro": "KiRo",
        "inspector": "inspector",
        "": "Unknown",
        "\x00": "Unknown",
        "y" * 90: "y" * 50,
    }
    for name, word in words.items():
        session = new_session(client_name=name)
        await archons.open(session, node="here", limit=None)
        row = await connection.fetchrow(
            "SELECT * FROM archon_mcp_sessions WHERE session_id = $1", session.session_id
        )
        assert (row["client_type"], row["status"], row["era"]) == (word, "active", "handshake")
        assert row["node"] == "here"
        assert json.loads(row["client_capabilities"]) == {"roots": {}}


async def test_a_touch_is_a_hot_update(dsn: str):
    """On tables of ours a touch writes no index."""
    store = PostgresStore(dsn, pool_size=1)
    await store.start()
    session = new_session()
    await store.open(session, node="a", limit=None)
    for _ in range(20):
        await store.admit(session.session_id, node="a")
        await store.write([done(session.session_id, bytes_in=5)], {}, node="b")
    await store.pool.execute("SELECT pg_stat_force_next_flush()")
    stats = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'archon_mcp_sessions'"
    updates, hot = await store.pool.fetchrow(stats)
    await store.close()
    assert updates == hot == 40


async def test_a_start_that_cannot_be_says_what_to_do(dsn: str):
    """Every way to name the wrong database has a message that helps and holds no password."""
    nowhere = "postgresql://u:s3cret@"
    for wrong, kind, text in (
        (dsn.replace("/test_", "/none_"), StoreMisconfiguredError, "does not exist.*createdb"),
        (dsn.replace("postgres@", "nobody:s3cret@"), StoreMisconfiguredError, "user and password"),
        ("postgresql://u:s3c/ret@host/db", StoreMisconfiguredError, "not understood"),
        ("mysql://u:s3cret@host/db", StoreMisconfiguredError, "not understood"),
        (f"{nowhere}127.0.0.1:1/db", StoreUnreachableError, "Nobody answers.*'db' at 127.0.0.1:1"),
        (f"{nowhere}/db?host=/nowhere", StoreUnreachableError, "Nobody answers.*'db' at /nowhere"),
    ):
        store = PostgresStore(wrong, patience=0.3)
        with pytest.raises(kind, match=f"(?s){text}") as caught:
            await store.start()
        shown = "".join(traceback.format_exception(caught.value))
        assert "s3c" not in shown
        await store.close()


async def test_a_server_that_is_not_postgres_is_named_as_such():
    """A web server behind the port is said to be no Postgres, or not to answer as one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        for mode in ("disable", "prefer"):
            with pytest.raises(StoreUnsuitableError, match="does not speak as Postgres"):
                await PostgresStore(
                    f"postgresql://u@127.0.0.1:{port}/db?sslmode={mode}", patience=0.3
                ).start()
    finally:
        server.close()


async def test_another_encoding_is_refused(dsn: str, connection: Any):
    """A database that cannot hold every text is refused before anything is made in it."""
    name = f"latin_{os.getpid()}"
    await connection.execute(
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    )
    try:
        other = dsn.replace(dsn[dsn.index("/test_") : dsn.index("?")], f"/{name}")
        with pytest.raises(StoreUnsuitableError, match="ENCODING 'UTF8'"):
            await PostgresStore(other).start()
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
