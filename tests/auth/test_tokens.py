"""Static tokens before there is a database: what is believed, for how long, and what a scope has in it."""

import pytest

from archon_transport.auth import Principal, StaticToken, StaticTokens, allows, digest_of, implied, new_token
from archon_transport.auth.tokens import AWAY, BELIEVED, ISSUER, LOOK


class Table:
    """Rows by digest; `away` makes it fail, and every look is counted."""

    def __init__(self) -> None:
        self.rows: dict[bytes, StaticToken] = {}
        self.looks = 0
        self.away = False
        self.noted: list[set[str]] = []

    def add(self, name: str, state: str = "valid", scopes: tuple[str, ...] = ("read",)) -> str:
        token = new_token()
        self.rows[digest_of(token)] = StaticToken(name, state, scopes, *[None] * 5)
        return token

    def clear(self) -> None:
        self.rows.clear()

    async def find_token(self, digest: bytes) -> StaticToken | None:
        self.looks += 1
        if self.away:
            raise ConnectionError("away")
        return self.rows.get(digest)

    async def note_uses(self, names) -> None:
        if self.away:
            raise ConnectionError("away")
        self.noted.append(set(names))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(table, clock):
    return StaticTokens(table, clock=clock)


def test_a_token_has_256_random_bits_and_is_safe_in_a_header():
    """Recognised by its beginning, never twice the same, without a character that needs quoting."""
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(token.startswith("archon_") and len(token) == 7 + 43 for token in made)
    assert all(token.replace("_", "").replace("-", "").isalnum() for token in made)


@pytest.mark.parametrize(
    ("given", "has"),
    [
        (["read"], {"read"}),
        (["write"], {"read", "write"}),
        (["admin"], {"read", "write", "admin"}),
        (["other"], {"other"}),
        ([], set()),
    ],
)
def test_a_scope_has_the_lesser_ones_in_it(given, has):
    """Admin has write, write has read; what is not ours implies nothing."""
    assert implied(given) == has
    principal = Principal((None, "a", "a"), implied(given))
    assert {scope for scope in ("read", "write", "admin", "other") if allows(principal, scope)} == has


def test_where_no_identity_is_asked_everybody_may():
    """Without a principal there is nothing to be short of."""
    assert allows(None, "admin")


async def test_a_token_is_its_names(table, tokens):
    """Subject and client are the token's name, the issuer is ours."""
    access = await tokens.verify_token(table.add("laptop", scopes=("admin",)))
    assert (access.subject, access.client_id, access.claims) == ("laptop", "laptop", {"iss": ISSUER})
    assert access.scopes == ["admin", "read", "write"]


@pytest.mark.parametrize("token", ["", "archon", "other", "Archon_x", "\udc80archon_"])
async def test_what_is_no_token_of_ours_is_not_looked_up(table, tokens, token):
    """Another form is refused without asking the database."""
    assert await tokens.verify_token(token) is None
    assert table.looks == 0


@pytest.mark.parametrize("state", ["revoked", "expired"])
async def test_only_a_valid_token_is_good(table, tokens, state):
    """The table says which is valid; a made-up token, however odd, is not in it."""
    assert await tokens.verify_token(table.add("laptop", state)) is None
    assert await tokens.verify_token("archon_\ud800") is None


async def test_a_good_token_is_looked_up_once_in_a_while(table, tokens, clock):
    """Believed for two seconds, then read again, and forgotten the moment it is gone."""
    token = table.add("laptop")
    for _ in range(5):
        assert await tokens.verify_token(token)
    assert table.looks == 1
    table.clear()
    clock.now += BELIEVED - 0.1
    assert await tokens.verify_token(token)
    clock.now += 0.1
    assert await tokens.verify_token(token) is None
    assert table.looks == 2
    assert BELIEVED + LOOK <= 5, "a revocation takes hold within five seconds"


async def test_a_bad_token_is_not_remembered(table, tokens):
    """One that is made after it was tried is good at once, and no memory grows with what strangers try."""
    token = table.add("laptop")
    rows, table.rows = table.rows, {}
    assert await tokens.verify_token(token) is None
    table.rows = rows
    assert await tokens.verify_token(token)


async def test_an_outage_cuts_nobody_off_who_was_in(table, tokens, clock):
    """With the database away a known token is believed for ten minutes, an unknown one is no answer at all."""
    token, other = table.add("laptop"), table.add("other")
    assert await tokens.verify_token(token)
    table.away = True
    clock.now += AWAY
    assert await tokens.verify_token(token)
    with pytest.raises(ConnectionError):
        await tokens.verify_token(other)
    clock.now += BELIEVED
    with pytest.raises(ConnectionError):
        await tokens.verify_token(token)
    table.away = False
    assert await tokens.verify_token(token)


async def test_uses_are_written_off_the_path_and_at_the_end(table, tokens, caplog):
    """What was used is written later; what could not be written is tried again."""
    token = table.add("laptop")
    async with tokens.running():
        await tokens.verify_token(token)
        assert table.noted == []
        table.away = True
        await tokens._note()
        table.away = False
    assert table.noted == [{"laptop"}]
    assert token not in caplog.text
