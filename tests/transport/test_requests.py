"""Requests, notifications and answers of a live session: statuses, ids, errors, media types, paths."""

import asyncio
import json
import logging

import pytest
from mcp.shared.exceptions import MCPError
from opentelemetry import trace

from archon_transport.store.memory import MemoryStore
from tests.transport.house import SECRET, Works, request, running, text, tool_call, until

REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.mark.spec("J-02", "J-05")
@pytest.mark.parametrize(
    "id", [0, -5, 7, 2**60, 10**40, "", "7", "ä😀", "x" * 500], ids=lambda id: repr(id)[:10]
)
async def test_an_id_is_echoed_with_its_type(house, session, id):
    """A response has its request's id exactly: 7 is not "7"."""
    answer = await house.post(request(id, "ping"), session)
    assert (answer.status, answer.body) == (200, {"jsonrpc": "2.0", "id": id, "result": {}})
    assert type(answer.body["id"]) is type(id)


@pytest.mark.spec("J-01", "H-07")
async def test_tools_are_listed_and_called(house, session):
    """A request is answered 200 as one JSON object."""
    listed = await house.ask("tools/list", session=session)
    assert "echo" in [tool["name"] for tool in listed.body["result"]["tools"]]
    assert (await house.call("echo", session, value="ä😀")).said == "ä😀"
    assert (await house.ask("prompts/list", session=session)).body["result"]["prompts"] == [{"name": "greet"}]


@pytest.mark.spec("H-84", "H-90")
async def test_a_request_before_initialized_is_served(house, session):
    """A client that does not say `initialized` first is served all the same."""
    assert (await house.ask("ping", session=session)).status == 200
    assert (await house.ask("tools/list", session=session)).status == 200


@pytest.mark.spec("J-15", "H-08")
async def test_an_error_answer_rides_a_200(house, session):
    """In a live session 404 would mean a lost session, so an unknown method is 200 with -32601."""
    answer = await house.ask("no/such/method", session=session, id="a")
    assert (answer.status, answer.body["id"], answer.error["code"]) == (200, "a", -32601)
    answer = await house.ask("resources/read", {"uri": "x:y"}, session)
    assert (answer.status, answer.error["code"]) == (200, -32601)


@pytest.mark.spec("J-15", "H-08", "S-16")
async def test_bad_params_are_minus_32602(house, session):
    """Params that do not fit are -32602 without a validator's text."""
    for params in ({}, {"name": 5}, {"name": "echo", "arguments": []}):
        answer = await house.ask("tools/call", params, session)
        assert (answer.status, answer.error["code"]) == (200, -32602)
        assert "pydantic" not in answer.raw.decode()
    unknown = await house.call("no-such-tool", session)
    assert (unknown.status, unknown.error["code"]) == (200, -32602)


@pytest.mark.spec("J-06")
async def test_a_handlers_own_error_is_passed_on(house, session):
    """An MCPError goes to the client as it is."""
    error = (await house.call("refuse", session)).error
    assert error == {"code": -32050, "message": "Not today.", "data": {"until": "tomorrow"}}


async def test_a_tool_that_says_no_is_a_result(house, session):
    """`isError` is a result of 200."""
    assert (await house.call("iserror", session)).body["result"]["isError"] is True


@pytest.mark.spec("J-15", "S-16", "E-05")
async def test_a_crash_tells_the_log_and_not_the_client(house, session, caplog):
    """A handler's exception is -32603 with a fixed text; its own text goes to the log."""
    with caplog.at_level(logging.ERROR):
        answer = await house.call("boom", session, id="b")
    assert (answer.status, answer.body["id"], answer.error["code"]) == (200, "b", -32603)
    assert SECRET not in answer.raw.decode()
    assert SECRET in caplog.text
    assert (await house.ask("ping", session=session)).status == 200


@pytest.mark.parametrize("tool", ["surrogate", "lost"])
async def test_an_answer_that_cannot_be_sent_is_a_crash(house, session, tool, caplog):
    """A text that is no Unicode, and a handler that gives itself up, are -32603 and do not speak of a
    stop.
    """
    answer = await house.call(tool, session)
    assert (answer.status, answer.error["code"]) == (200, -32603)
    assert "stopped" not in answer.error["message"]
    await until(lambda: len(house.transport.calls) == 0)


async def test_numbers_that_json_does_not_have_become_null(house, session):
    """A tool's NaN does not make the answer unreadable for a strict reader."""
    answer = await house.call("nan", session)
    result = json.loads(answer.raw, parse_constant=pytest.fail)["result"]
    assert result["structuredContent"] == {"score": None}


@pytest.mark.spec("H-102")
async def test_what_json_cannot_carry_is_dropped_or_refused(house, session):
    """In a JSON answer a handler's notifications are dropped and its questions fail."""
    only = {"Accept": "application/json"}
    assert (await house.ask("tools/call", {"name": "tell"}, session, **only)).said == "told"
    answer = await house.ask("tools/call", {"name": "ask"}, session, **only)
    assert answer.status == 200
    assert "error" in answer.body


@pytest.mark.spec("H-114", "M-100")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}},
        ),
        ("logging/setLevel", {"level": "debug"}),
        ("resources/list", {}),
        ("resources/subscribe", {"uri": "file:///a"}),
        ("tasks/list", {}),
    ],
)
async def test_what_a_server_does_not_declare_it_does_not_have(house, method, params):
    """What is there is declared at `initialize`, with no notices that are not sent; the rest is -32601."""
    opened = await house.initialize()
    declared = opened.body["result"]["capabilities"]
    assert declared == {"prompts": {"listChanged": False}, "tools": {"listChanged": False}}
    answer = await house.ask(method, params, opened.headers["Mcp-Session-Id"])
    assert (answer.status, answer.error["code"]) == (200, -32601)


@pytest.mark.spec("H-117", "H-119", "E-09", "E-10")
@pytest.mark.parametrize(("code", "data"), [(-32002, None), (-32042, {"elicitations": []})])
async def test_codes_of_this_era_are_passed_on(code, data):
    """A handler may say that a resource is not there, or send a person to a URL, in this era's own codes."""

    class Refusing(Works):
        async def refuse(self, context):
            raise MCPError(code, "Elsewhere.", data)

    async with running(MemoryStore(), works=Refusing()) as house:
        answer = await house.call("refuse", await house.connect())
        assert answer.status == 200
        assert (answer.error["code"], answer.error.get("data")) == (code, data)


@pytest.mark.spec("D-12")
@pytest.mark.parametrize("revision", REVISIONS)
async def test_answers_have_no_field_of_the_modern_era(house, revision):
    """A strict client of an older revision finds nothing in a result that its schema does not have."""
    opened = await house.initialize(revision)
    session = opened.headers["Mcp-Session-Id"]
    called = await house.call("echo", session, value="x")
    answers = [
        opened,
        called,
        await house.ask("ping", session=session),
        await house.ask("tools/list", session=session),
        await house.ask("prompts/list", session=session),
    ]
    for answer in answers:
        assert not {"resultType", "ttlMs", "cacheScope", "_meta"} & set(answer.body["result"])
    assert called.body["result"] == {"content": [{"type": "text", "text": "x"}], "isError": False}


@pytest.mark.spec("O-02")
@pytest.mark.parametrize(
    "keys",
    [
        {"traceparent": 5, "tracestate": [1], "baggage": {}},
        {"traceparent": "garbage", "tracestate": "=", "baggage": "\x00"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-00"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" * 100},
    ],
    ids=lambda keys: str(keys)[:30],
)
async def test_a_trace_that_cannot_be_read_does_no_harm(house, session, keys):
    """Whatever stands in the keys of trace context, the request is served."""
    answer = await house.ask(
        "tools/call", {"name": "echo", "arguments": {"value": "x"}, "_meta": keys}, session
    )
    assert (answer.status, answer.said) == (200, "x")


@pytest.mark.spec("O-02")
async def test_a_trace_goes_on():
    """The span in which a handler runs belongs to the trace that the request's `_meta` names."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    class Traced(Works):
        async def echo(self, context):
            return text(f"{trace.get_current_span().get_span_context().trace_id:032x}")

    async with running(MemoryStore(), works=Traced()) as house:
        meta = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        answer = await house.ask("tools/call", {"name": "echo", "_meta": meta}, await house.connect())
        assert answer.said == trace_id


# --- notifications and answers


@pytest.mark.spec("J-08", "H-05", "H-93", "H-120", "C-28")
@pytest.mark.parametrize(
    "value",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/unheard/of", "params": {"a": 1}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {"a": 1}}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": None}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1.5}},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"bad": True}},
        {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "echo"}},
        {"jsonrpc": "2.0", "id": 5, "result": {}},
        {"jsonrpc": "2.0", "id": "unknown", "error": {"code": 1, "message": "no"}},
        {"jsonrpc": "2.0", "error": {"code": -32700, "message": "no"}},
    ],
    ids=lambda value: str(value)[17:75],
)
async def test_what_asks_for_nothing_is_202_without_a_body(house, session, value, caplog):
    """Notifications, malformed cancellations and answers nobody waits for are 202, empty, and no error of
    ours.
    """
    with caplog.at_level(logging.ERROR):
        answer = await house.post(value, session)
    assert (answer.status, answer.raw) == (202, b"")
    assert caplog.text == ""


async def test_a_notification_reaches_its_handler(house, session, caplog):
    """A notification is handled, apart from its exchange; what its handler raises is logged only."""
    answer = await house.note("notifications/noted", session=session)
    assert answer.status == 202
    await until(house.works.noted.is_set)
    await until(lambda: SECRET in caplog.text)
    assert (await house.ask("ping", session=session)).status == 200


async def test_initialized_reaches_the_row(house, store, session):
    """`notifications/initialized` is written to the session's row."""
    await house.note("notifications/initialized", session=session)
    await house.transport.writer.flush()
    (row,) = await store.page()
    assert row.initialized


async def test_totals_are_added_to_the_row(house, store, session):
    """Requests, errors and bytes of a session are counted in its row."""
    await house.transport.writer.flush()
    before = store._rows[session.partition(".")[0]].bytes_out  # the answer to initialize
    sent = [
        await house.call("echo", session, value="x"),
        await house.call("boom", session),
        await house.call("iserror", session),
    ]
    await house.transport.writer.flush()
    row = store._rows[session.partition(".")[0]]
    assert (row.requests, row.errors) == (3, 2)
    assert row.bytes_out == before + sum(len(answer.raw) for answer in sent)
    assert row.bytes_in > 100


# --- sessions on the wire


@pytest.mark.spec("H-47", "C-07")
async def test_no_session_id_where_one_is_needed(house, store):
    """Without the header a request is 400 -32600 that says what to send, and nothing is made."""
    for value, id in ((request(7, "ping"), 7), ({"jsonrpc": "2.0", "method": "notifications/x"}, None)):
        answer = await house.post(value)
        assert (answer.status, answer.error["code"], answer.body["id"]) == (400, -32600, id)
        assert "Mcp-Session-Id" in answer.error["message"]
    assert (await house.send("DELETE")).status == 400
    assert await store.count() == 0


@pytest.mark.spec("H-54")
async def test_no_session_id_where_none_is_needed():
    """Where no id is required a request is served alone, by the header's revision, and makes no session."""
    store = MemoryStore()
    async with running(store, require_session_id=False) as house:
        said = json.loads((await house.call("whoami")).said)
        assert (said["session"], said["protocol_version"]) == (None, "2025-03-26")
        answer = await house.ask("tools/call", {"name": "whoami"}, MCP_Protocol_Version="2025-06-18")
        assert json.loads(answer.said)["protocol_version"] == "2025-06-18"
        assert (await house.note("notifications/noted")).status == 202
        await until(house.works.noted.is_set)
        assert (await house.note("notifications/cancelled", {"requestId": 1})).status == 202
        assert (await house.send("DELETE")).status == 400
        answer = await house.send("GET")
        assert (answer.status, "GET" in answer.headers["Allow"]) == (405, False)
        assert (await house.ask("ping", session="nonsense")).status == 404, "an id that is given must be good"
        assert await store.count() == 0


async def test_requests_without_a_session_do_not_meet():
    """Two clients without a session may use one id at a time, and one cannot cancel the other."""
    async with running(MemoryStore(), require_session_id=False) as house:
        both = [asyncio.create_task(house.call("slow", id=1)) for _ in range(2)]
        await until(lambda: len(house.transport.calls) == 2)
        await house.note("notifications/cancelled", {"requestId": 1})
        house.works.release.set()
        assert [(await answer).said for answer in both] == ["done", "done"]


@pytest.mark.spec("H-46", "E-15", "C-08")
@pytest.mark.parametrize("verb", ["POST", "GET", "DELETE"])
async def test_an_unknown_session_is_404_for_every_verb(house, session, verb):
    """Unknown, malformed, ended and wrong-secret ids are one and the same 404 that says `initialize`."""
    ended = await house.connect()
    await house.send("DELETE", session=ended)
    public, _, secret = session.partition(".")
    wrong = f"{public}.{'A' * len(secret)}"
    body = json.dumps(request(7, "ping")).encode() if verb == "POST" else None
    answers = [await house.send(verb, body, id) for id in ("nonsense", ended, wrong, public, "")]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.raw for answer in answers}) == 1
    assert "initialize" in answers[0].error["message"]
    assert answers[0].body["id"] == (7 if verb == "POST" else None)
    assert (await house.ask("ping", session=session)).status == 200, "the session itself is untouched"


@pytest.mark.spec("H-46", "H-49", "H-86", "E-15", "C-25")
async def test_delete_ends_a_session(house, store, session):
    """DELETE is 200, then everything of that session is 404, and a second DELETE too."""
    answer = await house.send("DELETE", session=session)
    assert (answer.status, answer.raw) == (200, b"")
    assert (await house.ask("ping", session=session)).status == 404
    assert (await house.send("DELETE", session=session)).status == 404
    assert await store.count() == 0


@pytest.mark.spec("H-26", "E-17", "C-20")
async def test_a_get_that_takes_no_stream_is_406(house, session):
    """A GET is answered by an event stream or not at all."""
    answer = await house.send("GET", session=session, Accept="application/json")
    assert (answer.status, answer.error["code"]) == (406, -32600)


@pytest.mark.spec("E-16", "C-34")
@pytest.mark.parametrize("verb", ["PUT", "PATCH", "OPTIONS"])
async def test_other_verbs_are_405(house, session, verb):
    """Any other verb is 405 with a JSON-RPC error and Allow."""
    answer = await house.send(verb, session=session)
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST, GET, DELETE"
    assert answer.error["code"] == -32600


# --- the revision


@pytest.mark.spec("H-54", "H-55", "C-03", "C-04")
@pytest.mark.parametrize("header", [*REVISIONS, None])
@pytest.mark.parametrize("negotiated", ["2025-03-26", "2025-11-25"])
async def test_the_row_decides_the_revision(house, negotiated, header):
    """A supported header that differs from the negotiated revision neither raises nor lowers it."""
    session = await house.connect(negotiated)
    answer = await house.ask("tools/call", {"name": "whoami"}, session, MCP_Protocol_Version=header)
    assert json.loads(answer.said)["protocol_version"] == negotiated


@pytest.mark.spec("H-53", "E-08", "C-01")
async def test_an_unknown_revision_is_400(house, session):
    """-32022 under the request's id, listing what is served; the session is not harmed."""
    answer = await house.ask("ping", session=session, id=9, MCP_Protocol_Version="1900-01-01")
    assert (answer.status, answer.error["code"], answer.body["id"]) == (400, -32022, 9)
    assert answer.error["data"] == {"supported": ["2026-07-28", *REVISIONS[::-1]], "requested": "1900-01-01"}
    assert (await house.send("GET", session=session, MCP_Protocol_Version="1900-01-01")).status == 400
    assert (await house.send("DELETE", session=session, MCP_Protocol_Version="1900-01-01")).status == 400
    assert (await house.ask("ping", session=session)).status == 200


@pytest.mark.spec("J-07", "C-11")
async def test_an_unreadable_id_is_left_out_or_null(house, session):
    """An error without an id has none at 2025-11-25, and null for older revisions, whose schemas want one."""
    newer = await house.send("POST", b"{", session, MCP_Protocol_Version="2025-11-25")
    older = await house.send("POST", b"{", session, MCP_Protocol_Version="2025-03-26")
    assert newer.error["code"] == older.error["code"] == -32700
    assert "id" not in newer.body
    assert older.body["id"] is None


# --- media types and paths


@pytest.mark.spec("E-17", "C-09", "C-10")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/jsonx"}, 415),
        ({"Content_Type": "APPLICATION/JSON; charset=utf-8"}, 200),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "application/json;q=0, text/html"}, 406),
        ({"Accept": "application/json"}, 200),
        ({"Accept": "text/event-stream"}, 200),
        ({"Accept": "*/*"}, 200),
    ],
    ids=str,
)
async def test_media_types(house, session, headers, status):
    """A body that is not JSON is 415 and a client that takes no form of ours 406, both as JSON-RPC errors."""
    answer = await house.ask("ping", session=session, **headers)
    assert answer.status == status
    assert ("error" in answer.body) == (status != 200)


async def test_a_trailing_slash_is_the_same_address(house, session):
    """`/mcp/` is served as `/mcp`, without a redirect."""
    body = json.dumps(request(1, "ping")).encode()
    assert (await house.send("POST", body, session, path="/")).status == 200
    assert (await house.send("DELETE", session=session, path="/")).status == 200


@pytest.mark.parametrize(("path", "address"), [("/", ""), ("/a/b", "/a/b"), ("/a/b", "/a/b/")])
async def test_other_paths(path, address):
    """Any path may be the address, the root too."""
    async with (
        running(MemoryStore(), path=path) as house,
        house.http.post(
            f"http://127.0.0.1:{house.port}{address}",
            json=request(
                1,
                "initialize",
                {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "a", "version": "1"},
                },
            ),
        ) as response,
    ):
        assert response.status == 200


# --- secrets


async def test_no_error_and_no_log_tells_a_secret(house, session, caplog):
    """The secret half of a session's id is in no answer after `initialize` and in no line of the log."""
    secret = session.partition(".")[2]
    with caplog.at_level(logging.DEBUG):
        answers = [
            await house.call("echo", session, value="x"),
            await house.call("boom", session),
            await house.call("whoami", session),
            await house.send("POST", b"{", session),
            await house.ask("ping", session=session, MCP_Protocol_Version="1900-01-01"),
            await house.ask("ping", session=session + "x"),
            await house.send("GET", session=session, Last_Event_ID="nonsense"),
            await house.send("DELETE", session=session),
            await house.ask("ping", session=session),
        ]
    assert not [answer for answer in answers if secret in answer.raw.decode() + str(answer.headers)]
    assert secret not in caplog.text
    assert secret not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.spec("S-16", "C-11", "C-12")
async def test_a_body_is_not_quoted(house, session, caplog):
    """Neither a refusal nor the log quotes a body that was refused."""
    with caplog.at_level(logging.DEBUG):
        for body in (
            b'{"password": "hunter2"',
            b'{"jsonrpc": "2.0", "id": 1, "hunter2": 1}',
            b'[{"hunter2": 1}]',
        ):
            answer = await house.send("POST", body, session)
            assert answer.status == 400
            assert b"hunter2" not in answer.raw
    assert "hunter2" not in caplog.text


async def test_tool_calls_of_one_session_overlap(house, session):
    """Two requests of one session run side by side."""
    answers = await asyncio.gather(
        house.post(tool_call(1, "meet"), session), house.post(tool_call("1", "meet"), session)
    )
    assert [answer.body["id"] for answer in answers] == [1, "1"]
    assert [answer.said for answer in answers] == ["met", "met"]
