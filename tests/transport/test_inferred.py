"""Requests without a session leave totals in an inferred record, and no more."""

from __future__ import annotations

from mcp.server.subscriptions import InMemorySubscriptionBus

from archon_transport.sessions.inferred import CONVERSATION
from archon_transport.store import MemoryStore
from tests.transport.house import running
from tests.transport.modern_house import call, meta, modern_running
from tests.transport.test_owners import Verifier, bearer

INFO = "io.modelcontextprotocol/clientInfo"


async def recorded(house, store: MemoryStore):
    """The records by (era, client name, subject), each with its totals."""
    await house.transport.writer.flush()
    return {
        (kept.session.era, kept.session.client_name, kept.session.owner and kept.session.owner[1]): kept
        for kept in store._inferred.values()
    }


async def test_modern_requests_are_recorded_by_client_and_principal(store: MemoryStore):
    """Each principal's requests of one client add up in one record; errors are counted as such."""
    options = {"token_verifier": Verifier()}
    async with modern_running(store, InMemorySubscriptionBus(), **options) as house:
        said = meta(**{INFO: {"name": "probe", "version": "3.1"}})
        for name in ("alice", "alice-renewed", "bob"):
            assert (await call(house, "region", said=said, headers=bearer(name))).status == 200
        await call(house, "no-such-tool", said=said, headers=bearer("alice"))
        found = await recorded(house, store)
    assert set(found) == {("modern", "probe", "alice"), ("modern", "probe", "bob")}
    total = found["modern", "probe", "alice"]
    record = total.session
    assert (total.requests, total.errors) == (3, 1)
    assert total.bytes_in > 300 and total.bytes_out > 100
    assert (record.client_version, record.revision, record.told_apart) == ("3", "2026-07-28", False)
    assert await store.count() == 0


async def test_a_conversation_is_a_record_of_its_own(store: MemoryStore):
    """A conversation that is named tells two identical clients apart, and its name is in no answer."""
    async with modern_running(store, InMemorySubscriptionBus()) as house:
        for conversed in ("first-talk", "second-talk", "first-talk"):
            answer = await call(house, "region", said=meta(**{CONVERSATION: conversed}))
            assert answer.status == 200
            assert "Mcp-Session-Id" not in answer.headers
            await house.transport.writer.flush()
            assert not any(key in answer.raw.decode() for key in (*store._inferred, conversed))
        totals = sorted(kept.requests for kept in store._inferred.values())
        assert all(kept.session.told_apart for kept in store._inferred.values())
    assert totals == [1, 2]


async def test_a_handshake_request_without_its_session_is_recorded_too(store: MemoryStore):
    """Where a session is not required, a request without one is recorded by its User-Agent."""
    async with running(store, require_session_id=False) as house:
        assert (await house.ask("tools/list", **{"User-Agent": "curl/8.5"})).status == 200
        found = await recorded(house, store)
        assert [(key, kept.requests) for key, kept in found.items()] == [(("none", "curl", None), 1)]


async def test_a_request_with_a_session_is_its_sessions(store: MemoryStore):
    """What has a session goes to its totals, nothing goes to a record; a record's id is no session."""
    async with running(store, require_session_id=False) as house:
        session = await house.connect()
        assert (await house.ask("tools/list", session=session)).status == 200
        assert await recorded(house, store) == {}
        assert (await house.ask("tools/list", **{"User-Agent": "curl/8.5"})).status == 200
        (name,) = await recorded(house, store) and store._inferred
        for presented in (name, f"{name}.{'A' * 22}"):
            assert (await house.ask("tools/list", session=presented)).status == 404


async def test_what_was_refused_is_in_no_record(store: MemoryStore):
    """A request that was not admitted leaves no record."""
    async with running(store) as house:
        assert (await house.ask("tools/list")).status == 400
        assert await recorded(house, store) == {}
