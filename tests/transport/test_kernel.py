"""The seam: a connection rebuilt from its row is the same to a handler, and costs nothing once dropped."""

import gc
import json
import weakref

import mcp_types as types
import pytest
from mcp.server import Server

from archon_transport.protocol.messages import Error, Request
from archon_transport.sessions import Session
from archon_transport.transport import Kernel
from archon_transport.transport.kernel import CLOSED, Handshake
from tests.sessions.rows import new_session
from tests.transport.house import handshake


class Http:
    """As much of an HTTP request as the kernel looks at."""

    def __init__(self):
        self.headers = {"X-From": "test"}


async def _call_tool(context, params):
    client = context.session.client_params
    seen = {
        "client": client and client.client_info.name,
        "sampling": bool(client and client.capabilities.sampling),
        "request_id": context.request_id,
        "header": context.request.headers["X-From"],
        "revision": context.protocol_version,
    }
    return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps(seen))])


PARAMS = handshake("2025-06-18") | {"capabilities": {"sampling": {}}, "unknownToUs": {"kept": [1]}}
CALL = Request("a", "tools/call", {"name": "look"})


@pytest.fixture
async def kernel():
    kernel = Kernel(Server("s", version="1", on_call_tool=_call_tool), hot=3)
    async with kernel.lifespan():
        yield kernel


def row(number: int, handshake: Handshake) -> Session:
    return new_session(
        session_id=str(number), revision=handshake.revision, initialize_params=handshake.params
    )


async def begin(kernel: Kernel) -> Handshake:
    made = await kernel.initialize(Request(1, "initialize", PARAMS), Http())
    assert isinstance(made, Handshake)
    return made


async def look(kernel: Kernel, session: Session) -> dict:
    outcome = await kernel.answer(session, CALL, CLOSED, Http())
    return json.loads(outcome["content"][0]["text"])


async def test_a_handshake_is_what_the_row_keeps(kernel):
    """The whole of a client's params is kept, also what this server does not know."""
    made = await begin(kernel)
    assert (made.revision, made.client) == ("2025-06-18", ("tester", None, "1"))
    assert json.loads(made.params) == PARAMS


async def test_a_rebuilt_connection_is_the_same_to_a_handler(kernel):
    """A handler sees its client's params, its request and its revision, whether the connection was kept or
    not.
    """
    session = row(1, await begin(kernel))
    expected = {
        "client": "tester",
        "sampling": True,
        "request_id": "a",
        "header": "test",
        "revision": "2025-06-18",
    }
    assert await look(kernel, session) == expected
    assert await look(kernel, session) == expected
    kernel.forget("1")
    assert await look(kernel, session) == expected


async def test_only_the_hot_ones_are_kept(kernel):
    """The most recently used connections stay built, and no more of them than were asked for."""
    made = await begin(kernel)
    for number in range(10):
        await look(kernel, row(number, made))
        await look(kernel, row(0, made))
    assert len(kernel._peers) == 3
    assert list(kernel._peers)[-1] == "0"


async def test_a_dropped_connection_is_freed_at_once(kernel):
    """Nothing of a dropped connection waits for the garbage collector."""
    session = row(1, await begin(kernel))
    await look(kernel, session)
    connection = weakref.ref(kernel._peers["1"].connection)
    gc.disable()
    try:
        kernel.forget("1")
        assert connection() is None
    finally:
        gc.enable()


async def test_a_request_alone_has_no_client(kernel):
    """A request without a session is served at the revision that it names, or at the assumed one."""
    for revision, served in (("2025-11-25", "2025-11-25"), ("1900-01-01", "2025-03-26")):
        outcome = await kernel.answer(revision, CALL, CLOSED, Http())
        seen = json.loads(outcome["content"][0]["text"])
        assert (seen["client"], seen["revision"]) == (None, served)


async def test_what_middleware_answers_is_no_handshake():
    """Where something else answered `initialize` there was no negotiation, and no session may be made of
    it.
    """
    server = Server("s", version="1")

    async def veto(context, call_next):
        raise RuntimeError("no")

    server.middleware.append(veto)
    kernel = Kernel(server)
    async with kernel.lifespan():
        assert isinstance(await kernel.initialize(Request(1, "initialize", PARAMS), Http()), Error)
