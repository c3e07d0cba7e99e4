"""`/health` and `/ready`: one word each, for any Host."""

import pytest
from aiohttp import web

from archon_transport.web import Health


class House:
    def __init__(self) -> None:
        self.draining = False
        self.database = True


@pytest.fixture
def house():
    return House()


@pytest.fixture
async def client(aiohttp_client, house):
    async def ping() -> bool:
        return house.database

    app = web.Application()
    Health(lambda: house.draining, ping).attach(app)
    return await aiohttp_client(app)


async def asked(client, path):
    response = await client.get(path)
    return response.status, (await response.text()).strip()


async def test_alive_is_not_ready(client, house):
    """A server that drains or has no database is alive and not ready, and says which."""
    assert await asked(client, "/health") == (200, "ok")
    assert await asked(client, "/ready") == (200, "ready")
    house.database = False
    assert await asked(client, "/health") == (200, "ok")
    assert await asked(client, "/ready") == (503, "database")
    house.draining = True
    assert await asked(client, "/ready") == (503, "draining")
    assert await asked(client, "/health") == (200, "ok")


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_any_host_is_answered(client, path):
    """A monitor that knows only an address is answered, and told one word."""
    response = await client.get(
        path, headers={"Host": "anything.example:1", "Origin": "https://evil.example"}
    )
    assert response.status == 200
    assert len((await response.text()).split()) == 1


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_nothing_is_done_here(client, path):
    """Both are only to be read."""
    assert (await client.head(path)).status == 200
    assert (await client.post(path)).status == 405
