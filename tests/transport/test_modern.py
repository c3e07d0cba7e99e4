"""The modern era over a real socket: what a request is answered with, and what leaves no trace."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from mcp.server.auth.provider import AccessToken
from mcp.server.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged

from archon_transport.store import PostgresStore
from archon_transport.store.memory import MemoryStore
from archon_transport.transport import StoreBus, viewers
from tests.faults.proxy import Proxy
from tests.transport.house import SECRET, handshake, post_bytes, raw, request, until
from tests.transport.modern_house import (
    CAPABILITIES,
    LOG_LEVEL,
    NOW,
    SERVER_INFO,
    SUBSCRIPTION,
    ask,
    call,
    event,
    events,
    message,
    meta,
    mirrored,
    modern_running,
    opened,
    sealed,
)

INFO = {"name": "house", "version": "1"}
PROGRESS = meta(progressToken="p")
ONLY_JSON = {"Accept": "application/json"}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def bus(store):
    return StoreBus(store)


@pytest.fixture(params=[True, False], ids=["ids required", "ids not required"])
async def house(request, store, bus):
    """Whether the handshake era wants session ids may not matter here."""
    async with modern_running(store, bus, require_session_id=request.param) as house:
        yield house


@pytest.fixture(params=[False, True], ids=["detached", "handler_cancellation"])
async def either(request, store, bus):
    """Nor whether the host application cancels handlers of clients that went away."""
    async with modern_running(store, bus, handler_cancellation=request.param) as house:
        yield house


def nothing_runs(house) -> bool:
    return len(house.transport.calls) == 0 and len(house.transport.viewers) == 0


# --- plain answers


@pytest.mark.spec("M-65", "M-66", "M-67", "M-68", "M-57", "M-58", "C-02")
async def test_discover(house):
    """`server/discover` says the modern revisions, what the server can do, who it is, and for how long that holds."""
    answer = await ask(house, "server/discover")
    assert answer.status == 200
    result = answer.body["result"]
    assert result["supportedVersions"] == [NOW]
    assert result["instructions"] == "Knock."
    assert "tools" in result["capabilities"]
    assert (result["resultType"], result["_meta"][SERVER_INFO]) == ("complete", INFO)
    assert isinstance(result["ttlMs"], int) and result["cacheScope"] in ("public", "private")


@pytest.mark.spec("M-57", "M-58", "M-91")
async def test_a_list_and_its_cache_hints(house):
    """A list has a result type, the server's name, and the hints that the server gives."""
    answer = await ask(house, "tools/list", id="a")
    result = answer.body["result"]
    assert (answer.status, answer.body["id"]) == (200, "a")
    assert (result["ttlMs"], result["cacheScope"], result["resultType"]) == (5000, "public", "complete")
    assert result["_meta"][SERVER_INFO] == INFO
    assert {"echo", "region"} <= {tool["name"] for tool in result["tools"]}


@pytest.mark.spec("M-07", "M-57", "J-05")
@pytest.mark.parametrize("id", [1, "1", 0, -5, "", 2**60])
async def test_a_call(house, id):
    """A call that says nothing on the way is plain JSON under its own id."""
    answer = await call(house, "echo", id, value="ä")
    assert (answer.status, answer.body["id"], answer.said) == (200, id, "ä")
    assert answer.body["result"]["resultType"] == "complete"


@pytest.mark.spec("M-12", "M-13", "D-07")
@pytest.mark.parametrize("named", [{}, {"Mcp_Session_Id": "unknown"}, {"Last_Event_ID": "x.1.1"}])
async def test_nothing_is_asked_of_a_session(house, named):
    """A session id and a place in a stream are ignored, unknown or live, and none is sent."""
    live = await house.connect()
    for headers in (named, named | {"Mcp_Session_Id": live}):
        answer = await call(house, "whoami", headers=headers)
        assert answer.status == 200
        facts = json.loads(answer.said)
        assert (facts["session"], facts["protocol_version"]) == (None, NOW)
        assert "Mcp-Session-Id" not in answer.headers
    assert house.transport.sessions.opened == 1


@pytest.mark.spec("M-39", "M-60")
async def test_requests_on_one_connection_know_nothing_of_each_other(house):
    """What one request declared is not known to the next one on the same connection."""
    able = meta(**{CAPABILITIES: {"sampling": {}}})
    assert (await call(house, "needs", said=able)).said == "sampled"
    assert (await call(house, "needs")).status == 400


@pytest.mark.spec("J-04")
async def test_one_id_many_times(house):
    """Ids of strangers collide freely: equal ones run beside each other."""
    calls = [asyncio.create_task(call(house, "slow", 7)) for _ in range(3)]
    await until(lambda: len(house.transport.calls) == 3)
    house.works.release.set()
    assert [(await each).said for each in calls] == ["done"] * 3


@pytest.mark.spec("M-05", "M-06", "C-29")
async def test_a_notification_is_dropped(house):
    """A cancellation that is posted is 202 without a body, and cancels nobody's request."""
    running = asyncio.create_task(call(house, "slow", 7))
    await house.works.began.wait()
    note = {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 7, "_meta": meta()},
    }
    answer = await house.post(note, MCP_Protocol_Version=NOW)
    assert (answer.status, answer.raw) == (202, b"")
    house.works.release.set()
    assert (await running).said == "done"


@pytest.mark.spec("M-02", "E-16")
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_everything_is_a_post(house, verb):
    """GET and DELETE under a modern header are 405, also with a live session's id, which stays."""
    session = await house.connect()
    answer = await house.send(verb, session=session, MCP_Protocol_Version=NOW)
    assert (answer.status, answer.headers["Allow"], answer.error["code"]) == (405, "POST", -32600)
    assert (await house.call("echo", session)).status == 200


# --- errors


@pytest.mark.spec("M-37", "E-03", "E-15", "H-08")
@pytest.mark.parametrize(
    "method",
    [
        "nothing",
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/get",
        "tools/",
    ],
)
async def test_a_method_that_is_not_there(house, method):
    """404 with -32601 under the request's id, for those that the era took away as well."""
    answer = await ask(house, method, id="x", level="info", uri="file:///a")
    assert (answer.status, answer.error["code"], answer.body["id"]) == (404, -32601, "x")


@pytest.mark.spec("M-37", "D-04", "C-18")
async def test_initialize_of_this_era(house):
    """`initialize` under a modern header is 400 -32022, makes no session, and names the revisions that have it."""
    value = request(1, "initialize", handshake("2025-11-25"))
    answer = await house.post(value, MCP_Protocol_Version=NOW, Mcp_Method="initialize")
    assert (answer.status, answer.error["code"], answer.body["id"]) == (400, -32022, 1)
    assert "2025-11-25" in answer.error["data"]["supported"]
    assert "Mcp-Session-Id" not in answer.headers and house.transport.sessions.opened == 0


@pytest.mark.spec("D-08")
async def test_initialize_that_asks_for_this_era(house):
    """Without a modern header it is answered with the newest revision that has it."""
    answer = await house.initialize(NOW)
    assert answer.body["result"]["protocolVersion"] == "2025-11-25"
    assert not {"resultType", "_meta", "ttlMs"} & set(answer.body["result"])


@pytest.mark.spec("M-93", "J-18", "E-09", "E-10")
@pytest.mark.parametrize("tool", ["gone", "url"])
async def test_codes_of_the_other_era(house, tool):
    """A handler that raises -32002 or -32042 is answered with 400 -32602; a session gets what it raised."""
    answer = await call(house, tool)
    assert (answer.status, answer.error["code"]) == (400, -32602)
    legacy = await house.call(tool, await house.connect())
    assert (legacy.status, legacy.error["code"]) == (200, -32002 if tool == "gone" else -32042)


@pytest.mark.spec("M-93", "M-95", "E-04")
async def test_a_resource_that_is_not_there(house):
    """400 -32602 with what the handler says of it."""
    answer = await ask(house, "resources/read", uri="file:///nothing")
    assert (answer.status, answer.error["code"]) == (400, -32602)
    assert answer.error["data"] == {"uri": "file:///nothing"}


@pytest.mark.spec("S-16", "E-05", "M-95")
async def test_a_crash_tells_nothing(house, caplog):
    """A handler that crashes is 200 -32603 without a word of why, which is in the log."""
    with caplog.at_level(logging.CRITICAL, "archon_transport"):
        answer = await call(house, "boom")
    assert (answer.status, answer.error["code"]) == (200, -32603)
    assert SECRET.encode() not in answer.raw


@pytest.mark.spec("M-38", "E-07")
async def test_a_capability_that_the_client_has_not(house):
    """400 -32021 that says which."""
    answer = await call(house, "needs")
    assert (answer.status, answer.error["code"]) == (400, -32021)
    assert answer.error["data"] == {"requiredCapabilities": {"sampling": {}}}


@pytest.mark.spec("M-53", "M-81")
async def test_a_handler_cannot_ask_the_client(house):
    """Nothing is asked on any stream: a handler that tries gets an error, and so does its caller."""
    answer = await call(house, "wish")
    assert "error" in answer.body and SECRET.encode() not in answer.raw


@pytest.mark.spec("M-22", "M-23", "M-26", "M-27", "M-31", "C-05", "C-06")
@pytest.mark.parametrize(
    "headers",
    [
        {"MCP_Protocol_Version": None},
        {"MCP_Protocol_Version": "2025-11-25"},
        {"Mcp_Method": None},
        {"Mcp_Method": "TOOLS/CALL"},
        {"Mcp_Name": None},
        {"Mcp_Name": "Echo"},
        {"Mcp_Name": "=?base64?ZWNobw?="},
    ],
    ids=str,
)
async def test_headers_that_contradict_the_body(house, headers):
    """400 -32020 under the request's id, with a live session's id beside it or without."""
    for session in (None, await house.connect()):
        answer = await call(house, "echo", 9, headers=headers | {"Mcp_Session_Id": session})
        assert (answer.status, answer.error["code"], answer.body["id"]) == (400, -32020, 9)


@pytest.mark.spec("M-24")
async def test_a_revision_of_the_future(house):
    """400 -32022 that lists what `server/discover` lists."""
    said = meta(**{"io.modelcontextprotocol/protocolVersion": "2027-01-01"})
    answer = await call(house, "echo", said=said, headers={"MCP_Protocol_Version": "2027-01-01"})
    assert (answer.status, answer.error["code"]) == (400, -32022)
    assert answer.error["data"]["supported"] == [NOW]


@pytest.mark.spec("M-32", "C-27")
@pytest.mark.parametrize(
    "line", ["Mcp-Name: echo", "Mcp-X: \xff", "Mcp-Method: tools/call", f"MCP-Protocol-Version: {NOW}"]
)
async def test_lines_as_they_stand_on_the_wire(house, line):
    """A header that stands twice or holds a foreign byte is 400 -32020."""
    value = message("tools/call", name="echo")
    good = [f"{name}: {said}" for name, said in mirrored(value).items()]
    body = json.dumps(value).encode()
    good_answer, bad_answer = await raw(
        house.port, post_bytes(body, *good), post_bytes(body, *good, line), answers=2
    )
    assert good_answer[0] == 200
    assert (bad_answer[0], json.loads(bad_answer[2])["error"]["code"]) == (400, -32020)


@pytest.mark.spec("M-03", "C-09", "E-17")
@pytest.mark.parametrize("headers", [{"Accept": "text/html"}, {"Content_Type": "text/plain"}])
async def test_forms_that_nobody_has(house, headers):
    """406 and 415 have a JSON body in this era too."""
    answer = await call(house, "echo", headers=headers)
    assert answer.status in (406, 415) and answer.error["code"] == -32600


# --- streams


@pytest.mark.spec("M-07", "M-13", "M-52", "M-54", "M-55", "M-99")
async def test_progress_makes_a_stream(house):
    """A call that reports progress is a stream: no ids, no session id, the response last, and nobody buffers it."""
    answer = await call(house, "progress", "c", PROGRESS)
    assert (answer.status, answer.headers["X-Accel-Buffering"]) == (200, "no")
    assert "Mcp-Session-Id" not in answer.headers
    *notes, response = events(answer)
    assert [note["params"] for note in notes] == [
        {"progressToken": "p", "progress": n, "total": 2.0} for n in (1.0, 2.0)
    ]
    assert response["id"] == "c" and response["result"]["resultType"] == "complete"


@pytest.mark.parametrize("said", [None, meta(progressToken=True), meta(progressToken=None)])
async def test_no_token_no_progress(house, said):
    """Without a progress token nothing is reported, and the answer is plain JSON."""
    answer = await call(house, "progress", said=said)
    assert answer.status in (200, 400) and answer.headers["Content-Type"] == "application/json"


@pytest.mark.spec("C-09")
async def test_a_client_that_takes_json_only(house):
    """Without event streams in Accept what is said on the way is dropped."""
    assert (await call(house, "progress", said=PROGRESS, headers=ONLY_JSON)).said == "done"


async def test_json_response_keeps_to_json(store, bus):
    """Where the host wants plain JSON, progress is dropped too."""
    async with modern_running(store, bus, json_response=True) as house:
        assert (await call(house, "progress", said=PROGRESS)).said == "done"


@pytest.mark.spec("M-40")
async def test_a_slow_call_becomes_a_stream(store, bus):
    """A call that is silent for the short wait is a stream from then on, and its error rides on it."""
    async with (
        modern_running(store, bus, stream_after=0.01) as house,
        opened(house, message("tools/call", name="slow")) as stream,
    ):
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
        house.works.release.set()
        assert (await stream.next())["result"]["content"][0]["text"] == "done"
        assert await stream.next() is None


@pytest.mark.spec("M-97")
@pytest.mark.parametrize(
    ("level", "heard"),
    [(None, []), ("debug", ["debug", "info", "error"]), ("info", ["info", "error"]), ("emergency", [])],
)
async def test_the_log_level_is_the_requests_own(house, level, heard):
    """Log messages come at or above the level that this request names, and none where it names none."""
    answer = await call(house, "log", said=meta() if level is None else meta(**{LOG_LEVEL: level}))
    if not heard:
        assert answer.said == "logged"
        return
    *notes, response = events(answer)
    assert [note["params"]["level"] for note in notes] == heard
    assert response["result"]["content"][0]["text"] == "logged"


@pytest.mark.spec("M-98")
@pytest.mark.parametrize("level", ["loud", "", 5, []])
async def test_a_log_level_that_is_none(house, level):
    """400 -32602."""
    answer = await call(house, "log", said=meta(**{LOG_LEVEL: level}))
    assert (answer.status, answer.error["code"]) == (400, -32602)


@pytest.mark.spec("M-96")
async def test_a_cursor_may_be_empty(house):
    """An empty cursor is a cursor, not an error."""
    assert (await ask(house, "tools/list", cursor="")).status == 200


# --- arguments in headers


@pytest.mark.spec("M-43", "M-46", "M-47", "M-33")
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "eu", "count": 42}, {"Mcp_Param_Region": "eu", "Mcp_Param_Count": "42"}),
        ({"region": "ä"}, {"Mcp_Param_Region": sealed("ä")}),
        ({"count": 42}, {"Mcp_Param_Count": "42.0"}),
        ({"count": 42.0}, {"mcp_param_COUNT": "42"}),
        ({"region": None}, {}),
        ({}, {"Mcp_Param_Unknown": "x"}),
        ({}, {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("looked_up", [True, False], ids=["schemas said", "schemas listed"])
async def test_arguments_that_are_mirrored(store, bus, looked_up, arguments, headers):
    """A call whose recognised headers agree with its arguments runs, whoever knows the tool's schema."""
    async with modern_running(store, bus, looked_up=looked_up) as house:
        answer = await call(house, "region", headers=headers, **arguments)
        assert (answer.status, json.loads(answer.said)) == (200, arguments)


@pytest.mark.spec("M-43", "M-44", "M-45", "M-34")
@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"region": "eu"}, {}),
        ({"region": "eu"}, {"Mcp_Param_Region": "us"}),
        ({"region": "eu"}, {"Mcp_Param_Region": "EU"}),
        ({"region": "eu"}, {"Mcp_Param_Region": "=?base64?ZXU?="}),
        ({}, {"Mcp_Param_Region": "eu"}),
        ({"region": None}, {"Mcp_Param_Region": "null"}),
        ({"count": 42}, {"Mcp_Param_Count": "43"}),
        ({"count": 42}, {"Mcp_Param_Count": "4.2e1"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("looked_up", [True, False], ids=["schemas said", "schemas listed"])
async def test_arguments_that_are_not_mirrored(store, bus, looked_up, arguments, headers):
    """A header that is missing, too much or different is 400 -32020 under the id, and the tool does not run."""
    async with modern_running(store, bus, looked_up=looked_up) as house:
        answer = await call(house, "region", 3, headers=headers, **arguments)
        assert (answer.status, answer.error["code"], answer.body["id"]) == (400, -32020, 3)


async def test_a_header_of_an_argument_that_stands_twice(house):
    """Two lines for one argument are 400 -32020."""
    value = message("tools/call", name="region", arguments={"region": "eu"})
    lines = [f"{name}: {said}" for name, said in mirrored(value).items()]
    twice = [*lines, "Mcp-Param-Region: eu", "mcp-param-region: eu"]
    ((status, _, body),) = await raw(house.port, post_bytes(json.dumps(value).encode(), *twice))
    assert (status, json.loads(body)["error"]["code"]) == (400, -32020)


@pytest.mark.spec("C-38")
@pytest.mark.parametrize("looked_up", [True, False], ids=["schemas said", "schemas listed"])
async def test_a_schema_that_cannot_be_had(store, bus, looked_up, caplog):
    """A call whose tool's schema cannot be looked up is not let through unchecked: -32603 under its id."""
    async with modern_running(store, bus, looked_up=looked_up) as house:
        house.works.list_fails = RuntimeError(SECRET)
        with caplog.at_level(logging.CRITICAL, "archon_transport"):
            answer = await call(house, "region", 3, region="eu")
        assert (answer.status, answer.error["code"], answer.body["id"]) == (200, -32603, 3)
        assert SECRET.encode() not in answer.raw
        house.works.list_fails = None
        assert (await call(house, "region", headers={"Mcp_Param_Region": "eu"}, region="eu")).status == 200


async def test_the_list_is_asked_for_once(store, bus):
    """Many calls are held against one list, of which every page is read."""
    async with modern_running(store, bus, looked_up=False) as house:
        house.works.pages = 3
        for _ in range(5):
            assert (await call(house, "region", region="eu")).status == 400
        assert house.works.listings == 3


async def test_a_list_without_an_end(store, bus, caplog):
    """A server whose pages go on for ever fails the call; it does not hold it for ever."""
    async with modern_running(store, bus, looked_up=False) as house:
        house.works.pages = 10**9
        with caplog.at_level(logging.CRITICAL, "archon_transport"):
            answer = await asyncio.wait_for(call(house, "region", region="eu"), 10)
        assert answer.error["code"] == -32603


# --- clients that leave


async def began(house) -> None:
    async with asyncio.timeout(5):
        await house.works.began.wait()


@pytest.mark.spec("M-50", "M-51", "C-32")
@pytest.mark.parametrize("headers", [{}, ONLY_JSON], ids=["undecided", "json"])
async def test_leaving_cancels_before_an_answer_has_begun(either, headers):
    """A client that leaves while it waits for JSON, or for whatever it will be, has cancelled its request."""
    running = asyncio.create_task(call(either, "slow", headers=headers))
    await began(either)
    running.cancel()
    async with asyncio.timeout(5):
        await either.works.cancelled.wait()
    await until(lambda: nothing_runs(either))
    assert not either.works.finished.is_set()


@pytest.mark.spec("M-50", "M-51", "C-32")
async def test_leaving_cancels_where_the_host_wants_json(store, bus):
    """So it is with `json_response`."""
    async with modern_running(store, bus, json_response=True) as house:
        running = asyncio.create_task(call(house, "slow"))
        await began(house)
        running.cancel()
        async with asyncio.timeout(5):
            await house.works.cancelled.wait()


@pytest.mark.spec("M-50", "M-51")
async def test_leaving_cancels_a_stream(either):
    """A client that leaves in the middle of a stream has cancelled its request."""
    value = message("tools/call", said=PROGRESS, name="chatter")
    async with opened(either, value) as stream:
        assert (await stream.next())["method"] == "notifications/progress"
        stream.leave()
    async with asyncio.timeout(5):
        await either.works.cancelled.wait()
    await until(lambda: nothing_runs(either))


@pytest.mark.parametrize("tool", ["slow", "stubborn"])
async def test_a_connection_that_is_reset(either, tool):
    """A reset is a leaving too; a handler that will not stop keeps nobody waiting, and is counted until it ends."""
    value = message("tools/call", name=tool)
    lines = [f"{name}: {said}" for name, said in mirrored(value).items()]
    _, writer = await asyncio.open_connection("127.0.0.1", either.port)
    writer.write(post_bytes(json.dumps(value).encode(), *lines))
    await began(either)
    writer.transport.abort()
    async with asyncio.timeout(5):
        await either.works.cancelled.wait()
    either.works.release.set()
    await until(lambda: nothing_runs(either))


async def test_leaving_does_not_cancel_a_neighbour(either):
    """One client's leaving is nothing to another one's request of the same id."""
    stays = asyncio.create_task(call(either, "slow", 7))
    leaves = asyncio.create_task(call(either, "stubborn", 7))
    await until(lambda: len(either.transport.calls) == 2)
    await began(either)
    leaves.cancel()
    async with asyncio.timeout(5):
        await either.works.cancelled.wait()
    either.works.release.set()
    assert (await stays).said == "done"


async def test_a_call_that_ends_as_its_client_leaves(either, caplog):
    """Whichever comes first, nothing is left behind and nothing raises."""
    with caplog.at_level(logging.WARNING):
        for delay in range(20):
            either.works.release.clear()
            either.works.began.clear()
            running = asyncio.create_task(call(either, "slow"))
            await began(either)
            asyncio.get_running_loop().call_later(delay / 20_000, either.works.release.set)
            await asyncio.sleep(delay / 40_000)
            running.cancel()
            await asyncio.wait([running])
        await until(lambda: nothing_runs(either))
    assert (await call(either, "echo", value="still here")).said == "still here"
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.spec("M-76")
async def test_the_end_of_the_server_is_answered(house):
    """A call that runs when the server stops is answered -32603, and may be repeated."""
    running = asyncio.create_task(call(house, "slow", 4))
    await began(house)
    assert await house.transport.drain(0.05) == (0, 1)
    answer = await running
    assert (answer.status, answer.body["id"], answer.error["code"]) == (200, 4, -32603)
    assert answer.error["data"]["retryable"] is True
    late = await call(house, "echo", 5)
    assert (late.status, late.headers["Retry-After"], late.body["id"]) == (503, "1", 5)


# --- subscriptions


def listening(id="s", said=None, **wanted):
    return message("subscriptions/listen", id, said, notifications=wanted)


@pytest.mark.spec("M-70", "M-71", "M-72", "M-74", "M-79")
@pytest.mark.parametrize("id", ["s", 5, "5"])
@pytest.mark.parametrize("json_response", [False, True])
async def test_a_subscription(store, bus, id, json_response):
    """The acknowledgement comes first, then only what was asked for, all stamped with the request's id."""
    async with modern_running(store, bus, json_response=json_response) as house:
        value = listening(
            id, toolsListChanged=True, promptsListChanged=False, resourceSubscriptions=["file:///a"]
        )
        async with opened(house, value) as stream:
            assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
            assert "Mcp-Session-Id" not in stream.headers
            first = await stream.next()
            assert first["method"] == "notifications/subscriptions/acknowledged"
            assert first["params"]["notifications"] == {
                "toolsListChanged": True, "resourceSubscriptions": ["file:///a"]
            }  # fmt: skip
            for happening in (
                PromptsListChanged(), ResourceUpdated("file:///b"), ResourceUpdated("file:///a"), ToolsListChanged()
            ):  # fmt: skip
                await bus.publish(happening)
            heard = [await stream.next(), await stream.next()]
            assert [note["method"] for note in heard] == [
                "notifications/resources/updated",
                "notifications/tools/list_changed",
            ]
            for note in (first, *heard):
                stamp = note["params"]["_meta"][SUBSCRIPTION]
                assert stamp == id and type(stamp) is type(id)


@pytest.mark.spec("M-74", "E-17")
@pytest.mark.parametrize("accept", ["application/json", "application/json, text/event-stream;q=0"])
async def test_a_subscription_is_a_stream(house, accept):
    """A client that takes no event stream cannot listen: 406 under its id."""
    value = listening(toolsListChanged=True)
    answer = await house.post(value, **mirrored(value, Accept=accept))
    assert (answer.status, answer.body["id"], answer.error["code"]) == (406, "s", -32600)
    assert nothing_runs(house)


@pytest.mark.parametrize("said", [{}, {"notifications": None}, {"notifications": {"toolsListChanged": "x"}}])
async def test_a_subscription_to_nothing_known(house, said):
    """Params that are no filter are 400 -32602, in JSON."""
    answer = await ask(house, "subscriptions/listen", **said)
    assert (answer.status, answer.error["code"]) == (400, -32602)


@pytest.mark.spec("M-75", "J-04")
async def test_many_subscriptions_of_one_id(house, bus):
    """Streams are independent: equal ids collide with nobody's, and one that ends ends no other."""
    async with opened(house, listening(toolsListChanged=True)) as stays:
        await stays.next()
        async with opened(house, listening(toolsListChanged=True)) as leaves:
            await leaves.next()
            await bus.publish(ToolsListChanged())
            assert await leaves.next() == await stays.next()
            leaves.leave()
        await until(lambda: len(house.transport.calls) == 1)
        await bus.publish(ToolsListChanged())
        assert (await stays.next())["method"] == "notifications/tools/list_changed"


@pytest.mark.spec("M-78")
async def test_a_listener_that_leaves_is_free(either):
    """Its call, its viewer and its subscription end with it."""
    for _ in range(5):
        async with opened(either, listening(toolsListChanged=True)) as stream:
            await stream.next()
            stream.leave()
    await until(lambda: nothing_runs(either) and not either.works.listen._streams)
    assert not either.works.listen._bus._store._listeners


@pytest.mark.spec("M-76", "M-77")
async def test_a_drain_ends_subscriptions_with_a_result(house):
    """Each stream ends with its result, stamped, so that the client knows that it was meant; no drain time passes."""
    async with (
        opened(house, listening("a", toolsListChanged=True)) as one,
        opened(house, listening(2, toolsListChanged=True)) as two,
    ):
        await one.next()
        await two.next()
        started = asyncio.get_running_loop().time()
        assert await house.transport.drain(5.0) == (2, 0)
        assert asyncio.get_running_loop().time() - started < 2
        for stream, id in ((one, "a"), (two, 2)):
            last = await stream.next()
            assert (last["id"], last["result"]["resultType"]) == (id, "complete")
            assert last["result"]["_meta"][SUBSCRIPTION] == id
            assert await stream.next() is None


@pytest.mark.spec("M-56")
async def test_a_silent_stream_says_that_it_lives(house, monkeypatch):
    """A comment goes out where nothing else does."""
    monkeypatch.setattr(viewers, "ALIVE", 0.05)
    async with opened(house, listening(toolsListChanged=True)) as stream:
        assert event(await stream.block()) is not None
        assert (await stream.block()).startswith(b":")


@pytest.mark.spec("M-73")
async def test_a_subscription_hears_nothing_of_calls(house):
    """Progress and log messages of other requests stay on their own streams, whatever the listener asked for."""
    said = meta(progressToken="p", **{LOG_LEVEL: "debug"})
    async with opened(house, listening(said=said, toolsListChanged=True)) as stream:
        await stream.next()
        await call(house, "progress", said=said)
        await call(house, "log", said=said)
        house.transport.kernel.end_listening()
        assert "result" in await stream.next()


# --- who asks


async def test_a_list_that_depends_on_who_asks(store, bus):
    """Schemas are looked up as the caller, and what one caller is shown is not held against another one's call."""

    class Tokens:
        async def verify_token(self, token):
            return AccessToken(token=token, client_id="c", subject=token, scopes=[])

    async with modern_running(store, bus, looked_up=False, token_verifier=Tokens()) as house:
        for name in ("ada", "bob", "ada"):
            answer = await call(house, "region", headers={"Authorization": f"Bearer {name}"}, region="eu")
            assert answer.status == 400
        assert [owner and owner[1] for owner in house.works.listed_for] == ["ada", "bob"]
        facts = await call(house, "whoami", headers={"Authorization": "Bearer ada"})
        assert json.loads(facts.said)["owner"][1] == "ada"


async def test_two_nodes_have_one_bus(dsn):
    """An event that is published at one node reaches the listeners of another."""
    stores = [PostgresStore(dsn), PostgresStore(dsn)]
    buses = [StoreBus(each) for each in stores]
    for each in stores:
        await each.start()
    try:
        async with (
            modern_running(stores[0], buses[0]) as here,
            modern_running(stores[1], buses[1]),
            opened(here, listening(toolsListChanged=True)) as stream,
        ):
            await stream.next()
            await buses[1].publish(ToolsListChanged())
            assert (await stream.next())["method"] == "notifications/tools/list_changed"
    finally:
        for each in stores:
            await each.close()


async def test_a_gap_of_the_wake_ups_ends_subscriptions(dsn):
    """What was announced while nobody heard stands nowhere: listeners get their result, and listen anew."""
    async with Proxy(dsn) as proxy:
        store = PostgresStore(proxy.dsn)
        bus = StoreBus(store)
        await store.start()
        try:
            async with modern_running(store, bus) as house:
                async with opened(house, listening(toolsListChanged=True)) as stream:
                    await stream.next()
                    proxy.cut()
                    last = await stream.next()
                    assert (last["id"], last["result"]["resultType"]) == ("s", "complete")
                    assert await stream.next() is None
                async with opened(house, listening(toolsListChanged=True)) as stream:
                    await stream.next()
                    await bus.publish(ToolsListChanged())
                    assert (await stream.next())["method"] == "notifications/tools/list_changed"
        finally:
            await store.close()
