"""The modern era's ladder: one good request, one thing spoiled; every rung says its status, code, id and rule."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from archon_transport.protocol import revisions
from archon_transport.protocol.headers import ProtocolHeaders
from archon_transport.protocol.inbound import Dropped, Initialize, Modern, Refused, Single, decide
from archon_transport.protocol.messages import Error, Request
from archon_transport.protocol.modern import in_this_era, refuse_params, status_of

NOW = "2026-07-28"
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
INFO = "io.modelcontextprotocol/clientInfo"
META = {VERSION: NOW, CAPABILITIES: {"sampling": {}}, INFO: {"name": "tester", "version": "1"}}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": NOW,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}
NOTE = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}


def call(method="tools/call", meta=META, **params):
    if method == "tools/call":
        params.setdefault("name", "echo")
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}


def lines(spoiled):
    headers = HEADERS | {name.replace("_", "-"): text for name, text in spoiled.items()}
    return [(name, value) for name, value in headers.items() if value is not None]


def post(value, more=(), **spoiled):
    return decide("POST", ProtocolHeaders.read([*lines(spoiled), *more]), json.dumps(value).encode())


def refused(decision, code, rule=None, request_id=7, status=400):
    assert isinstance(decision, Refused), decision
    assert (decision.status, decision.error.code, decision.id) == (status, code, request_id)
    assert rule is None or decision.rule == rule
    return decision


def sealed(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.spec("D-02", "M-20", "M-26", "M-27")
def test_the_good_request():
    """The request from which every spoiled one is made is served, and says what it says of itself."""
    assert post(call()) == Modern(
        Request(7, "tools/call", call()["params"]), NOW, META[INFO], META[CAPABILITIES]
    )


@pytest.mark.spec("M-21")
@pytest.mark.parametrize("info", [None, 5, "x", [], {"name": "only"}])
def test_a_client_need_not_say_its_name(info):
    """Client info is optional and unchecked: no shape of it fails a request."""
    meta = {VERSION: NOW, CAPABILITIES: {}}
    assert post(call(meta=meta)).client_info is None
    assert post(call(meta=meta | {INFO: info})).client_info == info


@pytest.mark.spec("M-20", "E-04")
@pytest.mark.parametrize("meta", [None, 5, [], "x", {}, {VERSION: NOW}, {CAPABILITIES: {}}, {INFO: {}}])
def test_a_request_that_does_not_say_what_it_must(meta):
    """Under a modern header `_meta` names the revision and the client's capabilities, else 400 -32602."""
    refused(post(call(meta=meta)), -32602, "envelope")


@pytest.mark.spec("M-20")
@pytest.mark.parametrize("params", [None, {}, {"name": "echo"}])
def test_a_request_without_meta(params):
    """Params without `_meta`, or no params at all, are 400 -32602 under a modern header."""
    refused(post({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}), -32602, "envelope")


@pytest.mark.spec("M-22", "M-23", "C-05", "C-06", "E-06")
@pytest.mark.parametrize("header", [None, "", *revisions.HANDSHAKE, "1900-01-01", "2026-07-29", NOW + "x"])
def test_a_header_that_differs_from_the_body(header):
    """A body that says 2026-07-28 with no version header, or with another one, is 400 -32020 under its id."""
    refused(post(call(), MCP_Protocol_Version=header), -32020)


@pytest.mark.spec("M-23", "M-25", "C-33")
@pytest.mark.parametrize("claimed", [*revisions.HANDSHAKE, "1900-01-01", "", 5, None, [NOW], {}])
def test_a_body_that_differs_from_the_header(claimed):
    """A modern header over a body that names another revision, or something that is none, is 400 -32020."""
    refused(post(call(meta=META | {VERSION: claimed})), -32020)


@pytest.mark.parametrize("claimed", [5, None, [], {}])
@pytest.mark.parametrize("header", [None, "2025-11-25"])
def test_a_revision_that_is_no_text_is_not_taken_for_the_other_era(claimed, header):
    """Whoever sends the modern key is judged by the modern rungs, whatever stands under it."""
    refused(post(call(meta=META | {VERSION: claimed}), MCP_Protocol_Version=header), -32020)


@pytest.mark.spec("M-24", "C-02", "E-08")
@pytest.mark.parametrize("revision", ["2026-07-29", "1900-01-01", "DRAFT-2027", "x" * 500])
def test_a_revision_that_nobody_speaks(revision):
    """One unknown revision in header and body is 400 -32022, and lists what `server/discover` lists."""
    refusal = refused(post(call(meta=META | {VERSION: revision}), MCP_Protocol_Version=revision), -32022)
    assert refusal.error.data == {"supported": [NOW], "requested": revision[:64]}


@pytest.mark.spec("M-24", "C-01")
def test_an_unknown_revision_by_its_header_alone():
    """An unknown header over a body without `_meta` is 400 -32022 under its id, not a complaint about `_meta`;
    nobody knows its era, so it lists every revision, the modern ones first.
    """
    value = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
    refusal = refused(post(value, MCP_Protocol_Version="2027-01-01"), -32022, "revision")
    assert refusal.error.data["supported"] == [NOW, *revisions.HANDSHAKE]


@pytest.mark.spec("D-07")
@pytest.mark.parametrize("revision", revisions.HANDSHAKE)
def test_modern_headers_do_not_make_a_request_modern(revision):
    """Mcp-Method and Mcp-Name beside a handshake revision are nobody's business, whatever they say."""
    value = call(meta={"progressToken": 1})
    for headers in ({}, {"Mcp_Method": "x", "Mcp_Name": "=?base64?!?="}, {"Mcp_Method": None}):
        assert isinstance(post(value, MCP_Protocol_Version=revision, **headers), Single)


@pytest.mark.spec("C-18", "M-37")
def test_an_initialize_that_is_modern_throughout():
    """It is a request like any other, and the kernel says that there is no such method; spoiled, it is refused
    by the modern rungs; without the header it is the other era's.
    """
    value = call("initialize", name=None)
    assert isinstance(post(value, Mcp_Method="initialize"), Modern)
    refused(post(value), -32020)
    assert isinstance(post(value, MCP_Protocol_Version=None), Initialize)


# --- headers that mirror the body


@pytest.mark.spec("M-26", "M-29", "M-31", "M-36")
@pytest.mark.parametrize(
    "method", [None, "", "tools/list", "TOOLS/CALL", "tools/call,tools/call", sealed("tools/call")]
)
def test_the_method_is_mirrored(method):
    """Mcp-Method is there and is the method to the letter; the Base64 form is none for it."""
    refused(post(call(), Mcp_Method=method), -32020, "envelope")


@pytest.mark.spec("M-27", "M-29", "M-31")
@pytest.mark.parametrize("name", [None, "", "Echo", "echo2", "echo,echo", '"echo"'])
@pytest.mark.parametrize(
    ("method", "key"), [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")]
)
def test_the_name_is_mirrored(method, key, name):
    """Mcp-Name is there and is the tool's, the prompt's or the resource's to the letter."""
    value = call(method, **{key: "echo"})
    assert isinstance(post(value, Mcp_Method=method), Modern)
    refused(post(value, Mcp_Method=method, Mcp_Name=name), -32020, "envelope")


@pytest.mark.spec("C-31")
@pytest.mark.parametrize("name", [None, "x", "=?base64?!?="])
def test_other_methods_have_no_name(name):
    """Where nothing is mirrored Mcp-Name is ignored."""
    assert isinstance(post(call("tools/list"), Mcp_Method="tools/list", Mcp_Name=name), Modern)


@pytest.mark.spec("C-30")
def test_a_call_without_a_name_is_not_a_mismatch():
    """There is nothing to mirror; the kernel says what is missing."""
    value = call()
    del value["params"]["name"]
    assert isinstance(post(value, Mcp_Name=None), Modern)


@pytest.mark.spec("M-29", "M-30")
def test_names_of_headers_have_no_case_and_values_no_edges():
    """Only a value's own characters are compared."""
    odd = {"mCP-pROTOCOL-vERSION": f" {NOW}\t", "MCP-METHOD": "\ttools/call ", "mcp-name": "  echo  "}
    bare = {"MCP_Protocol_Version": None, "Mcp_Method": None, "Mcp_Name": None}
    assert isinstance(post(call(), odd.items(), **bare), Modern)


@pytest.mark.spec("M-33", "M-35")
@pytest.mark.parametrize(
    "name",
    ["ä", "日本語", " edge ", "a\nb", "", "echo", "=?base64?ZWNobw==?=", "=?base64?", "?=", "x" * 3000],
)
def test_a_name_in_its_base64_form(name):
    """What a header cannot hold comes in the Base64 form, and is decoded exactly once."""
    assert isinstance(post(call(name=name), Mcp_Name=sealed(name)), Modern)


@pytest.mark.spec("M-34")
@pytest.mark.parametrize(
    "payload",
    ["ZWNobw", "ZWNobw=", "ZWNobw===", "ZW Nobw==", "ZWN-bw==", "ZWNob_==", "ZWNobx==", "", "/w==", "é"],
)
def test_a_base64_form_that_is_none(payload):
    """Wrong padding, another alphabet, bits that say nothing, or bytes that are no UTF-8: 400 -32020."""
    refused(post(call(), Mcp_Name=f"=?base64?{payload}?="), -32020)


@pytest.mark.spec("M-34")
@pytest.mark.parametrize(
    "name", ["=?BASE64?ZWNobw==?=", "=?base64?ZWNobw==", "ZWNobw==?=", "x=?base64?ZWNobw==?="]
)
def test_what_only_looks_like_the_base64_form_is_a_literal(name):
    """In another case or without its ends the form is a text like any other."""
    assert isinstance(post(call(name=name), Mcp_Name=name), Modern)
    refused(post(call(), Mcp_Name=name), -32020)


@pytest.mark.spec("M-32", "E-06")
@pytest.mark.parametrize("bad", ["\x00", "\x1f", "\x7f", "\x80", "é", "\udcff", "日", "a\rb", "a\nb"])
@pytest.mark.parametrize(
    "name", ["Mcp-Name", "Mcp-Method", "MCP-Protocol-Version", "Mcp-Param-Region", "Mcp-X"]
)
def test_a_character_that_no_field_has(name, bad):
    """Anything but visible ASCII, space and tab in a header of the protocol is 400 -32020."""
    value = f"x{bad}y"
    refusal = refused(
        post(
            call(),
            [(name, value)] if name.startswith(("Mcp-P", "Mcp-X")) else (),
            **({} if name.startswith(("Mcp-P", "Mcp-X")) else {name.replace("-", "_"): value}),
        ),
        -32020,
    )
    assert refusal.error.message.isascii()


@pytest.mark.spec("M-49")
def test_a_refusal_quotes_little():
    """A header's name may be as long as a header line; the refusal's text is not."""
    assert len(post(call(), [("Mcp-" + "x" * 8000, "é")]).error.message) < 300


@pytest.mark.spec("C-27")
@pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id"])
@pytest.mark.parametrize("second", ["same", "2025-11-25", ""])
def test_a_header_that_stands_twice(name, second):
    """Two readers on the way would take different ones: 400 -32020, even if both say the same."""
    first = HEADERS.get(name, "some-id")
    more = [(name, first if second == "same" else second)]
    spoiled = {} if name in HEADERS else {name: first}
    refusal = refused(post(call(), more, **spoiled), -32020, "header-mismatch")
    assert name in refusal.error.message


def test_a_header_that_stands_twice_with_the_modern_one_second():
    """The body says the era: a handshake revision that stands first does not lead to the other path."""
    refused(post(call(), [("MCP-Protocol-Version", NOW)], MCP_Protocol_Version="2025-11-25"), -32020)


# --- what is no request


@pytest.mark.spec("M-04", "E-02")
@pytest.mark.parametrize(
    "value",
    [
        [],
        [call()],
        [NOTE],
        {"jsonrpc": "2.0", "id": 7, "result": {}},
        {"jsonrpc": "2.0", "id": 7, "method": 5},
    ],
    ids=str,
)
def test_a_body_is_one_request_or_notification(value):
    """An array, an answer and what is no message are 400 -32600 under a modern header."""
    refused(post(value), -32600, request_id=7 if value and "method" in value else None)


@pytest.mark.spec("J-02")
def test_a_null_id_is_no_notification():
    """`"id": null` is refused, not dropped."""
    refused(post(call() | {"id": None}), -32600, request_id=None)


@pytest.mark.spec("M-05", "M-06", "C-29")
@pytest.mark.parametrize("method", ["notifications/cancelled", "notifications/progress", "initialize", "x"])
@pytest.mark.parametrize("mirrored", [None, "tools/list"])
def test_a_notification_is_taken_and_dropped(method, mirrored):
    """The era has none that a client sends; whatever comes is accepted, whether or not it is mirrored."""
    value = {"jsonrpc": "2.0", "method": method, "params": {"requestId": 7, "_meta": META}}
    assert post(value, Mcp_Method=mirrored, Mcp_Name=None) == Dropped()
    assert post(NOTE, Mcp_Method=mirrored) == Dropped()


@pytest.mark.parametrize("header", [None, *revisions.HANDSHAKE])
def test_a_modern_notification_under_another_header(header):
    """A notification that says 2026-07-28 under another header, or none, is 400 -32020 without an id."""
    value = NOTE | {"params": {"_meta": META}}
    refused(post(value, MCP_Protocol_Version=header), -32020, request_id=None)


def test_a_notification_of_an_unknown_revision():
    """One unknown revision in header and body is 400 -32022 for a notification too."""
    value = NOTE | {"params": {"_meta": {VERSION: "2027-01-01"}}}
    refused(post(value, MCP_Protocol_Version="2027-01-01"), -32022, request_id=None)


@pytest.mark.spec("M-02", "E-16")
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_everything_is_a_post(verb):
    """GET and DELETE under a modern header are 405, and Allow says POST."""
    headers = ProtocolHeaders.read([("MCP-Protocol-Version", NOW), ("Mcp-Session-Id", "x")])
    refusal = refused(decide(verb, headers, b""), -32600, "method", None, status=405)
    assert refusal.allow == "POST"


def test_the_path_of_a_request_does_not_depend_on_its_session_id():
    """A session id, or a place in a stream, never selects the era and is of no effect here."""
    assert post(call(), Mcp_Session_Id="x" * 60, Last_Event_ID="1") == post(call())


# --- tools that have some of their arguments mirrored

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
        "free": {"type": "string"},
        "where": {"type": "object", "properties": {"zone": {"type": "string", "x-mcp-header": "Zone"}}},
    },
}
ARGUMENTS = {"region": "eu", "count": 42, "dry": False, "where": {"zone": "a"}}
PARAMS = {
    "Mcp-Param-Region": "eu",
    "Mcp-Param-Count": "42",
    "Mcp-Param-Dry-Run": "false",
    "Mcp-Param-Zone": "a",
}


def judged(arguments, headers, schema=SCHEMA):
    modern = post(call(arguments=arguments))
    return refuse_params(modern, schema, {k: v for k, v in headers.items() if v is not None})


@pytest.mark.spec("M-43", "M-46", "M-47", "C-39")
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({}, {}),
        ({"count": 42.0}, {}),
        ({}, {"Mcp-Param-Count": "42.0"}),
        ({}, {"Mcp-Param-Count": "42.000"}),
        ({"count": 2**60}, {"Mcp-Param-Count": str(2**60)}),
        ({"region": None}, {"Mcp-Param-Region": None}),
        ({"where": {}}, {"Mcp-Param-Zone": None}),
        ({"where": 5}, {"Mcp-Param-Zone": None}),
        ({"region": "ä"}, {"Mcp-Param-Region": sealed("ä")}),
        ({"region": ""}, {"Mcp-Param-Region": ""}),
        ({}, {"Mcp-Param-Region": sealed("eu")}),
        ({"free": "x"}, {"Mcp-Param-Free": "y", "Mcp-Param-Unknown": "=?base64?!?="}),
        ({"region": ["eu"]}, {"Mcp-Param-Region": None}),
    ],
    ids=str,
)
def test_arguments_that_are_mirrored(arguments, headers):
    """Integers compare as numbers, null is absent, the Base64 form is decoded, other headers are ignored."""
    assert judged(ARGUMENTS | arguments, PARAMS | headers) is None


@pytest.mark.spec("M-43", "M-44", "M-45")
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({}, {"Mcp-Param-Region": "us"}),
        ({}, {"Mcp-Param-Region": "EU"}),
        ({}, {"Mcp-Param-Region": None}),
        ({}, {"Mcp-Param-Zone": None}),
        ({}, {"Mcp-Param-Count": "43"}),
        ({}, {"Mcp-Param-Count": "42.5"}),
        ({}, {"Mcp-Param-Count": "4.2e1"}),
        ({}, {"Mcp-Param-Count": "9" * 5000}),
        ({}, {"Mcp-Param-Count": ""}),
        ({}, {"Mcp-Param-Dry-Run": "False"}),
        ({"dry": True}, {}),
        ({"region": None}, {}),
        ({"where": None}, {}),
        ({"region": ["eu"]}, {}),
        ({"count": True}, {"Mcp-Param-Count": "1"}),
        ({}, {"Mcp-Param-Region": "=?base64?ZXU?="}),
        ({}, {"Mcp-Param-Region": "=?base64?ZX!1?="}),
        ({}, {"Mcp-Param-Region": "=?base64?/w==?="}),
        ({}, {"Mcp-Param-Region": "=?BASE64?ZXU=?="}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_arguments_that_are_not_mirrored(arguments, headers):
    """A header that is missing, too much, or says something else than its argument is 400 -32020."""
    refused(judged(ARGUMENTS | arguments, PARAMS | headers), -32020, "envelope")


@pytest.mark.parametrize("arguments", [None, 5, [], "x"])
def test_arguments_that_are_none(arguments):
    """Where there are no arguments a recognised header contradicts them, and no header is missing."""
    assert judged(arguments, {}) is None
    refused(judged(arguments, {"Mcp-Param-Region": "eu"}), -32020)


def test_a_tool_without_a_schema_mirrors_nothing():
    """Every Mcp-Param header is then unknown, and ignored."""
    assert judged(ARGUMENTS, PARAMS | {"Mcp-Param-Region": "us"}, None) is None


# --- what comes back


@pytest.mark.spec("M-37", "M-38", "M-95", "E-03", "E-07")
@pytest.mark.parametrize(
    ("code", "status"),
    [(-32700, 400), (-32600, 400), (-32601, 404), (-32602, 400), (-32603, 200), (-32020, 400), (-32021, 400),
     (-32022, 400), (-32800, 200), (1, 200)],
)  # fmt: skip
def test_the_status_of_an_error(code, status):
    """A client sees by the status what was at fault; a server's own trouble is an answer like any other."""
    assert status_of(Error(code, "No.")) == status


@pytest.mark.spec("J-18", "M-93", "E-09", "E-10")
@pytest.mark.parametrize("code", [-32002, -32042])
def test_codes_that_this_era_no_longer_has(code):
    """They become -32602, with their text and data."""
    assert in_this_era(Error(code, "Gone.", {"uri": "x"})) == Error(-32602, "Gone.", {"uri": "x"})
    assert in_this_era(Error(-32603, "Other.")) == Error(-32603, "Other.")


def test_a_modern_request_is_a_value():
    """Two equal requests are equal, so that decisions can be compared."""
    assert post(call()) == replace(post(call()))
