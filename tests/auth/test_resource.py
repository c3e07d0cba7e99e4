"""What `AuthSettings` make of a server: its metadata, its challenges, and whose tokens it takes."""

import json

import pytest
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.shared.exceptions import MCPDeprecationWarning

from archon_transport.auth import Challenge, Principal, ProtectedResource, verify

URL = "https://mcp.example.com/mcp"
METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"


def settings(**given) -> AuthSettings:
    facts = {"issuer_url": "https://issuer.example.com", "resource_server_url": URL}
    return AuthSettings(**(facts | {"validate_token_resource": True} | given))


class Verifier:
    def __init__(self, **facts) -> None:
        self.facts = {"token": "good", "client_id": "app", "scopes": ["a", "b"], "resource": URL} | facts

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(**self.facts) if token == "good" else None


async def asked(header: str | None, given: AuthSettings, **facts) -> Challenge | Principal:
    answer = await verify(Verifier(**facts), header, ProtectedResource(given))
    assert answer is not None
    return answer


def test_the_metadata_is_what_the_sdk_says():
    """The resource, who issues its tokens, and the scopes that every request needs (RFC 9728, 2)."""
    given = settings(required_scopes=["a"], service_documentation_url="https://docs.example.com")
    assert json.loads(ProtectedResource(given).document) == {
        "resource": URL,
        "authorization_servers": ["https://issuer.example.com"],
        "scopes_supported": ["a"],
        "bearer_methods_supported": ["header"],
        "resource_documentation": "https://docs.example.com",
    }


@pytest.mark.parametrize(
    ("url", "path", "places"),
    [
        (URL, "/mcp", ["", "/mcp"]),
        (URL, "/mcp/", ["", "/mcp"]),
        ("https://mcp.example.com/archon/mcp", "/mcp", ["", "/mcp", "/archon/mcp"]),
        ("https://mcp.example.com", "/", [""]),
    ],
)
def test_the_metadata_is_in_both_places(url, path, places):
    """At the root and behind the path, as it is here and as clients call it."""
    resource = ProtectedResource(settings(resource_server_url=url))
    addresses = [f"/.well-known/oauth-protected-resource{place}" for place in places]
    assert list(resource.addresses(path)) == addresses
    assert all(resource.describes(address) for address in addresses)
    assert resource.metadata_url is not None
    assert resource.metadata_url.removeprefix("https://mcp.example.com") in addresses
    assert not resource.describes(path)


def test_without_a_resource_nothing_is_described():
    """No settings, or settings that do not say what clients call this server."""
    alone = settings(resource_server_url=None, validate_token_resource=None, required_scopes=["a"])
    for resource in (ProtectedResource(), ProtectedResource(alone)):
        assert (resource.addresses("/mcp"), resource.metadata_url, resource.document) == ((), None, None)
    assert ProtectedResource(alone).required == ("a",)


@pytest.mark.spec("E-13")
async def test_a_challenge_says_where_to_read_more_and_which_scopes_to_ask_for():
    """Without credentials no error is named; with a bad token it is, and told in words."""
    given = settings(required_scopes=["a", "b"])
    bare = await asked(None, given)
    assert bare.header == f'Bearer resource_metadata="{METADATA}", scope="a b"'
    bad = await asked("Bearer bad", given)
    assert (bad.status, bad.rule) == (401, "token")
    assert bad.header.startswith('Bearer error="invalid_token", error_description="The token')
    assert bad.header.endswith(f', resource_metadata="{METADATA}", scope="a b"')


async def test_a_scope_that_is_missing_is_403():
    """All scopes that the request needs are named at once, and the one that is missing in words."""
    short = await asked("Bearer good", settings(required_scopes=["a", "c"]))
    assert (short.status, short.rule) == (403, "scope")
    assert short.header == (
        'Bearer error="insufficient_scope", error_description="The token lacks what this server needs: c.", '
        f'resource_metadata="{METADATA}", scope="a c"'
    )
    assert isinstance(await asked("Bearer good", settings(required_scopes=["a", "b"])), Principal)


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize(
    ("checks", "resource", "taken"),
    [
        (True, URL, True),
        (True, "HTTPS://MCP.example.com:443/mcp/", True),
        (True, "https://mcp.example.com/other", False),
        (True, "https://other.example.com/mcp", False),
        (True, "not a url", False),
        (True, "", False),
        (True, None, False),
        (None, URL, True),
        (None, "https://other.example.com/mcp", False),
        (None, None, True),
        (False, "https://other.example.com/mcp", True),
        (False, None, True),
    ],
)
async def test_a_token_for_another_resource_is_refused(checks, resource, taken):
    """Never taken where it names another, unless the verifier is said to look after that itself (RFC 8707)."""
    answer = await asked("Bearer good", settings(validate_token_resource=checks), resource=resource)
    assert isinstance(answer, Principal) is taken
    if not taken:
        assert (answer.status, answer.error) == (401, "invalid_token")
        assert "another server" in answer.message


def test_the_sdks_own_warning_is_the_users():
    """Settings that leave the check open are the SDK's to warn of."""
    with pytest.warns(MCPDeprecationWarning):
        AuthSettings(issuer_url="https://issuer.example.com", resource_server_url=URL)
