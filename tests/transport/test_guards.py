"""Host and Origin: who may knock, and what a refusal says."""

import pytest

from archon_transport.store.memory import MemoryStore
from archon_transport.transport import Guards
from tests.transport.house import post_bytes, raw, request, running

LOOPBACK = ["localhost", "LocalHost:8051", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8051"]
FOREIGN_HOSTS = [
    None,
    "",
    "evil.example",
    "evil.example:8051",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example#localhost",
    "localhost@evil.example",
    "localhost:80@evil.example",
    "localhost:evil",
    "::1",
    "0.0.0.0:8051",
    "localhost, evil.example",
]


@pytest.mark.spec("S-04")
@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_always_itself(host):
    """Loopback names are allowed on any port."""
    assert Guards().refuse(host, None) is None


@pytest.mark.spec("S-04", "E-17")
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_any_other_host_is_421(host):
    """A Host that is not listed is refused, however much it looks like one that is."""
    refused = Guards().refuse(host, None)
    assert (refused.status, refused.rule, refused.error.code) == (421, "host", -32600)
    assert "--allow-host" in refused.error.message


@pytest.mark.parametrize(
    ("allowed", "host", "passes"),
    [
        ("archon.example", "archon.example", True),
        ("archon.example", "archon.example:8051", True),
        ("archon.example:*", "archon.example:8051", True),
        ("ARCHON.example", "archon.EXAMPLE", True),
        ("archon.example:8051", "archon.example:8051", True),
        ("archon.example:8051", "archon.example", False),
        ("archon.example:8051", "archon.example:80", False),
        ("archon.example", "sub.archon.example", False),
        ("archon.example", "xarchon.example", False),
    ],
)
def test_an_allowed_host_is_a_name_or_a_name_with_a_port(allowed, host, passes):
    """A name allows any port, a name with a port that one alone, and neither a subdomain."""
    assert (Guards(hosts=[allowed]).refuse(host, None) is None) is passes


@pytest.mark.spec("S-01", "S-02", "S-03", "E-14")
@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (None, True),
        ("http://localhost", True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1:8443", True),
        ("http://[::1]:5173", True),
        ("HTTP://LOCALHOST:1", True),
        ("null", False),
        ("", False),
        ("localhost", False),
        ("file://", False),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://localhost:3000.evil.example", False),
        ("http://evil.example/http://localhost", False),
        ("chrome-extension://localhost", False),
        ("http://localhost/", False),
    ],
)
def test_an_origin_is_this_machine_or_listed(origin, passes):
    """A page of another origin is 403; a request without Origin is not a page's."""
    refused = Guards().refuse("localhost", origin)
    assert (refused is None) is passes
    if refused is not None:
        assert (refused.status, refused.rule) == (403, "origin")
        assert "--allow-origin" in refused.error.message


def test_an_allowed_origin():
    """A listed origin passes with its scheme and, if it names one, its port."""
    guards = Guards(origins=["https://app.example", "http://other.example:81", "https://slash.example/"])
    assert guards.refuse("localhost", "https://app.example") is None
    assert guards.refuse("localhost", "https://app.example:444") is None
    assert guards.refuse("localhost", "https://slash.example") is None
    assert guards.refuse("localhost", "http://app.example").status == 403
    assert guards.refuse("localhost", "http://other.example").status == 403


def test_the_page_of_an_allowed_host_may_ask_it():
    """The origin that an allowed host serves is its own, on the same port only."""
    guards = Guards(hosts=["archon.example"])
    assert guards.refuse("archon.example:8051", "http://archon.example:8051") is None
    assert guards.refuse("archon.example:8051", "https://archon.example:8051") is None
    assert guards.refuse("archon.example:8051", "http://archon.example:9").status == 403


@pytest.mark.spec("S-04")
def test_a_rebound_page_is_stopped_by_its_host():
    """After DNS rebinding Host and Origin agree with each other; the Host is not ours, and that is enough."""
    assert Guards().refuse("evil.example:8051", "http://evil.example:8051").status == 421


@pytest.mark.spec("S-17")
@pytest.mark.parametrize("host", ["x\x00y\n", "\udcff", "h" * 5000])
def test_what_is_shown_of_a_header_is_short_and_printable(host):
    """A refusal shows a client's own words cut and without what could break a line or an encoding."""
    message = Guards().refuse(host, None).error.message
    assert message.isprintable()
    assert len(message) < 400
    message.encode()


# --- over a socket


@pytest.mark.spec("S-01", "S-02", "E-14", "E-17", "C-40")
@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE", "PUT"])
async def test_every_verb_is_guarded(house, store, verb):
    """No verb passes with a foreign Host or Origin, and nothing is made."""
    answer = await house.send(verb, b"{}", Host="evil.example")
    assert (answer.status, answer.error["code"]) == (421, -32600)
    answer = await house.send(verb, b"{}", Origin="https://evil.example")
    assert (answer.status, answer.error["code"]) == (403, -32600)
    assert "https://evil.example" in answer.error["message"]
    assert await store.count() == 0


async def test_a_guard_comes_before_the_body(house):
    """A stranger is refused before a byte of the body is waited for."""
    head = post_bytes(b"", host="evil.example").replace(b"Content-Length: 0", b"Content-Length: 1000000")
    ((status, _, _),) = await raw(house.port, head)
    assert status == 421


async def test_allowed_names_pass():
    """Hosts and origins that the operator named are served."""
    guards = Guards(["archon.example"], ["https://app.example"])
    async with running(MemoryStore(), guards=guards) as house:
        answer = await house.initialize(Host="archon.example:8051", Origin="https://app.example")
        assert answer.status == 200


async def test_no_host_at_all(house):
    """An HTTP/1.0 request without Host is refused."""
    body = b"POST /mcp HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ((status, _, _),) = await raw(house.port, body)
    assert status == 421


async def test_two_hosts_are_none(house):
    """Two Host lines, one of them good, are refused before anything reads either."""
    ((status, _, _),) = await raw(house.port, post_bytes(b"{}", "Host: evil.example"))
    assert status == 400


async def test_bytes_that_are_no_text_are_survived(house, session):
    """Header values of any bytes are refused or ignored, as JSON-RPC, and never break an answer."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    for line, expected in [
        ("MCP-Protocol-Version: 20\xff\xe4", 400),
        ("Mcp-Session-Id: \xff\xfe", 404),
        ("Accept: \xff", 406),
        ("Origin: http://\xff", 403),
        ("Last-Event-ID: \xff", 200),
        ("User-Agent: \xff", 200),
    ]:
        own = () if line.startswith("Mcp-Session-Id") else (f"Mcp-Session-Id: {session}",)
        ((status, headers, _),) = await raw(house.port, post_bytes(body, line, *own))
        assert (status, headers["content-type"]) == (expected, "application/json"), line


async def test_a_session_of_an_unreadable_agent(house, store):
    """A User-Agent that is no text does not stop `initialize`."""
    body = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{},"clientInfo":{"name":"a","version":"1"}}}'
    )
    ((status, headers, _),) = await raw(house.port, post_bytes(body, "User-Agent: \xff\xfe"))
    assert status == 200
    assert "mcp-session-id" in headers
    (row,) = await store.page()
    row.user_agent.encode()


async def test_an_answer_to_a_stranger_needs_no_session(house):
    """A refusal is a JSON-RPC error, for a request as for anything else."""
    answer = await house.post(request(1, "ping"), Host="evil.example")
    assert answer.body["id"] is None
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.spec("S-15")
async def test_a_page_of_an_allowed_origin_may_call_and_read(store):
    """A browser's preflight is answered, and every answer, refusals among them, may be read by the page."""
    page = {"Origin": "https://app.example.com"}
    async with running(store, guards=Guards(origins=["https://app.example.com"])) as house:
        asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "mcp-session-id"}
        preflight = await house.send("OPTIONS", **page, **asked)
        assert (preflight.status, preflight.raw) == (204, b"")
        assert preflight.headers["Access-Control-Allow-Headers"] == "mcp-session-id"
        for answer in (preflight, await house.initialize(**page), await house.send("POST", b"{", **page)):
            assert answer.headers["Access-Control-Allow-Origin"] == page["Origin"]
            assert "Mcp-Session-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Origin" not in (await house.initialize()).headers


async def test_a_page_of_another_origin_is_told_nothing(house):
    """Neither a preflight nor an answer opens anything to an origin that is not allowed."""
    asked = {"Origin": "https://evil.example", "Access_Control_Request_Method": "POST"}
    for answer in (
        await house.send("OPTIONS", **asked),
        await house.initialize(Origin="https://evil.example"),
    ):
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
