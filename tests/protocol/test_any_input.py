"""Whatever arrives, the ladder decides: properties over any bytes and any headers."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from archon_transport.protocol.headers import ProtocolHeaders
from archon_transport.protocol.inbound import (
    Batch,
    Dropped,
    End,
    Initialize,
    Listen,
    Modern,
    Refused,
    Single,
    decide,
)
from archon_transport.protocol.messages import Request, encode, error_of
from archon_transport.protocol.modern import refuse_params

NOW = "2026-07-28"
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

NAMES = st.sampled_from(
    [
        "Mcp-Session-Id",
        "mcp-session-id",
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Last-Event-ID",
        "Content-Type",
        "Authorization",
        "Accept",
        "X-Other",
    ]
)
# aiohttp hands over bytes that are no UTF-8 as lone surrogates
ANY_VALUE = st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
VALUES = ANY_VALUE | st.sampled_from(
    ["application/json", "*/*", "text/event-stream;q=0", "2025-03-26", "2026-07-28", "2024-11-05"]
)
HEADERS = st.lists(st.tuples(NAMES | st.text(max_size=20), VALUES), max_size=8)
VERBS = st.sampled_from(["POST", "GET", "DELETE", "PUT", "HEAD"]) | st.text(max_size=8)
JSON_HEADERS = [("Content-Type", "application/json")]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES_OF_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
META = st.dictionaries(st.just(VERSION), st.sampled_from([NOW, "2025-06-18", "", 5]))
PARAMS = VALUES_OF_JSON | st.fixed_dictionaries({"_meta": META | VALUES_OF_JSON})
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2]),
        "id": SCALARS,
        "method": st.sampled_from(["initialize", "tools/call", "ping"]) | SCALARS,
        "params": PARAMS,
        "result": VALUES_OF_JSON,
        "error": VALUES_OF_JSON | st.fixed_dictionaries({"code": SCALARS, "message": SCALARS}),
    },
)
BODIES = st.one_of(
    st.binary(max_size=200),
    MESSAGES.map(lambda value: json.dumps(value).encode()),
    st.lists(MESSAGES, max_size=5).map(lambda value: json.dumps(value).encode()),
    VALUES_OF_JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
)


def check(decision):
    assert isinstance(decision, Refused | Initialize | Single | Batch | Listen | End | Modern | Dropped)
    if not isinstance(decision, Refused):
        return
    assert 400 <= decision.status < 500
    for null_id in (False, True):
        sent = encode(error_of(decision.id, decision.error, null_id=null_id))
        body = json.loads(sent.decode("utf-8"))
        assert body["jsonrpc"] == "2.0"
        assert isinstance(body["error"]["code"], int)
        assert isinstance(body["error"]["message"], str)
        assert set(body) == {"jsonrpc", "error"} | ({"id"} if null_id or decision.id is not None else set())
        assert len(sent) < 2000


@settings(max_examples=150, deadline=None)
@given(verb=VERBS, headers=HEADERS, body=BODIES)
def test_any_request_gets_a_decision(verb, headers, body):
    """Any verb, headers and bytes give a decision, and a refusal is valid JSON-RPC that quotes little."""
    check(decide(verb, ProtocolHeaders.read(headers), body))


@settings(max_examples=300, deadline=None)
@given(
    body=BODIES, revision=st.none() | st.sampled_from(["2025-03-26", "2026-07-28", "2025-11-25"]) | ANY_VALUE
)
def test_any_body_gets_a_decision(body, revision):
    """Any bytes under good headers give a decision; what is served has an id of a good type."""
    headers = JSON_HEADERS if revision is None else [*JSON_HEADERS, ("MCP-Protocol-Version", revision)]
    decision = decide("POST", ProtocolHeaders.read(headers), body)
    check(decision)
    match decision:
        case Single(Request() as request) | Initialize(request) | Modern(request):
            assert type(request.id) in (int, str)
        case Batch() as batch:
            ids = [(type(request.id), request.id) for request in batch.requests]
            assert len(ids) == len(set(ids))
            assert 0 < len(batch.members) <= 100


# --- the modern era: requests that are nearly good, so that they reach the last rungs

REVISIONS = st.sampled_from([NOW, NOW, NOW, "2025-11-25", "1900-01-01", "", 5, None])
METHODS = st.sampled_from(["tools/call", "prompts/get", "resources/read", "server/discover", "ping", "x"])
TEXTS = st.sampled_from(["echo", "a/b", "\u00e4", "=?base64?ZWNobw==?=", ""]) | st.text(max_size=8)
NEARLY_META = st.fixed_dictionaries(
    {},
    optional={
        VERSION: REVISIONS,
        CAPABILITIES: st.just({}) | VALUES_OF_JSON,
        "io.modelcontextprotocol/clientInfo": VALUES_OF_JSON,
        "io.modelcontextprotocol/logLevel": TEXTS,
    },
)
NEARLY = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": METHODS},
    optional={
        "id": st.integers() | st.text(max_size=8) | SCALARS,
        "params": st.fixed_dictionaries(
            {}, optional={"_meta": NEARLY_META, "name": TEXTS, "uri": TEXTS, "arguments": VALUES_OF_JSON}
        ),
    },
)
MIRRORED = st.fixed_dictionaries(
    {},
    optional={
        "MCP-Protocol-Version": REVISIONS.map(str) | ANY_VALUE,
        "Mcp-Method": METHODS | ANY_VALUE,
        "Mcp-Name": TEXTS | ANY_VALUE,
        "Mcp-Session-Id": ANY_VALUE,
        "Mcp-Param-Region": ANY_VALUE,
    },
)
SCHEMA = {
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
    }
}


@settings(max_examples=500, deadline=None)
@given(value=NEARLY, mirrored=MIRRORED, repeated=st.booleans(), faithful=st.booleans())
def test_any_modern_request_gets_a_decision(value, mirrored, repeated, faithful):
    """Whatever a request says of itself in headers and body, one Decision; what is served contradicts nothing."""
    params = value.get("params", {})
    if faithful:
        name = params.get("uri" if value["method"] == "resources/read" else "name", "")
        mirrored |= {"MCP-Protocol-Version": NOW, "Mcp-Method": value["method"], "Mcp-Name": name}
    headers = [*JSON_HEADERS, *mirrored.items(), *(mirrored.items() if repeated else ())]
    decision = decide("POST", ProtocolHeaders.read(headers), json.dumps(value).encode())
    check(decision)
    if isinstance(decision, Modern):
        assert mirrored["MCP-Protocol-Version"].strip(" \t") == params["_meta"][VERSION] == NOW
        assert mirrored["Mcp-Method"].strip(" \t") == value["method"]
        assert not repeated


@settings(max_examples=300, deadline=None)
@given(
    region=SCALARS | VALUES_OF_JSON,
    count=SCALARS,
    arguments=st.none() | VALUES_OF_JSON | st.just({}),
    headers=st.dictionaries(
        st.sampled_from(["Mcp-Param-Region", "mcp-param-region", "Mcp-Param-Count", "Mcp-Param-X"]), ANY_VALUE
    ),
)
def test_any_arguments_are_held_against_any_headers(region, count, arguments, headers):
    """No argument and no Mcp-Param header raises; a mismatch is 400 -32020."""
    if arguments == {}:
        arguments = {"region": region, "count": count}
    request = Request(1, "tools/call", {"name": "echo", "arguments": arguments})
    refused = refuse_params(Modern(request, NOW, None, None), SCHEMA, headers)
    if refused is not None:
        check(refused)
        assert (refused.status, refused.error.code, refused.id) == (400, -32020, 1)
