"""Who asks: a bearer token becomes a principal or a challenge."""

import time

import pytest
from mcp.server.auth.provider import AccessToken

from archon_transport.auth import Challenge, Principal, verify


class Verifier:
    """Knows its tokens by heart and remembers what it was asked."""

    def __init__(self, **tokens: AccessToken) -> None:
        self.tokens = tokens
        self.asked: list[str] = []

    async def verify_token(self, token: str) -> AccessToken | None:
        self.asked.append(token)
        return self.tokens.get(token)


def access(**facts) -> AccessToken:
    return AccessToken(**({"token": "good", "client_id": "app", "scopes": ["read", "write"]} | facts))


async def test_without_a_verifier_nobody_is_asked():
    """Where no identity is asked for, a token that comes anyway is not looked at."""
    assert await verify(None, None) is None
    assert await verify(None, "Bearer anything") is None


async def test_a_good_token_is_a_principal():
    """A principal is issuer, subject and client id, and its scopes."""
    verifier = Verifier(good=access(subject="alice", claims={"iss": "https://issuer"}))
    principal = await verify(verifier, "Bearer good")
    assert principal == Principal(("https://issuer", "alice", "app"), frozenset({"read", "write"}))


async def test_a_principal_brings_its_token_and_does_not_show_it():
    """The SDK is given the token's facts; a log that names the principal has no token in it."""
    token = access(token="a-secret", subject="alice")
    principal = await verify(Verifier(good=token), "Bearer good")
    assert principal.access is token
    assert "alice" in repr(principal)
    assert "a-secret" not in repr(principal)


async def test_facts_that_a_token_lacks_are_none():
    """A token without issuer and subject still is one client's."""
    assert (await verify(Verifier(good=access()), "Bearer good")).owner == (None, None, "app")


@pytest.mark.parametrize("header", ["Bearer good", "bearer good", "BEARER good", "Bearer   good  "])
async def test_the_scheme_has_no_case(header):
    """`bearer` is written as one likes (RFC 9110, 11.1)."""
    assert isinstance(await verify(Verifier(good=access()), header), Principal)


@pytest.mark.spec("E-13")
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic good", "good", "Bearergood", "Token good"]
)
async def test_no_token_is_a_plain_challenge(header):
    """Without bearer credentials the challenge names no error (RFC 6750, 3.1), and no verifier is asked."""
    verifier = Verifier(good=access())
    challenge = await verify(verifier, header)
    assert isinstance(challenge, Challenge)
    assert challenge.error is None
    assert challenge.header == "Bearer"
    assert verifier.asked == []


@pytest.mark.spec("E-13")
@pytest.mark.parametrize(
    "header", ["Bearer bad", "Bearer good bad", "Bearer \udc80", "Bearer " + "x" * 10_000]
)
async def test_a_bad_token_is_invalid(header):
    """A token that is not valid is `invalid_token`, and the challenge does not repeat it."""
    challenge = await verify(Verifier(good=access()), header)
    assert isinstance(challenge, Challenge)
    assert challenge.header == f'Bearer error="invalid_token", error_description="{challenge.message}"'
    assert (challenge.status, challenge.rule) == (401, "token")
    assert header[7:] not in challenge.message


async def test_an_expired_token_is_invalid():
    """A token past its time is refused even where the verifier lets it through."""
    verifier = Verifier(
        old=access(expires_at=int(time.time()) - 10), young=access(expires_at=int(time.time()) + 600)
    )
    assert isinstance(await verify(verifier, "Bearer old"), Challenge)
    assert isinstance(await verify(verifier, "Bearer young"), Principal)
