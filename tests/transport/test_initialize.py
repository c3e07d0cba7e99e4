"""`initialize`: what it negotiates, what it leaves behind, and what it does not look at."""

import json

import pytest

from archon_transport.sessions import Limits
from archon_transport.store.memory import MemoryStore
from tests.transport.house import handshake, running

REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.mark.spec("H-43", "H-80", "H-81")
@pytest.mark.parametrize("revision", REVISIONS)
async def test_each_revision_is_negotiated(house, store, revision):
    """A revision that is served is answered as asked for, kept in the row, and a session made of it."""
    answer = await house.initialize(revision)
    assert answer.status == 200
    result = answer.body["result"]
    assert result["protocolVersion"] == revision
    assert result["serverInfo"]["name"] == "house"
    assert {"tools", "prompts"} <= set(result["capabilities"])
    (row,) = await store.page()
    assert (row.revision, row.client_name, row.client_version) == (revision, "tester", "1")
    assert json.loads(row.initialize_params) == handshake(revision)
    said = json.loads((await house.call("whoami", answer.headers["Mcp-Session-Id"])).said)
    assert (said["revision"], said["protocol_version"]) == (revision, revision)


@pytest.mark.spec("H-81", "D-08", "C-37")
@pytest.mark.parametrize("asked", ["1999-01-01", "2026-07-28", "", "latest"])
async def test_an_unknown_revision_is_answered_with_the_newest_of_this_era(house, asked):
    """A revision that is not served is countered with the newest handshake revision, never a modern one."""
    answer = await house.initialize(asked)
    assert answer.body["result"]["protocolVersion"] == "2025-11-25"
    assert answer.headers["Mcp-Session-Id"]


async def test_the_id_on_the_wire_is_not_the_id_that_is_shown(house, store):
    """A client's id begins with the public one, and its secret half is nowhere in the row."""
    wire = await house.connect()
    (row,) = await store.page()
    public, _, secret = wire.partition(".")
    assert public == row.session_id
    assert secret
    assert secret not in repr(row)


@pytest.mark.spec("H-50", "H-51", "H-74", "C-19")
@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"protocolVersion": "2025-11-25"},
        {"protocolVersion": 5, "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": [], "clientInfo": {"name": "a", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a"}},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": "a"},
        {"protocol_version": "2025-11-25", "capabilities": {}, "client_info": {"name": "a", "version": "1"}},
    ],
    ids=str,
)
async def test_a_failed_initialize_leaves_nothing(house, store, params):
    """Invalid params are -32602 under the request's id, with no session, no header and no dump of a
    validator.
    """
    answer = await house.ask("initialize", params, id="first")
    assert answer.status == 200
    assert (answer.body["id"], answer.error["code"]) == ("first", -32602)
    assert "Mcp-Session-Id" not in answer.headers
    assert "pydantic" not in answer.raw.decode()
    assert await store.count() == 0


@pytest.mark.spec("H-51", "H-65", "C-18")
@pytest.mark.parametrize("refused", ["array", "modern", "broken"])
async def test_a_refused_initialize_leaves_nothing(house, store, refused):
    """An `initialize` that the ladder refuses makes no session and sends no id."""
    match refused:
        case "array":
            answer = await house.post([{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}])
        case "modern":
            answer = await house.initialize(MCP_Protocol_Version="2026-07-28")
            assert answer.error["code"] == -32022
        case _:
            answer = await house.send("POST", b'{"jsonrpc": "2.0", "id": 1, "method": "initialize"')
    assert answer.status == 400
    assert "Mcp-Session-Id" not in answer.headers
    assert await store.count() == 0


async def test_a_huge_handshake_is_refused(house, store):
    """What a session keeps for as long as it lives is bounded: 413, and nothing is kept."""
    params = handshake("2025-11-25") | {"capabilities": {"experimental": {"x": {"blob": "x" * 70_000}}}}
    answer = await house.ask("initialize", params, id=1)
    assert answer.status == 413
    assert answer.body["id"] == 1
    assert await store.count() == 0


@pytest.mark.spec("C-16", "C-17")
async def test_any_session_id_beside_it_is_ignored(house, store):
    """A stale, an unknown and a live id beside `initialize` make a new session, and the old one is left
    alone.
    """
    live = await house.connect()
    ended = await house.connect()
    assert (await house.send("DELETE", session=ended)).status == 200
    for beside in (live, ended, "nonsense"):
        answer = await house.initialize(session=beside)
        assert answer.status == 200
        assert answer.headers["Mcp-Session-Id"] not in (live, ended)
    assert (await house.ask("ping", session=live)).status == 200
    assert await store.count() == 4


async def test_the_lifespan_is_entered_once(house):
    """The server's lifespan belongs to the process; each session's handlers see its state."""
    for _ in range(3):
        said = json.loads((await house.call("whoami", await house.connect())).said)
        assert said["lifespan"] == {"open": True}
    assert house.works.lifespans == 1


@pytest.mark.spec("S-14", "E-17")
async def test_a_full_table_says_when_to_come_back():
    """Where every session is in use the next is 503 with Retry-After, and leaves nothing."""
    store = MemoryStore()
    async with running(store, limits=Limits(max_sessions=1)) as house:
        await house.connect()
        answer = await house.initialize()
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "Mcp-Session-Id" not in answer.headers
        assert await store.count() == 1


@pytest.mark.spec("H-50")
async def test_only_initialize_sends_an_id(house, session):
    """No other answer carries a session id, whatever it says."""
    answers = [
        await house.ask("ping", session=session),
        await house.ask("ping"),
        await house.ask("ping", session="nonsense"),
        await house.note("notifications/initialized", session=session),
        await house.send("GET", session=session, Last_Event_ID="nonsense"),
        await house.send("PUT", session=session),
        await house.send("POST", b"{", session),
        await house.send("DELETE", session=session),
    ]
    assert not [answer for answer in answers if "Mcp-Session-Id" in answer.headers]


@pytest.mark.parametrize("agent", ["caf\u00e9/1.0", "x" * 3000])
async def test_any_user_agent_is_taken(house, store, agent):
    """Whatever a client calls itself, its session is made, and the name cut to what a row takes."""
    await house.connect(User_Agent=agent)
    (row,) = await store.page()
    assert len(row.user_agent) <= 500
