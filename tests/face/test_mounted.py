"""`StreamableHTTP` in an application that has a life of its own: other routes, middlewares, limits, another one."""

import asyncio
import json
import logging
import subprocess
import sys
from contextlib import asynccontextmanager

import mcp_types as types
import pytest
from aiohttp import web
from mcp.server import MCPServer, Server
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings

from archon_transport import MemoryStore, PostgresStore, StreamableHTTP
from tests.face.mounted import Client, served

USER = web.RequestKey("user", str)


class Shop:
    """A high-level server that says what it sees."""

    def __init__(self, name="shop"):
        self.lifespans = 0
        self.ended = 0
        self.began = asyncio.Event()
        self.release = asyncio.Event()
        self.server = MCPServer(name, lifespan=self._lifespan)
        for tool in (self.sell, self.seen, self.wait):
            self.server.tool()(tool)

    @asynccontextmanager
    async def _lifespan(self, server):
        self.lifespans += 1
        yield {"open": True}
        self.ended += 1

    async def sell(self, what: str) -> str:
        return f"{self.server.name} sold {what}"

    async def seen(self, ctx: Context) -> str:
        request = ctx.request_context.request
        return json.dumps(
            {
                "kind": isinstance(request, web.Request),
                "path": request.path,
                "user": request[USER],
                "lifespan": ctx.request_context.lifespan_context,
            }
        )

    async def wait(self) -> str:
        self.began.set()
        await self.release.wait()
        return "waited"


@web.middleware
async def named(request, handler):
    """Stands for the application's own: knows its users, marks every answer."""
    request[USER] = "anna"
    response = await handler(request)
    if not response.prepared:
        response.headers["X-Seen"] = "yes"
    return response


@web.middleware
async def reads_first(request, handler):
    """One that logs bodies, say: it has read the request before anybody else."""
    await request.read()
    return await handler(request)


def application(*transports, **options):
    options.setdefault("middlewares", [named])
    app = web.Application(**options)

    async def hello(request):
        return web.Response(text="hello")

    app.router.add_get("/", hello)
    for path, transport in transports:
        transport.attach(app, path)
    return app


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_two_of_them_stand_beside_other_routes_and_middlewares(handler_cancellation):
    """Each has its server and its sessions; the application's routes and middlewares go on, the lifespan is entered once."""
    one, two = Shop("one"), Shop("two")
    first, second = StreamableHTTP(one.server), StreamableHTTP(two.server)
    app = application(("/mcp", first), ("/other/mcp", second), client_max_size=10)
    async with served(app, handler_cancellation=handler_cancellation) as (http, url):
        async with http.get(url) as response:
            assert (await response.text(), response.headers["X-Seen"]) == ("hello", "yes")
        a, b = Client(http, f"{url}/mcp"), Client(http, f"{url}/other/mcp/")
        for client in (a, b):
            status, headers, _ = await client.open()
            assert (status, headers["X-Seen"]) == (200, "yes")
        assert await a.call("sell", what="tea" * 10) == "one sold " + "tea" * 10
        assert await b.call("sell", what="tea") == "two sold tea"
        seen = json.loads(await a.call("seen"))
        assert seen == {"kind": True, "path": "/mcp", "user": "anna", "lifespan": {"open": True}}
        b.session_id = a.session_id
        assert (await b.ask("tools/list"))[0] == 404
        assert (one.lifespans, one.ended) == (1, 0)
    assert (one.lifespans, one.ended, two.ended) == (1, 1, 1)


async def test_a_middleware_may_have_read_the_body():
    """What it read is served all the same."""
    app = application(("/mcp", StreamableHTTP(Shop().server)), middlewares=[reads_first])
    async with served(app) as (http, url):
        client = Client(http, f"{url}/mcp")
        assert (await client.open())[0] == 200
        assert await client.call("sell", what="tea") == "shop sold tea"


async def test_it_works_in_a_part_of_an_application():
    """A sub-application starts and stops with the whole."""
    part, shop = web.Application(), Shop()
    StreamableHTTP(shop.server).attach(part, "/mcp")
    app = application()
    app.add_subapp("/part/", part)
    async with served(app) as (http, url):
        client = Client(http, f"{url}/part/mcp")
        assert (await client.open())[0] == 200
        assert await client.call("sell", what="tea") == "shop sold tea"
    assert shop.ended == 1


@pytest.fixture(params=["memory", "postgres"])
def either_store(request):
    return MemoryStore() if request.param == "memory" else PostgresStore(request.getfixturevalue("dsn"))


async def test_the_table_of_sessions_is_the_applications_to_read(either_store):
    """list, get, count and end, by public ids."""
    transport = StreamableHTTP(Shop().server, either_store)
    async with served(application(("/mcp", transport))) as (http, url):
        clients = [Client(http, f"{url}/mcp") for _ in range(3)]
        for client in clients:
            await client.open()
        ids = [str(client.session_id).partition(".")[0] for client in clients]
        assert await transport.sessions.count() == 3
        assert [s.session_id for s in await transport.sessions.list()] == sorted(ids, reverse=True)
        found = await transport.sessions.get(ids[1])
        assert found is not None
        assert (found.session_id, found.client_name) == (ids[1], "mounted")
        assert await transport.sessions.get("no such id") is None
        assert await transport.sessions.end(ids[1]) is True
        assert await transport.sessions.end(ids[1]) is False
        assert await transport.sessions.get(ids[1]) is None
        assert [(await client.ask("ping"))[0] for client in clients] == [200, 404, 200]


async def test_a_session_in_postgres_outlives_the_application(dsn):
    """Another start of the application serves the same session; only the tables of sessions were made."""
    client = None
    for _ in range(2):
        store = PostgresStore(dsn)
        async with served(application(("/mcp", StreamableHTTP(Shop().server, store)))) as (http, url):
            renewed = Client(http, f"{url}/mcp")
            if client is None:
                await renewed.open()
            else:
                renewed.session_id = client.session_id
            client = renewed
            assert await client.call("sell", what="tea") == "shop sold tea"
            tables = await store.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            names = {row["tablename"] for row in tables}
            assert "archon_mcp_sessions" in names
            assert not {name for name in names if "task" in name or "project" in name}


async def test_a_stop_lets_calls_finish_and_tells_new_ones_to_come_back():
    """The answer of a running call arrives, whatever order the rest stops in."""
    shop = Shop()
    transport = StreamableHTTP(shop.server, json_response=True)
    async with served(application(("/mcp", transport))) as (http, url):
        client = Client(http, f"{url}/mcp")
        await client.open()
        call = asyncio.create_task(client.call("wait"))
        await shop.began.wait()
        asyncio.get_running_loop().call_later(0.1, shop.release.set)
    assert await call == "waited"


async def test_stateless_serves_every_request_alone():
    """No id is given, whatever id comes is ignored, and there is nothing to listen to or to end."""
    transport = StreamableHTTP(Shop().server, stateless=True)
    async with served(application(("/mcp", transport))) as (http, url):
        client = Client(http, f"{url}/mcp")
        status, headers, _ = await client.open()
        assert (status, "Mcp-Session-Id" in headers) == (200, False)
        for presented in (None, "whatever", "01900000-0000-7000-8000-000000000000.aaaaaaaaaaaaaaaaaaaaaa"):
            client.session_id = presented
            assert await client.call("sell", what="tea") == "shop sold tea"
            for verb in ("GET", "DELETE"):
                status, headers, _ = await client.send(verb)
                assert (status, headers["Allow"]) == (405, "POST")
        assert await transport.sessions.count() == 0


async def test_a_low_level_server_is_taken_as_it_is():
    """And a session id is needed, as with the SDK, unless it is said otherwise."""

    async def list_tools(context, params):
        return types.ListToolsResult(tools=[types.Tool(name="only", input_schema={"type": "object"})])

    for needed in (True, False):
        server = Server("low", on_list_tools=list_tools)
        app = application(("/mcp", StreamableHTTP(server, require_session_id=needed)))
        async with served(app) as (http, url):
            status, _, body = await Client(http, f"{url}/mcp").ask("tools/list")
            assert status == (400 if needed else 200)
            assert needed or body["result"]["tools"][0]["name"] == "only"


async def test_larger_bodies_than_allowed_are_refused():
    """By the transport's own limit and not by the application's."""
    transport = StreamableHTTP(Shop().server, max_request_body_size=300)
    async with served(application(("/mcp", transport))) as (http, url):
        client = Client(http, f"{url}/mcp")
        assert (await client.open())[0] == 200
        assert (await client.ask("ping", {"filler": "x" * 300}))[0] == 413


async def test_an_idle_session_ends_in_time():
    """`session_idle_timeout` means in memory what it means to the SDK."""
    transport = StreamableHTTP(Shop().server, session_idle_timeout=0.3)
    async with served(application(("/mcp", transport))) as (http, url):
        client = Client(http, f"{url}/mcp")
        await client.open()
        async with asyncio.timeout(5):
            while await transport.sessions.count():
                await asyncio.sleep(0.05)
        assert (await client.ask("ping"))[0] == 404


def test_the_defaults_follow_what_sessions_are_kept_in():
    """A month and a million in Postgres, half an hour and ten thousand in memory; None is never and no limit."""
    from archon_transport.face.streamable import _limits

    kept = {lasting: _limits(lasting, ..., ...) for lasting in (True, False)}
    assert {k: (limits.idle_timeout, limits.max_sessions) for k, limits in kept.items()} == {
        True: (30 * 86400, 1_000_000),
        False: (1800, 10_000),
    }
    free = _limits(True, None, None)
    assert (free.idle_timeout, free.max_sessions, free.sleep_after) == (None, None, 300)


class Verifier:
    async def verify_token(self, token):
        return AccessToken(token=token, client_id="c", scopes=[]) if token == "good" else None


AUTH = AuthSettings(
    issuer_url="https://login.example.com",
    resource_server_url="https://example.com/mcp",
    validate_token_resource=False,
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_idle_timeout": 0},
        {"session_idle_timeout": float("inf")},
        {"max_sessions": 0},
        {"max_request_body_size": 0},
        {"auth": AUTH},
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_refused(wrong):
    """At once, in the SDK's words where it has them."""
    with pytest.raises(ValueError, match=r"must be|needs a token_verifier"):
        StreamableHTTP(Shop().server, **wrong)


def test_a_server_with_a_login_is_not_served_without_it():
    """An MCPServer that was made with `auth` would be open to everybody: that is said instead."""
    server = MCPServer("closed", auth=AUTH, token_verifier=Verifier())
    with pytest.raises(ValueError, match="give auth and token_verifier"):
        StreamableHTTP(server)
    StreamableHTTP(server, auth=AUTH, token_verifier=Verifier())
    with pytest.raises(TypeError, match="not an MCP server of the SDK"):
        StreamableHTTP(object())


async def test_a_token_is_asked_for_where_there_is_a_verifier():
    """401 without one, and a session is its owner's."""
    transport = StreamableHTTP(Shop().server, token_verifier=Verifier())
    async with served(application(("/mcp", transport))) as (http, url):
        client = Client(http, f"{url}/mcp")
        status, headers, _ = await client.open()
        assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
        http.headers["Authorization"] = "Bearer good"
        assert (await client.open())[0] == 200


async def test_custom_routes_of_a_server_are_not_served_in_silence(caplog):
    """They are Starlette's: the log says that the application has to have them."""
    server = MCPServer("routed")

    @server.custom_route("/extra", methods=["GET"])
    async def extra(request):
        raise NotImplementedError

    StreamableHTTP(server)
    assert "custom routes" in caplog.text


async def test_each_is_attached_once_and_has_a_store_of_its_own():
    """Both mistakes are errors with a sentence, at the latest at the start."""
    store = MemoryStore()
    one, two = (StreamableHTTP(Shop().server, store) for _ in range(2))
    app = application(("/a", one), ("/b", two))
    with pytest.raises(RuntimeError, match="attached once"):
        one.attach(app, "/c")
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match="a store of its own"):
        await runner.setup()
    await runner.cleanup()


async def status_of(http, url, **headers):
    return (await Client(http, f"{url}/mcp").ask("tools/list", **headers))[0]


async def test_without_settings_only_this_machine_is_served(caplog):
    """Its own names on its own addresses; bound elsewhere every request is refused, and the log says why once."""
    app = application(("/mcp", StreamableHTTP(Shop().server, require_session_id=False)))
    async with served(app) as (http, url):
        assert await status_of(http, url) == 200
        assert await status_of(http, url, Host="localhost") == 200
        assert await status_of(http, url, Host="evil.example") == 421
        assert await status_of(http, url, Origin="http://localhost:3000") == 200
        assert await status_of(http, url, Origin="http://evil.example") == 403
    assert caplog.records == []


async def test_another_address_is_refused_without_settings(caplog, monkeypatch):
    """A client that came over the network is told which argument is missing, even under a loopback name."""
    app = application(("/mcp", StreamableHTTP(Shop().server, require_session_id=False)))
    async with served(app) as (http, url):
        from archon_transport.face import hosts

        elsewhere = {"192.0.2.7": False, "::ffff:127.0.0.1": True, "::1": True, "fe80::1%eth0": False}
        assert {a: hosts._is_here((a, 1)) for a in elsewhere} == elsewhere
        assert hosts._is_here("/run/socket")
        monkeypatch.setattr(hosts, "_is_here", lambda sockname: False)
        for _ in range(2):
            status, _, body = await Client(http, f"{url}/mcp").ask("tools/list", Host="localhost")
            assert status == 421
            assert (
                "security_settings=TransportSecuritySettings(allowed_hosts=[...])" in body["error"]["message"]
            )
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_given_settings_mean_what_they_mean_to_the_sdk():
    """Exact names, `:*` for any port, nothing allowed beside them, and nothing looked at where it is switched off."""
    settings = TransportSecuritySettings(
        allowed_hosts=["a.example", "b.example:*"],
        allowed_origins=["https://a.example", "http://b.example:*"],
    )
    expected = {
        ("a.example", None): 200,
        ("a.example:1", None): 421,
        ("b.example", None): 421,
        ("b.example:1", None): 200,
        ("localhost", None): 421,
        ("a.example", "https://a.example"): 200,
        ("a.example", "https://a.example:1"): 403,
        ("a.example", "http://b.example:1"): 200,
    }
    transport = StreamableHTTP(Shop().server, security_settings=settings, require_session_id=False)
    async with served(application(("/mcp", transport))) as (http, url):
        found = {pair: await status_of(http, url, Host=pair[0], Origin=pair[1]) for pair in expected}
        assert found == expected
    off = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    transport = StreamableHTTP(Shop().server, security_settings=off, require_session_id=False)
    async with served(application(("/mcp", transport))) as (http, url):
        assert await status_of(http, url, Host="any.example", Origin="http://any.example") == 200


def test_the_package_itself_is_imported_fast():
    """Its public names are there, and none of them is imported before it is asked for."""
    script = (
        "import sys, archon_transport as a; assert 'aiohttp' not in sys.modules and 'mcp' not in sys.modules; "
        "assert [getattr(a, n).__name__ for n in a.__all__[:3]] == a.__all__[:3]"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
