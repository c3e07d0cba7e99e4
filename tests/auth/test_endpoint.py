"""`AuthSettings` and a verifier of one's own at a real endpoint: discovery, challenges, pages in a browser."""

import json

import httpx2
import pytest
from aiohttp import web
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.shared.auth import OAuthClientMetadata

from archon_transport.store.memory import MemoryStore
from tests.program import free_port
from tests.transport.house import handshake, request, running

ROOT = "/.well-known/oauth-protected-resource"


class Verifier:
    """Knows `reader` and `writer`, issued for `resource`."""

    def __init__(self, resource: str) -> None:
        self.resource = resource

    async def verify_token(self, token: str) -> AccessToken | None:
        scopes = {"reader": ["read"], "writer": ["read", "write"]}.get(token)
        if scopes is None:
            return None
        return AccessToken(token=token, client_id="app", scopes=scopes, subject=token, resource=self.resource)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


@pytest.fixture
async def house():
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    settings = AuthSettings(
        issuer_url=f"http://127.0.0.1:{port}/issuer",
        resource_server_url=url,
        required_scopes=["read", "write"],
        validate_token_resource=True,
    )
    async with running(MemoryStore(), port, auth=settings, token_verifier=Verifier(url)) as house:
        yield house


async def get(house, path: str, verb: str = "GET", **headers):
    async with house.http.request(verb, f"http://127.0.0.1:{house.port}{path}", headers=headers) as response:
        return response.status, response.headers, await response.read()


async def test_the_metadata_is_served_in_both_places_without_a_token(house):
    """GET and HEAD; another verb is 405 with Allow."""
    for path in (ROOT, f"{ROOT}/mcp"):
        status, headers, body = await get(house, path)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert headers["Cache-Control"] == "public, max-age=3600"
        assert json.loads(body)["resource"] == house.url
        assert (await get(house, path, "HEAD"))[0] == 200
        status, headers, _ = await get(house, path, "POST")
        assert (status, headers["Allow"]) == (405, "GET")


async def test_the_metadata_is_guarded_like_everything(house):
    """A page that may connect may read it, with the preflight that MCP's own header needs; others may not."""
    page = {"Origin": "http://localhost:3000"}
    asks = page | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "mcp-protocol-version",
    }
    status, headers, _ = await get(house, ROOT, "OPTIONS", **asks)
    assert (status, headers["Access-Control-Allow-Headers"]) == (204, "mcp-protocol-version")
    status, headers, _ = await get(house, ROOT, **page)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, page["Origin"])
    assert (await get(house, ROOT, Origin="https://evil.example"))[0] == 403
    assert (await get(house, ROOT, Host="evil.example"))[0] == 421


@pytest.mark.spec("E-13", "S-06")
async def test_challenges_name_the_metadata_and_the_scopes(house):
    """401 without an error where nothing was sent, 401 `invalid_token`, 403 `insufficient_scope`, each counted
    by its rule, and a page may read why.
    """
    metadata = f'resource_metadata="http://127.0.0.1:{house.port}{ROOT}/mcp", scope="read write"'
    missing = await house.initialize()
    assert (missing.status, missing.headers["WWW-Authenticate"]) == (401, f"Bearer {metadata}")
    bad = await house.initialize(**bearer("mallory"))
    assert (bad.status, bad.headers["WWW-Authenticate"].split(",")[0]) == (
        401,
        'Bearer error="invalid_token"',
    )
    short = await house.initialize(**bearer("reader"), Origin="http://localhost:3000")
    said = short.headers["WWW-Authenticate"]
    assert (short.status, said.split(",")[0]) == (403, 'Bearer error="insufficient_scope"')
    assert said.endswith(metadata)
    assert "WWW-Authenticate" in short.headers["Access-Control-Expose-Headers"]
    assert "lacks what this server needs: write" in short.error["message"]
    assert (await house.initialize(**bearer("writer"))).status == 200


@pytest.mark.spec("E-14")
async def test_a_foreign_page_is_not_told_who_may(house):
    """The Origin is judged before the token, and such a page may read nothing."""
    answer = await house.initialize(**bearer("reader"), Origin="https://evil.example")
    assert answer.status == 403
    assert "WWW-Authenticate" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("query", ["access_token=writer", "token=writer", "authorization=Bearer%20writer"])
async def test_a_token_in_the_query_is_no_token(house, query):
    """Addresses end up in logs and histories: only the header counts."""
    body = json.dumps(request(1, "initialize", handshake("2025-11-25"))).encode()
    assert (await house.send("POST", body, path=f"?{query}")).status == 401


async def test_settings_without_a_verifier_are_a_mistake():
    """They would say that tokens are needed and look at none."""
    settings = AuthSettings(issuer_url="https://issuer.example.com", resource_server_url=None)
    with pytest.raises(ValueError, match="token_verifier"):
        async with running(MemoryStore(), auth=settings):
            pass


async def test_two_endpoints_share_one_application(house):
    """The second endpoint's metadata stands behind its path; the root keeps the first one's."""
    first = house.transport.endpoint
    app = web.Application()
    first.attach(app, "/")
    first.attach(app, "/mcp")
    first.attach(app, "/other")
    paths = [route.resource.canonical for route in app.router.routes()]
    assert f"{ROOT}/other" in paths


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdks_client_connects_with_a_token(house, mode):
    """The token goes with every request of the client's own HTTP client, in both eras."""
    async with (
        httpx2.AsyncClient(headers=bearer("writer")) as http,
        Client(streamable_http_client(house.url, http_client=http), mode=mode) as client,
    ):
        assert (await client.call_tool("echo", {"value": "x"})).content[0].text == "x"


class Storage:
    async def get_tokens(self):
        return None

    async def get_client_info(self):
        return None


async def test_the_sdks_oauth_client_finds_the_issuer(house):
    """From the challenge to the metadata to the authorization server that it names."""
    seen: list[str] = []

    async def note(response: httpx2.Response) -> None:
        seen.append(f"{response.status_code} {response.request.method} {response.request.url.path}")

    metadata = OAuthClientMetadata(redirect_uris=["http://127.0.0.1:1/back"], client_name="tester")
    provider = OAuthClientProvider(house.url, metadata, Storage())
    async with httpx2.AsyncClient(auth=provider, event_hooks={"response": [note]}) as http:
        with pytest.raises(Exception, match="404"):  # there is no issuer at that address: it was asked
            await http.post(house.url, json=request(1, "initialize", handshake("2025-11-25")))
    assert provider.context.auth_server_url == f"http://127.0.0.1:{house.port}/issuer"
    assert str(provider.context.protected_resource_metadata.resource) == house.url
    assert provider.context.client_metadata.scope == "read write"
    assert f"200 GET {ROOT}/mcp" in seen
    assert "404 GET /.well-known/oauth-authorization-server/issuer" in seen
