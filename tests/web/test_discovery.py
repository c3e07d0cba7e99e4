"""A client that asks whether it has to log in is told, as JSON, that there is nothing to log in to."""

import json

import pytest
from aiohttp import web

from archon_transport.web import Discovery

ASKED = [
    ("GET", "/.well-known/oauth-protected-resource"),
    ("GET", "/.well-known/oauth-protected-resource/mcp"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/oauth-authorization-server/mcp"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/.well-known/openid-configuration/mcp"),
    ("GET", "/mcp/.well-known/openid-configuration"),
    ("POST", "/register"),
    ("GET", "/authorize"),
    ("POST", "/token"),
]


@pytest.fixture
async def client(aiohttp_client):
    app = web.Application()
    Discovery("/mcp").attach(app)
    return await aiohttp_client(app)


@pytest.mark.parametrize(("verb", "path"), ASKED, ids=lambda value: value)
async def test_every_address_of_a_login_is_a_json_404(client, verb, path):
    """Clients read the body as JSON; what it says is true and helps."""
    response = await client.request(verb, path)
    assert (response.status, response.content_type) == (404, "application/json")
    body = json.loads(await response.text())
    assert body["error"] == "not_found"
    assert "Connect to /mcp without a token" in body["error_description"]
