"""The ladder: one good request, one thing spoiled; every rung says its status, code, id and rule."""

import json

import pytest
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from archon_transport.protocol import revisions
from archon_transport.protocol.headers import ProtocolHeaders
from archon_transport.protocol.inbound import (
    Batch,
    End,
    Initialize,
    Listen,
    Refused,
    Single,
    decide,
    no_session,
    not_allowed,
    refuse_batch,
    session_needed,
)
from archon_transport.protocol.messages import MAX_BATCH, Notification, Request, Response

META = "io.modelcontextprotocol/protocolVersion"
MODERN = MODERN_PROTOCOL_VERSIONS[-1]
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
    "Mcp-Session-Id": "whatever",
}
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}}
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
ANSWER = {"jsonrpc": "2.0", "id": 3, "result": {}}


def read(headers: dict[str, str | None]) -> ProtocolHeaders:
    return ProtocolHeaders.read([(name, value) for name, value in headers.items() if value is not None])


def body(value) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def post(value, **spoiled):
    headers = HEADERS | {name.replace("_", "-"): text for name, text in spoiled.items()}
    return decide("POST", read(headers), body(value))


def refused(decision, status, code, rule, request_id=None):
    assert isinstance(decision, Refused), decision
    assert (decision.status, decision.error.code, decision.rule, decision.id) == (
        status,
        code,
        rule,
        request_id,
    )
    assert decision.error.message.endswith(".")
    return decision


def test_the_good_request():
    """The request from which every spoiled one is made is served."""
    assert post(CALL) == Single(Request(7, "tools/call", {"name": "echo"}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NOTE, Notification("notifications/initialized", None)),
        (ANSWER, Response(3, result={})),
        ({"jsonrpc": "2.0", "method": "initialize"}, Notification("initialize", None)),
    ],
)
def test_single_messages(value, message):
    """Notifications and answers are messages too; `initialize` without an id asks for nothing."""
    assert post(value) == Single(message)


@pytest.mark.spec("C-16")
def test_initialize_looks_at_no_session_id():
    """`initialize` is one with any session id beside it, and whatever its `_meta` says."""
    meta = INITIALIZE | {"params": INITIALIZE["params"] | {"_meta": {META: MODERN}}}
    assert isinstance(post(INITIALIZE), Initialize)
    assert isinstance(post(INITIALIZE, Mcp_Session_Id=None), Initialize)
    assert isinstance(post(meta), Initialize)


@pytest.mark.spec("H-53")
@pytest.mark.parametrize("revision", [*revisions.HANDSHAKE, None])
def test_every_revision_of_the_handshake_era_is_served(revision):
    """Every handshake revision may stand in the header, or none."""
    assert isinstance(post(CALL, MCP_Protocol_Version=revision), Single)
    assert isinstance(post(INITIALIZE, MCP_Protocol_Version=revision), Initialize)


@pytest.mark.spec("H-53", "E-08", "C-01")
@pytest.mark.parametrize(
    "revision", ["1900-01-01", "", "2025-11-26", "2026-07-29", "2025-11-25,2025-06-18", "x" * 500]
)
@pytest.mark.parametrize("value", [CALL, INITIALIZE])
def test_a_revision_that_is_not_served(revision, value):
    """An unknown revision in the header is 400 -32022 under the request's id, and lists what is served, the
    modern ones first.
    """
    refusal = refused(post(value, MCP_Protocol_Version=revision), 400, -32022, "revision", value["id"])
    assert refusal.error.data["supported"] == [MODERN, "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]
    assert refusal.error.data["requested"] == revision[:64]
    assert all(served in refusal.error.message for served in revisions.SERVED)
    assert len(refusal.error.message) < 250


def test_a_revision_of_any_bytes_is_shown_in_ascii():
    """A header may hold bytes that are no text; the refusal shows them so that it can be encoded."""
    refusal = refused(post(CALL, MCP_Protocol_Version="20\udcff\u00e4"), 400, -32022, "revision", 7)
    assert refusal.error.data["requested"] == "20??"


@pytest.mark.parametrize("value", [NOTE, ANSWER, [CALL], [NOTE]])
def test_a_revision_that_is_not_served_is_refused_without_an_id(value):
    """Where a message asks for no answer, or there are several, the refusal has no id."""
    refused(post(value, MCP_Protocol_Version="1900-01-01"), 400, -32022, "revision")


@pytest.mark.spec("H-53", "C-01")
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_verbs_without_a_body_refuse_such_a_revision_too(verb):
    """GET and DELETE with an unknown revision are 400 without an id."""
    headers = read(HEADERS | {"MCP-Protocol-Version": "1900-01-01"})
    refused(decide(verb, headers, b""), 400, -32022, "revision")


@pytest.mark.spec("C-18", "D-04")
def test_the_modern_era_has_no_initialize():
    """`initialize` under a modern header is 400 -32022 that names what it can be sent with."""
    refusal = refused(post(INITIALIZE, MCP_Protocol_Version=MODERN), 400, -32022, "revision", 1)
    assert refusal.error.data["requested"] == MODERN
    assert set(revisions.HANDSHAKE) < set(refusal.error.data["supported"])


@pytest.mark.spec("J-11")
@pytest.mark.parametrize("claimed", revisions.HANDSHAKE)
def test_a_handshake_revision_in_the_body_is_only_a_remark(claimed):
    """A `_meta` that names a handshake revision changes nothing, the header's or another one."""
    value = CALL | {"params": {"_meta": {META: claimed}}}
    assert isinstance(post(value), Single)
    assert isinstance(post(value, MCP_Protocol_Version=None), Single)


@pytest.mark.spec("J-11")
@pytest.mark.parametrize("meta", [None, 5, "x", [], {}])
def test_a_meta_of_any_shape_is_survived(meta):
    """Whether `_meta` is an object is the kernel's to say; the ladder only looks into one that is."""
    assert isinstance(post(CALL | {"params": {"_meta": meta}}), Single)


@pytest.mark.spec("C-27")
@pytest.mark.parametrize("name", ["Mcp-Session-Id", "MCP-Protocol-Version", "Content-Type", "Last-Event-ID"])
@pytest.mark.parametrize(
    ("verb", "value"), [("POST", CALL), ("POST", [CALL]), ("GET", None), ("DELETE", None)]
)
def test_a_duplicate_header_is_refused(name, verb, value):
    """A protocol header that stands twice is 400, even with the same value, before the session is asked for."""
    headers = ProtocolHeaders.read([*HEADERS.items(), (name, HEADERS.get(name, "x")), (name, "2025-11-25")])
    request_id = 7 if value == CALL else None
    refusal = refused(decide(verb, headers, body(value)), 400, -32600, "duplicate-header", request_id)
    assert name in refusal.error.message


@pytest.mark.spec("E-17", "C-10")
@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/jsonx", "multipart/form-data"])
def test_a_body_of_another_type_is_415(content_type):
    """What is not application/json is 415, before its bytes are read."""
    refused(post(b"{", Content_Type=content_type), 415, -32600, "content-type")


@pytest.mark.spec("C-10")
def test_the_type_has_no_case_and_may_have_parameters():
    """`APPLICATION/JSON; charset=utf-8` is JSON."""
    assert isinstance(post(CALL, Content_Type="APPLICATION/JSON; charset=utf-8"), Single)


@pytest.mark.spec("H-03", "C-09")
@pytest.mark.parametrize("accept", ["text/html", "", "application/json;q=0", "application/jsonx, text/plain"])
def test_a_post_that_accepts_neither_form_is_406(accept):
    """A client that takes neither JSON nor events cannot be answered."""
    refused(post(CALL, Accept=accept), 406, -32600, "accept")


@pytest.mark.spec("C-09")
@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/event-stream", "application/*"])
def test_a_post_is_answered_leniently(accept):
    """Either form in Accept is enough, and so is no Accept at all."""
    assert isinstance(post(CALL, Accept=accept), Single)


@pytest.mark.spec("J-15", "S-14", "E-01", "C-11")
@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":1,"a":2}', b"\xff", b"[" * 65 + b"]" * 65])
def test_a_body_that_is_not_json_is_a_parse_error(raw):
    """400 -32700 without an id."""
    refused(post(raw), 400, -32700, "json")


@pytest.mark.spec("J-02", "J-15", "H-04", "H-06", "E-02", "C-12", "C-13")
@pytest.mark.parametrize(
    ("value", "request_id"),
    [
        (5, None),
        (None, None),
        ("text", None),
        ({}, None),
        (CALL | {"id": None}, None),
        (CALL | {"id": True}, None),
        (CALL | {"id": 1.0}, None),
        (CALL | {"jsonrpc": "1.0"}, 7),
        (CALL | {"method": 5}, 7),
        (CALL | {"params": []}, 7),
        ({"jsonrpc": "2.0", "id": "a"}, "a"),
        (NOTE | {"params": []}, None),
    ],
    ids=str,
)
def test_json_that_is_no_message(value, request_id):
    """400 -32600 under the id where one could be read; `id: null` is not a notification."""
    refused(post(value), 400, -32600, "message", request_id)


@pytest.mark.spec("E-16", "C-34")
@pytest.mark.parametrize("verb", ["PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "post", "BREW"])
def test_other_verbs(verb):
    """405 that lists the verbs that are."""
    assert refused(decide(verb, read(HEADERS), b""), 405, -32600, "method").allow == "POST, GET, DELETE"


def test_get_and_delete():
    """A GET asks for the stream, a DELETE ends the session; neither looks at a body's type."""
    assert decide("GET", read({"Accept": "text/event-stream"}), b"") == Listen()
    assert decide("GET", read({}), b"") == Listen()
    assert decide("DELETE", read({}), b"") == End()


@pytest.mark.spec("H-26")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream;q=0", "text/html"])
def test_a_get_answers_events_only(accept):
    """A GET that does not take an event stream is 406."""
    refused(decide("GET", read({"Accept": accept}), b""), 406, -32600, "accept")


# --- batches

BATCHES = [("2024-11-05", True), ("2025-03-26", True), ("2025-06-18", False), ("2025-11-25", False)]


def call(request_id):
    return CALL | {"id": request_id}


@pytest.mark.spec("H-60", "H-61", "C-35")
@pytest.mark.parametrize(
    "members",
    [
        [call(1)],
        [call(1), call("1")],
        [call(1), NOTE, call(2)],
        [NOTE, NOTE],
        [ANSWER, ANSWER | {"id": 4}],
        [call(n) for n in range(MAX_BATCH)],
    ],
    ids=len,
)
def test_a_batch_is_read(members):
    """Requests and notifications, or answers only; 1 and "1" are two ids."""
    batch = post(members)
    assert isinstance(batch, Batch)
    assert len(batch.members) == len(members)
    assert [request.id for request in batch.requests] == [
        m["id"] for m in members if m.get("method") == "tools/call"
    ]


@pytest.mark.spec("H-61", "H-65", "H-67")
@pytest.mark.parametrize(
    "members",
    [
        [],
        [call(n) for n in range(MAX_BATCH + 1)],
        [INITIALIZE],
        [call(7), INITIALIZE],
        [call(1), call(2), call(1)],
        [call("a"), call("a")],
        [call(1), ANSWER],
        [NOTE, ANSWER],
        [call(1), 5],
        [call(1), []],
        [[call(1)]],
        [call(1), call(None)],
        [call(1), call(True)],
        [call(1), {}],
    ],
    ids=lambda members: str(members)[:40],
)
def test_a_batch_is_refused_whole(members):
    """Empty, too long, with `initialize`, equal ids, both kinds or a member that is none: nothing of it
    runs.
    """
    refused(post(members), 400, -32600, "batch")


@pytest.mark.spec("H-60", "H-66", "H-68", "C-14", "C-15")
@pytest.mark.parametrize(("revision", "allowed"), BATCHES)
def test_only_the_first_two_revisions_have_batches(revision, allowed):
    """2025-03-26 has batches and 2024-11-05 counts as it; 2025-06-18 took them out."""
    refusal = refuse_batch(revision)
    if allowed:
        assert refusal is None
    else:
        assert revision in refused(refusal, 400, -32600, "batch").error.message


# --- what the endpoint says itself


def test_a_lost_session_says_what_to_do():
    """The 404 and the 400 about sessions name `initialize`, and the 404 tells no two cases apart."""
    assert (no_session().status, session_needed().status) == (404, 400)
    assert "initialize" in no_session().error.message
    assert "initialize" in session_needed().error.message
    assert no_session() == no_session()


def test_not_allowed_lists_what_is():
    """A 405 carries Allow."""
    refusal = not_allowed("No.", "POST, DELETE")
    assert (refusal.status, refusal.allow) == (405, "POST, DELETE")


def test_the_assumed_revision_is_served():
    """What a request without session and header speaks is a revision of ours, and the newest stands first."""
    assert revisions.is_handshake(revisions.ASSUMED)
    assert list(revisions.SERVED) == sorted(revisions.SERVED, reverse=True)
    assert not any(revisions.is_handshake(revision) for revision in revisions.MODERN)
    assert not any(revisions.is_modern(revision) for revision in revisions.HANDSHAKE)
