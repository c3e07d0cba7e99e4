"""How a call ends other than by its answer: cancelled, its client gone, its session ended, the server
stopping.

Each of these with and without aiohttp's `handler_cancellation`: nothing depends on the host's choice.
"""

import asyncio

import pytest

from archon_transport.store.memory import MemoryStore
from tests.transport.house import post_bytes, request, running, tool_call, until


@pytest.fixture
def house(either_house):
    return either_house


def sent(work) -> asyncio.Task:
    return asyncio.create_task(work)


@pytest.mark.spec("H-92", "H-99", "E-11")
async def test_a_cancelled_call_stops_and_is_answered(house, session):
    """`notifications/cancelled` stops the handler, and the exchange that waits gets -32800."""
    call = sent(house.call("slow", session, id=5))
    await house.works.began.wait()
    note = await house.note("notifications/cancelled", {"requestId": 5, "reason": "bored"}, session)
    assert (note.status, note.raw) == (202, b"")
    answer = await call
    assert (answer.status, answer.body["id"], answer.error["code"]) == (200, 5, -32800)
    await asyncio.wait_for(house.works.cancelled.wait(), 5)
    assert len(house.transport.calls) == 0


async def test_a_handler_that_will_not_stop_does_not_hold_the_answer(house, session):
    """A handler that goes on after its cancellation (a thread, a shield) is left alone; the client is
    answered.
    """
    call = sent(house.call("stubborn", session, id=5))
    await house.works.began.wait()
    await house.note("notifications/cancelled", {"requestId": 5}, session)
    answer = await asyncio.wait_for(call, 5)
    assert answer.error["code"] == -32800
    again = await house.call("echo", session, id=5)
    assert (again.status, again.error["code"]) == (400, -32600), "the id is in use while the handler runs"
    house.works.release.set()
    await until(lambda: len(house.transport.calls) == 0)
    assert house.works.finished.is_set()


@pytest.mark.spec("H-93", "C-35")
@pytest.mark.parametrize("other", ["5", 6, True, 5.5, None, [5]])
async def test_only_the_call_that_is_named_is_cancelled(house, session, other):
    """A cancellation of another id, also of one that only looks like it, changes nothing."""
    call = sent(house.call("slow", session, id=5))
    await house.works.began.wait()
    assert (await house.note("notifications/cancelled", {"requestId": other}, session)).status == 202
    house.works.release.set()
    assert (await call).said == "done"


@pytest.mark.spec("H-97")
async def test_one_session_does_not_cancel_anothers_call(house, session):
    """Ids are a session's own: a stranger's cancellation of the same id changes nothing."""
    stranger = await house.connect()
    call = sent(house.call("slow", session, id=5))
    await house.works.began.wait()
    await house.note("notifications/cancelled", {"requestId": 5}, stranger)
    house.works.release.set()
    assert (await call).said == "done"


@pytest.mark.spec("H-93", "H-98")
async def test_cancelling_what_is_done_does_nothing(house, session):
    """A cancellation that comes too late is 202 and harms nobody."""
    assert (await house.call("echo", session, id=5, value="x")).said == "x"
    assert (await house.note("notifications/cancelled", {"requestId": 5}, session)).status == 202
    assert (await house.call("echo", session, id=5, value="y")).said == "y"


@pytest.mark.spec("H-20")
async def test_a_client_that_goes_away_does_not_cancel(house, session):
    """In this era a lost connection is no cancellation: the call runs to its end, and the id is free then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    body = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"slow"}}'
    writer.write(post_bytes(body, f"Mcp-Session-Id: {session}"))
    await house.works.began.wait()
    writer.transport.abort()
    assert (await house.call("echo", session, id=5)).status == 400, "it still runs"
    assert not house.works.cancelled.is_set()
    house.works.release.set()
    await asyncio.wait_for(house.works.finished.wait(), 5)
    await until(lambda: len(house.transport.calls) == 0)
    assert (await house.call("echo", session, id=5, value="z")).said == "z"
    del reader


@pytest.mark.spec("J-03", "C-35")
async def test_an_id_in_flight_is_refused(house, session):
    """A second request with a running one's id is 400 -32600; "5" beside 5 and another session's 5 are
    not.
    """
    call = sent(house.call("slow", session, id=5))
    await house.works.began.wait()
    twice = await house.call("echo", session, id=5)
    assert (twice.status, twice.error["code"], twice.body["id"]) == (400, -32600, 5)
    assert (await house.call("echo", session, id="5", value="text")).said == "text"
    assert (await house.call("echo", await house.connect(), id=5, value="other")).said == "other"
    house.works.release.set()
    assert (await call).said == "done"
    assert (await house.call("echo", session, id=5, value="again")).said == "again"


@pytest.mark.spec("C-26")
async def test_delete_ends_the_calls_of_its_session(house, session):
    """A session that ends while its call runs: the handler stops, the exchange is 404, other sessions go
    on.
    """
    other = await house.connect()
    call, others = sent(house.call("slow", session, id=5)), sent(house.call("slow", other, id=5))
    await until(lambda: len(house.transport.calls) == 2)
    await house.works.began.wait()
    assert (await house.send("DELETE", session=session)).status == 200
    answer = await call
    assert (answer.status, answer.body["id"], answer.error["code"]) == (404, 5, -32600)
    assert "initialize" in answer.error["message"]
    await asyncio.wait_for(house.works.cancelled.wait(), 5)
    house.works.release.set()
    assert (await others).said == "done"


async def test_delete_does_not_wait_for_a_stubborn_handler(house, session):
    """The exchange of a handler that will not stop is 404 at once; what it says later is dropped."""
    call = sent(house.call("stubborn", session, id=5))
    await house.works.began.wait()
    assert (await asyncio.wait_for(house.send("DELETE", session=session), 5)).status == 200
    assert (await asyncio.wait_for(call, 5)).status == 404
    house.works.release.set()
    await until(lambda: len(house.transport.calls) == 0)


async def test_an_end_from_elsewhere_ends_the_calls_too(house, session):
    """An operator's end, or one on another node, is a DELETE to the calls that run here."""
    call = sent(house.call("slow", session))
    await house.works.began.wait()
    await house.transport.sessions.end(session.partition(".")[0], "operator")
    assert (await call).status == 404


async def test_a_session_with_a_running_call_does_not_sleep(house, session):
    """A running call is traffic."""
    call = sent(house.call("slow", session))
    await house.works.began.wait()
    public = session.partition(".")[0]
    assert house.transport.calls.busy(public)
    house.works.release.set()
    await call
    assert not house.transport.calls.busy(public)


@pytest.mark.spec("E-17")
async def test_while_draining_new_work_is_503(house, session):
    """A server that stops refuses new work and says when to come back; the session stays."""
    call = sent(house.call("slow", session))
    await house.works.began.wait()
    draining = sent(house.transport.drain(5))
    await until(lambda: house.transport.endpoint.draining)
    for answer in (
        await house.ask("ping", session=session),
        await house.initialize(),
        await house.send("GET"),
    ):
        assert (answer.status, answer.error["code"]) == (503, -32603)
        assert int(answer.headers["Retry-After"]) >= 1
    house.works.release.set()
    assert (await call).said == "done", "what ran may finish"
    assert await draining == (1, 0)


async def test_a_body_that_arrives_after_the_drain_begins_no_call(house, session):
    """A request whose body was on its way when the drain began is refused: nobody would wait for its call."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    sent_bytes = post_bytes(b'{"jsonrpc":"2.0","id":1,"method":"ping"}', f"Mcp-Session-Id: {session}")
    writer.write(sent_bytes[:-1])
    await writer.drain()
    assert (await house.ask("ping", session=session)).status == 200, (
        "the server has had time to read the rest"
    )
    assert await house.transport.drain(0.1) == (0, 0)
    writer.write(sent_bytes[-1:])
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).startswith(b"HTTP/1.1 503")
    writer.close()


@pytest.mark.parametrize("tool", ["slow", "stubborn"])
async def test_what_does_not_finish_in_time_is_cut_off(house, session, tool):
    """After the drain time a call's exchange gets an error that says it may be repeated."""
    call = sent(house.call(tool, session, id=5))
    await house.works.began.wait()
    assert await house.transport.drain(0.05) == (0, 1)
    answer = await asyncio.wait_for(call, 5)
    assert (answer.status, answer.body["id"], answer.error["code"]) == (200, 5, -32603)
    assert "repeated" in answer.error["message"]


async def test_a_session_outlives_its_server(store):
    """A stop ends no session: the next server over the same store serves it."""
    async with running(store) as house:
        session = await house.connect()
        await house.note("notifications/initialized", session=session)
        port = house.port
    async with running(store, port=port) as house:
        assert (await house.call("echo", session, value="still here")).said == "still here"
        assert house.transport.sessions.woken == 1


async def test_two_nodes_serve_one_session(store):
    """A session made on one node is served by another at once, and ended on either for both."""
    async with running(store) as one, running(store) as two:
        session = await one.connect()
        assert (await two.call("echo", session, value="a")).said == "a"
        call = sent(two.call("slow", session))
        await two.works.began.wait()
        assert (await one.send("DELETE", session=session)).status == 200
        assert (await call).status == 404
        assert (await two.ask("ping", session=session)).status == 404


# --- batches


@pytest.fixture(params=["2024-11-05", "2025-03-26"])
async def batched(request, house):
    return await house.connect(request.param)


@pytest.mark.spec("H-60", "H-63", "C-14")
async def test_a_batch_is_answered_by_a_batch(house, batched):
    """Requests of a batch are answered in one array, each under its id, with results and errors side by
    side.
    """
    answer = await house.post(
        [
            request(1, "ping"),
            tool_call("1", "echo", value="x"),
            {"jsonrpc": "2.0", "method": "notifications/noted"},
            request(2, "no/such/method"),
            tool_call(3, "boom"),
        ],
        batched,
    )
    assert answer.status == 200
    found = {(type(item["id"]), item["id"]): item for item in answer.body}
    assert found[int, 1]["result"] == {}
    assert found[str, "1"]["result"]["content"][0]["text"] == "x"
    assert found[int, 2]["error"]["code"] == -32601
    assert found[int, 3]["error"]["code"] == -32603
    assert len(answer.body) == 4
    await asyncio.wait_for(house.works.noted.wait(), 5)


async def test_the_members_of_a_batch_run_side_by_side(house, batched):
    """Two members that wait for each other both get through."""
    answer = await asyncio.wait_for(house.post([tool_call(1, "meet"), tool_call(2, "meet")], batched), 5)
    assert [item["result"]["content"][0]["text"] for item in answer.body] == ["met", "met"]


@pytest.mark.spec("H-62")
@pytest.mark.parametrize(
    "members",
    [
        [{"jsonrpc": "2.0", "method": "notifications/noted"}],
        [{"jsonrpc": "2.0", "id": 1, "result": {}}, {"jsonrpc": "2.0", "id": 2, "result": {}}],
    ],
)
async def test_a_batch_that_asks_for_nothing_is_202(house, batched, members):
    """Only notifications, or only answers: 202 without a body."""
    answer = await house.post(members, batched)
    assert (answer.status, answer.raw) == (202, b"")


@pytest.mark.spec("H-61", "H-65", "H-67")
@pytest.mark.parametrize(
    "members",
    [
        [],
        [tool_call(n, "slow") for n in range(101)],
        [tool_call(1, "slow"), request(2, "initialize", {})],
        [tool_call(1, "slow"), tool_call(1, "slow")],
        [tool_call(1, "slow"), {"jsonrpc": "2.0", "id": 2, "result": {}}],
        [tool_call(1, "slow"), 5],
    ],
    ids=lambda members: str(len(members)),
)
async def test_a_batch_that_is_refused_runs_nothing(house, batched, members):
    """A batch with anything wrong in it is 400 before any of it runs."""
    answer = await house.post(members, batched)
    assert (answer.status, answer.error["code"]) == (400, -32600)
    assert len(house.transport.calls) == 0
    assert not house.works.began.is_set()


async def test_a_batch_with_an_id_in_flight_runs_nothing(house, batched):
    """One member with a running request's id refuses the whole batch under that id."""
    call = sent(house.call("slow", batched, id=5))
    await house.works.began.wait()
    answer = await house.post([tool_call(4, "boom"), tool_call(5, "echo")], batched)
    assert (answer.status, answer.body["id"]) == (400, 5)
    assert len(house.transport.calls) == 1
    house.works.release.set()
    await call


@pytest.mark.spec("H-04", "H-66", "H-68", "C-15")
@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_no_batches(house, revision):
    """From 2025-06-18 on an array is 400, whatever the header says: the row decides."""
    session = await house.connect(revision)
    for header in (None, "2025-03-26", revision):
        answer = await house.post([request(1, "ping")], session, MCP_Protocol_Version=header)
        assert (answer.status, answer.error["code"]) == (400, -32600)
        assert revision in answer.error["message"]


@pytest.mark.spec("H-68", "C-03")
async def test_an_older_session_keeps_its_batches(house, batched):
    """A newer header does not take batches from a session that negotiated them."""
    answer = await house.post([request(1, "ping")], batched, MCP_Protocol_Version="2025-11-25")
    assert (answer.status, answer.body) == (200, [{"jsonrpc": "2.0", "id": 1, "result": {}}])


async def test_one_member_is_cancelled_alone(house, batched):
    """A member of a batch is cancelled by its id; the others answer."""
    call = sent(house.post([tool_call(1, "slow"), tool_call(2, "echo", value="x")], batched))
    await house.works.began.wait()
    await house.note("notifications/cancelled", {"requestId": 1}, batched)
    answers = {answer["id"]: answer for answer in (await call).body}
    assert answers[1]["error"]["code"] == -32800
    assert answers[2]["result"]["content"][0]["text"] == "x"


async def test_a_batch_may_cancel_its_own_member(house, batched):
    """A cancellation inside the batch is heard before its call has begun: it never does."""
    answer = await house.post(
        [
            tool_call(1, "slow"),
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        ],
        batched,
    )
    assert answer.body[0]["error"]["code"] == -32800
    assert not house.works.began.is_set()


@pytest.mark.parametrize("order", [("slow", "echo"), ("echo", "slow")])
async def test_a_session_that_ends_under_a_batch(house, batched, order):
    """Where any member was cut off by its session's end the exchange is 404, also if the first was done."""
    call = sent(house.post([tool_call(n, tool) for n, tool in enumerate(order)], batched))
    await house.works.began.wait()
    await until(lambda: len(house.transport.calls) == 1)
    await house.send("DELETE", session=batched)
    answer = await call
    assert (answer.status, answer.error["code"]) == (404, -32600)


async def test_a_batch_of_a_lost_session_is_404(house):
    """A batch of an unknown session is one 404, not an array."""
    answer = await house.post([request(1, "ping")], "nonsense")
    assert answer.status == 404
    assert answer.body["id"] is None


@pytest.mark.spec("H-68")
async def test_a_batch_without_a_session():
    """Where no session is needed the header's revision decides, and 2025-03-26 where there is none."""
    async with running(MemoryStore(), require_session_id=False) as house:
        answer = await house.post([request(1, "ping"), request(2, "ping")])
        assert (answer.status, len(answer.body)) == (200, 2)
        refused = await house.post([request(1, "ping")], MCP_Protocol_Version="2025-11-25")
        assert refused.status == 400
