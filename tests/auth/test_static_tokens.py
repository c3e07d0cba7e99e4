"""Static tokens end to end: a Postgres, a server on a socket, and sessions that belong to a token's name."""

import pytest

from archon_transport.auth import StaticTokens, digest_of, new_token
from archon_transport.auth.tokens import BELIEVED
from archon_transport.store import PostgresStore
from tests.transport.house import running


class Clock:
    """The verifier's clock: `pass_` lets what is believed go stale."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def go_on(self) -> None:
        self.now += BELIEVED


@pytest.fixture
async def store(dsn):
    store = PostgresStore(dsn, pool_size=4)
    await store.start()
    yield store
    await store.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def verifier(store, clock):
    return StaticTokens(store, clock=clock)


@pytest.fixture
async def house(store, verifier):
    async with running(store, token_verifier=verifier) as house:
        yield house


async def made(store, name: str, scopes: list[str] | None = None, life: float | None = None) -> str:
    token = new_token()
    await store.add_token(name, digest_of(token), scopes, life)
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.spec("S-06", "S-07")
async def test_a_rotation_keeps_the_session(house, store, clock):
    """A name's next token goes on with the sessions of the one before, which is refused; to another name
    they are unknown ones, to the byte.
    """
    first, other = await made(store, "laptop", ["write"]), await made(store, "other")
    session = await house.connect(**bearer(first))
    second = await made(store, "laptop")
    clock.go_on()
    assert (await house.ask("ping", session=session, **bearer(first))).status == 401
    assert (await house.ask("ping", session=session, **bearer(second))).status == 200
    foreign = await house.ask("ping", session=session, id=3, **bearer(other))
    unknown = await house.ask("ping", session="nonsense", id=3, **bearer(other))
    assert (foreign.status, foreign.raw) == (404, unknown.raw)
    ((row,), (token, _)) = await store.page(), await store.list_tokens()
    assert row.owner == ("archon-transport", "laptop", "laptop")
    assert (token.scopes, token.state) == (("write",), "valid"), "scopes stay where none are given"
    assert token.rotated_at > token.created_at


@pytest.mark.spec("E-13")
async def test_revoked_and_expired_tokens_are_refused(house, store, clock):
    """401 `invalid_token`, whichever of the two; the session stays for the name's next token."""
    revoked, brief = await made(store, "laptop"), await made(store, "guest", life=3600.0)
    sessions = [await house.connect(**bearer(token)) for token in (revoked, brief)]
    assert (await store.revoke_token("laptop")).state == "revoked"
    assert await store.revoke_token("nobody") is None
    await store.pool.execute(
        "UPDATE archon_mcp_tokens SET expires_at = expires_at - interval '1 hour' WHERE name = 'guest'"
    )
    assert [token.state for token in await store.list_tokens()] == ["expired", "revoked"]
    clock.go_on()
    for token, session in zip((revoked, brief), sessions, strict=True):
        answer = await house.ask("ping", session=session, **bearer(token))
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    again = await made(store, "laptop")
    assert (await house.ask("ping", session=sessions[0], **bearer(again))).status == 200


async def test_a_session_from_before_is_adopted_once(store, verifier):
    """A server that begins to ask for tokens gives a session to the first name that presents it."""
    mine, other = await made(store, "laptop"), await made(store, "other")
    async with running(store) as open_house:
        session = await open_house.connect()
    async with running(store, token_verifier=verifier) as house:
        assert (await house.ask("ping", session=session)).status == 401
        assert (await house.ask("ping", session=session, **bearer(mine))).status == 200
        assert (await house.ask("ping", session=session, **bearer(other))).status == 404
        assert (await house.ask("ping", session=session, **bearer(await made(store, "laptop")))).status == 200


async def test_the_table_opens_nothing_and_counts_uses_by_the_minute(house, store, verifier):
    """Only a digest is kept; the last use is written at most once a minute."""
    token = await made(store, "laptop")
    await house.connect(**bearer(token))
    await verifier._note()
    (first,) = await store.list_tokens()
    assert first.last_used_at is not None
    await house.connect(**bearer(token))
    await verifier._note()
    assert await store.list_tokens() == [first]
    await store.pool.execute("UPDATE archon_mcp_tokens SET last_used_at = now() - interval '61 seconds'")
    await house.connect(**bearer(token))
    await verifier._note()
    assert (await store.list_tokens())[0].last_used_at > first.last_used_at
    (row,) = await store.pool.fetch("SELECT archon_mcp_tokens::text AS all FROM archon_mcp_tokens")
    assert token not in row["all"]
