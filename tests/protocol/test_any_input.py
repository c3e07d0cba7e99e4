"""Whatever arrives, the ladder decides: properties over any bytes and any headers."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from archon_transport.protocol.headers import ProtocolHeaders
from archon_transport.protocol.inbound import (
    Batch,
    End,
    Initialize,
    Listen,
    Refused,
    Single,
    decide,
)
from archon_transport.protocol.messages import Request, encode, error_of

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
META = st.dictionaries(
    st.just("io.modelcontextprotocol/protocolVersion"), st.sampled_from(["2026-07-28", "2025-06-18", "", 5])
)
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
    assert isinstance(decision, Refused | Initialize | Single | Batch | Listen | End)
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
        case Single(Request() as request) | Initialize(request):
            assert type(request.id) in (int, str)
        case Batch() as batch:
            ids = [(type(request.id), request.id) for request in batch.requests]
            assert len(ids) == len(set(ids))
            assert 0 < len(batch.members) <= 100
