"""Sealed request states: shared by nodes, kept over restarts, bound to whom they were sealed for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.request_state import InvalidRequestState, RequestStateBoundary

from archon_transport.sessions import StoreUnavailable
from archon_transport.store import MemoryStore, PostgresStore
from archon_transport.transport import KeyRing
from tests.transport.house import Answer, House, running, text
from tests.transport.modern_house import ModernWorks, ask
from tests.transport.test_owners import Verifier, bearer

PAYLOAD = b"what only this server may read"


class Rounds(ModernWorks):
    """`tools/call` needs a second round, and says then which state came back and who asks by the SDK."""

    def __init__(self, ring: KeyRing) -> None:
        super().__init__(bus=None)  # nobody listens here
        self.server.middleware.append(RequestStateBoundary(ring.security, default_audience="house"))

    async def _call_tool(self, context: Any, params: types.CallToolRequestParams) -> Any:
        if params.name == "who":
            token = get_access_token()
            return text("nobody" if token is None else str(token.subject))
        if params.request_state is None:
            return types.InputRequiredResult(request_state="first round")
        return text(params.request_state)


@asynccontextmanager
async def rounds(store: Any, **options: Any) -> AsyncIterator[House]:
    ring = KeyRing(store)
    async with ring.running(), running(store, works=Rounds(ring), **options) as house:
        yield house


async def first(house: House, name: str | None = None) -> str:
    """The state after the first round."""
    answer = await second(house, None, name)
    state = answer.body["result"]["requestState"]
    assert "first round" not in state
    return state


async def second(house: House, state: str | None, name: str | None = None) -> Answer:
    params = {} if state is None else {"requestState": state}
    headers = bearer(name) if name else {}
    return await ask(house, "tools/call", headers=headers, name="region", arguments={}, **params)


def refused(answer: Answer) -> bool:
    return answer.body.get("error", {}).get("data") == {"reason": "invalid_request_state"}


async def test_two_nodes_open_what_the_other_sealed(dsn: str):
    """A state comes back to any node over the same database."""
    stores = PostgresStore(dsn), PostgresStore(dsn)
    for store in stores:
        await store.start()
    one, two = (KeyRing(store) for store in stores)
    async with one.running(), two.running():
        assert two.unseal(one.seal(PAYLOAD)) == PAYLOAD
        assert one.unseal(two.seal(PAYLOAD)) == PAYLOAD
    for store in stores:
        await store.close()


async def test_a_changed_state_opens_nowhere(store: MemoryStore):
    """One changed character anywhere, or another store's key, and a state is none."""
    ring = KeyRing(store)
    await ring.refresh()
    token = ring.seal(PAYLOAD)
    assert ring.unseal(token) == PAYLOAD
    changed = [f"{token[:at]}{'A' if token[at] != 'A' else 'B'}{token[at + 1 :]}" for at in range(len(token))]
    for other in (*changed, token[:-1], token + "A", ""):
        with pytest.raises(InvalidRequestState):
            ring.unseal(other)
    stranger = KeyRing(MemoryStore())
    await stranger.refresh()
    with pytest.raises(InvalidRequestState):
        stranger.unseal(token)


async def test_an_outage_takes_no_key_away(store: MemoryStore, monkeypatch: pytest.MonkeyPatch):
    """While the store is away a node seals and opens with the keys that it knows, and looks again after."""

    async def away(**asked: float) -> list[bytes]:
        raise StoreUnavailable("away")

    ring = KeyRing(store)
    monkeypatch.setattr("archon_transport.transport.request_state.REFRESH", 0.0)
    async with ring.running():
        token = ring.seal(PAYLOAD)
        with monkeypatch.context() as outage:
            outage.setattr(store, "keys", away)
            with pytest.raises(StoreUnavailable):
                await ring.refresh()
            assert ring.unseal(token) == ring.unseal(ring.seal(PAYLOAD)) == PAYLOAD
        await ring.refresh()
        assert ring.unseal(token) == PAYLOAD


async def test_a_state_outlives_a_restart(dsn: str):
    """The second round may come to a process that was started after the first."""
    states = []
    for _ in range(2):
        store = PostgresStore(dsn)
        await store.start()
        async with rounds(store) as house:
            states.append(await first(house))
            assert (await second(house, states[0])).said == "first round"
        await store.close()


async def test_a_tampered_state_is_refused(store: MemoryStore):
    """Over the wire a forged state is invalid params, and the tool does not run."""
    async with rounds(store) as house:
        state = await first(house)
        assert refused(await second(house, state[:-2] + ("AA" if state[-2:] != "AA" else "BB")))
        assert refused(await second(house, "v1.nonsense"))
        assert (await second(house, state)).said == "first round"


async def test_a_state_belongs_to_the_principal_that_it_was_sealed_for(store: MemoryStore):
    """Another principal is refused; a renewed token of the same one is not."""
    async with rounds(store, token_verifier=Verifier()) as house:
        state = await first(house, "alice")
        assert refused(await second(house, state, "bob"))
        assert (await second(house, state, "alice-renewed")).said == "first round"
        assert (await second(house, state, "alice")).said == "first round"


async def test_a_state_of_nobody_is_not_a_principals(store: MemoryStore):
    """A state that was sealed before identity was asked for is refused after, and the other way round."""
    async with rounds(store) as house:
        unbound = await first(house)
    async with rounds(store, token_verifier=Verifier()) as house:
        assert refused(await second(house, unbound, "alice"))
        bound = await first(house, "alice")
    async with rounds(store) as house:
        assert refused(await second(house, bound))


async def test_the_sdk_knows_who_asks_in_both_eras(store: MemoryStore):
    """A handler reads the token of its own request from the SDK's variable, never another's."""
    async with rounds(store, token_verifier=Verifier()) as house:
        session = {name: await house.connect(**bearer(name)) for name in ("alice", "bob")}
        for name in ("alice", "bob", "alice"):
            call = {"name": "who", "arguments": {}}
            answer = await house.ask("tools/call", call, session[name], **bearer(name))
            assert answer.said == name
            modern = await ask(house, "tools/call", headers=bearer(name), **call)
            assert modern.said == name
    async with rounds(store) as house:
        assert (await ask(house, "tools/call", name="who", arguments={})).said == "nobody"
