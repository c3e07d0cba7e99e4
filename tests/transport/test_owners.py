"""Sessions of verified principals: adopted once, bound for good, foreign like unknown."""

import json

import pytest
from mcp.server.auth.provider import AccessToken

from tests.transport.house import request, running


class Verifier:
    """Knows the tokens `NAME` and `NAME-renewed` of a few people; `broken` makes it fail."""

    async def verify_token(self, token: str) -> AccessToken | None:
        name = token.removesuffix("-renewed")
        if name == "broken":
            raise RuntimeError("a-text-that-no-client-may-see")
        if name not in ("alice", "bob"):
            return None
        return AccessToken(
            token=token, client_id="app", scopes=[], subject=name, claims={"iss": "https://issuer"}
        )


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


@pytest.fixture
async def house(store):
    async with running(store, token_verifier=Verifier()) as house:
        yield house


@pytest.mark.spec("S-06", "E-13")
async def test_without_a_token_there_is_nothing(house, store):
    """Every verb without a valid token is 401 with a challenge, and makes and ends nothing."""
    session = await house.connect(**bearer("alice"))
    for verb in ("POST", "GET", "DELETE", "PUT"):
        body = json.dumps(request(1, "ping")).encode()
        missing = await house.send(verb, body, session)
        assert (missing.status, missing.headers["WWW-Authenticate"]) == (401, "Bearer")
        bad = await house.send(verb, body, session, Authorization="Bearer mallory")
        assert bad.status == 401
        assert bad.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token", error_description="')
        assert "mallory" not in bad.raw.decode()
    assert (await house.initialize()).status == 401
    assert await store.count() == 1


@pytest.mark.spec("S-06", "S-07", "S-08", "C-08")
async def test_a_session_belongs_to_who_made_it(house, store):
    """Another principal with the very same id gets what an unknown id gets; a renewed token is the same
    owner.
    """
    session = await house.connect(**bearer("alice"))
    (row,) = await store.page()
    assert row.owner == ("https://issuer", "alice", "app")
    foreign = await house.ask("ping", session=session, id=3, **bearer("bob"))
    unknown = await house.ask("ping", session="nonsense", id=3, **bearer("bob"))
    assert (foreign.status, foreign.raw) == (404, unknown.raw)
    assert (await house.send("DELETE", session=session, **bearer("bob"))).status == 404
    assert (await house.send("GET", session=session, **bearer("bob"))).status == 404
    assert (await house.ask("ping", session=session, **bearer("alice-renewed"))).status == 200
    assert (await house.send("DELETE", session=session, **bearer("alice"))).status == 200


@pytest.mark.spec("H-97", "S-07")
async def test_a_foreign_cancellation_is_404(house):
    """A stranger can neither cancel nor answer in another's session."""
    session = await house.connect(**bearer("alice"))
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    for value in (note, {"jsonrpc": "2.0", "id": 1, "result": {}}):
        assert (await house.post(value, session, **bearer("bob"))).status == 404


async def test_an_unowned_session_is_adopted_once(store):
    """A session made without identity goes to the first principal that presents it, and to nobody after."""
    async with running(store) as open_house:
        session = await open_house.connect()
    async with running(store, token_verifier=Verifier()) as house:
        public, _, secret = session.partition(".")
        wrong = f"{public}.{'A' * len(secret)}"
        assert (await house.ask("ping", session=wrong, **bearer("bob"))).status == 404
        assert (await house.ask("ping", session=session, **bearer("alice"))).status == 200
        assert (await house.ask("ping", session=session, **bearer("bob"))).status == 404
        assert (await house.ask("ping", session=session, **bearer("alice"))).status == 200
    async with running(store) as open_house:
        assert (await open_house.ask("ping", session=session)).status == 404


@pytest.mark.spec("S-12")
async def test_a_tool_sees_who_asks(house):
    """`sessions.current()` names the session and the principal of the call at hand."""
    for name in ("alice", "bob"):
        session = await house.connect(**bearer(name))
        answer = await house.ask("tools/call", {"name": "whoami"}, session, **bearer(name))
        said = json.loads(answer.said)
        assert said["owner"] == ["https://issuer", name, "app"]
        assert said["session"] == session.partition(".")[0]


async def test_a_verifier_that_breaks_lets_nobody_in(house, store):
    """An error of the verifier is 500 without its text, and no session."""
    answer = await house.initialize(**bearer("broken"))
    assert (answer.status, answer.error["code"]) == (500, -32603)
    assert "a-text-that-no-client-may-see" not in answer.raw.decode()
    assert await store.count() == 0


async def test_two_tokens_are_none(house):
    """Two Authorization lines are not two chances."""
    from tests.transport.house import post_bytes, raw

    session = await house.connect(**bearer("alice"))
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    lines = [f"Mcp-Session-Id: {session}", "Authorization: Bearer alice", "Authorization: Bearer bob"]
    ((status, _, _),) = await raw(house.port, post_bytes(body, *lines))
    assert status == 400


async def test_a_token_reaches_no_log(house, caplog):
    """Neither a good nor a bad token is written anywhere."""
    with caplog.at_level("DEBUG"):
        session = await house.connect(**bearer("alice-renewed"))
        await house.ask("ping", session=session, Authorization="Bearer mallory")
    seen = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "alice-renewed" not in seen
    assert "mallory" not in seen
