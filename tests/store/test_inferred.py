"""Inferred records, in both stores: added up, closed by idleness, and seen by nothing that serves sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from archon_transport.sessions.record import Finished, Inferred
from archon_transport.store import MemoryStore, PostgresStore
from tests.sessions.rows import done

OWNER = ("https://issuer", "alice", "app")
RECORD = Inferred("0b6e2f3c-3f0c-5a58-8d55-3b0f1a4a7c11", "modern", OWNER, "2026-07-28", "claude", "2", True)
OTHER = Inferred("0b6e2f3c-3f0c-5a58-8d55-3b0f1a4a7c10", "none", None, "2025-03-26", "curl", "8", False)
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(kept_in: str | None) -> AsyncIterator[Any]:
    store = MemoryStore() if kept_in is None else PostgresStore(kept_in)
    await store.start()
    yield store
    await store.close()


async def totals(store: Any, record: Inferred) -> tuple[int, int, int, int] | None:
    """What an open record has added up to, None where there is none."""
    if isinstance(store, MemoryStore):
        kept = store._inferred.get(record.session_id)
        return kept and (kept.requests, kept.errors, kept.bytes_in, kept.bytes_out)
    query = """SELECT requests, errors, bytes_in, bytes_out FROM archon_mcp_sessions
        WHERE session_id = $1 AND inferred AND ended_at IS NULL"""
    row = await store.pool.fetchrow(query, record.session_id)
    return row and tuple(row)


async def age(store: Any, record: Inferred, seconds: float) -> None:
    if isinstance(store, MemoryStore):
        store._inferred[record.session_id].last_activity -= timedelta(seconds=seconds)
        return
    query = """UPDATE archon_mcp_sessions SET last_activity = last_activity - make_interval(secs => $2)
        WHERE session_id = $1"""
    await store.pool.execute(query, record.session_id, seconds)


async def write(store: Any, *rows: Finished, node: str = "a") -> None:
    """What the writer does with rows of records: the records first, then the rows."""
    await store.infer(list({row.session_id: row.inferred for row in rows}.values()), node=node)
    known = await store.write(rows, {}, node=node)
    assert known == dict.fromkeys((row.session_id for row in rows), False)


def did(record: Inferred, **facts: Any) -> Finished:
    return done(record.session_id, inferred=record, **facts)


async def test_what_requests_did_is_added_up(store: Any):
    """Two writes of the same record are one row with both."""
    await write(store, did(RECORD, bytes_in=10, bytes_out=20), did(OTHER, error="x", bytes_in=1, bytes_out=1))
    await write(store, did(RECORD, error="x", bytes_in=30), did(RECORD, bytes_out=40), node="b")
    assert await totals(store, RECORD) == (3, 1, 40, 60)
    assert await totals(store, OTHER) == (1, 1, 1, 1)


async def test_a_record_is_no_session(store: Any):
    """Nothing that counts, lists, admits, ends or touches sessions knows an inferred record."""
    await write(store, did(RECORD))
    await age(store, RECORD, 10 * 86_400)
    assert await store.count() == 0
    assert await store.page() == []
    assert await store.admit(RECORD.session_id, node="a") is None
    assert await store.admit(RECORD.session_id, b"", node="a") is None
    assert await store.adopt(RECORD.session_id, OWNER) is None
    assert await store.write([], {RECORD.session_id: False}, node="a") == {RECORD.session_id: False}
    assert await store.expire(60, unless_after=LATER) == 0
    assert not await store.end(RECORD.session_id, "deleted")
    assert await totals(store, RECORD) == (1, 0, 0, 0)


async def test_an_idle_record_is_closed_and_opened_again(store: Any):
    """Only what is idle for that long is closed, never behind a clock that jumped; a request opens it."""
    await write(store, did(RECORD), did(OTHER))
    await age(store, RECORD, 3601)
    assert await store.close_inferred(3600, unless_after=datetime(2020, 1, 1, tzinfo=UTC)) == 0
    assert await store.close_inferred(3600, unless_after=LATER) == 1
    assert await store.close_inferred(3600, unless_after=LATER) == 0
    assert await totals(store, RECORD) is None
    assert await totals(store, OTHER) is not None
    await write(store, did(RECORD))
    assert await totals(store, RECORD) is not None


async def test_no_text_keeps_a_batch_from_being_written(store: Any):
    """NUL, half characters and long texts are cleaned, so that one client cannot hold up the writer."""
    odd = "x\x00\ud800" + "y" * 5000
    record = replace(RECORD, owner=(odd, None, odd), client_name=odd[:200], client_version=odd[:50])
    await write(store, did(record), did(OTHER))
    assert await totals(store, record) == (1, 0, 0, 0)


async def test_a_row_says_what_it_is(dsn: str):
    """In the table a record is labelled: its era, whose it is, how it ended, and whether it was told apart."""
    store = PostgresStore(dsn)
    await store.start()
    await write(store, did(RECORD), did(OTHER))
    await age(store, RECORD, 3601)
    await store.close_inferred(3600, unless_after=LATER)
    query = """SELECT era, owner_subject, revision, client_name, client_version, client_type, told_apart, node,
        status, ended_reason, secret_digest FROM archon_mcp_sessions ORDER BY session_id DESC"""
    closed, still = [tuple(row) for row in await store.pool.fetch(query)]
    said = ("modern", "alice", "2026-07-28", "claude", "2", "Claude Code", True, "a")
    assert closed == (*said, "disconnected", "idle", None)
    assert still == ("none", None, "2025-03-26", "curl", "8", "curl", False, "a", "active", None, None)
    await store.close()
