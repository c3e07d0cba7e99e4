"""Ping, cancellation and progress."""

from __future__ import annotations

from typing import Final

from tests.transport.scenarios.scenario import Scenario
from tests.transport.scenarios.steps import (
    answered,
    asks,
    begins,
    call,
    cancels,
    checks,
    committed,
    drops,
    ends,
    fails,
    idle,
    opens,
    reached,
    request,
    result,
    resumes,
    sees,
    session,
    step,
    suffixes,
    tells,
)
from tests.transport.scenarios.wire import Event
from tests.transport.scenarios.world import World


@step
async def opens_uninitialized(world: World, name: str) -> None:
    """A session whose client has not said that it is initialized."""
    facts = {
        "protocolVersion": world.revision,
        "capabilities": {},
        "clientInfo": {"name": "early", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": facts}
    response = await world.send("early", "POST", body, session=None).answer()
    world.sessions[name] = response.headers["Mcp-Session-Id"]


async def _one_response(world: World) -> bool:
    event = await world.exchanges["post"].next()
    return isinstance(event, Event) and event.message["id"] == world.kept["post"]


SCENARIOS: Final = (
    Scenario(
        "ping",
        "A ping is answered with an empty result, in the middle of a call too.",
        ("H-90",),
        (
            call("post", ["progress", 1], ["hold", "a"], token=1),
            begins("post"),
            request("ping", "ping"),
            answered("ping", r'"result": \{\}'),
        ),
    ),
    Scenario(
        "ping-before-initialized",
        "A ping is answered before the client has said that it is initialized.",
        ("H-90",),
        (opens_uninitialized("u"), request("ping", "ping", session="u"), answered("ping", r'"result": \{\}')),
    ),
    Scenario(
        "cancelled-stream",
        "A cancelled call is stopped; its stream has -32800 for a response and ends, for who comes later too.",
        ("H-92", "H-99", "H-98"),
        (
            call("post", ["progress", 1], ["hold", "a"], token=1),
            begins("post"),
            sees("post", "progress"),
            cancels("post"),
            fails("post", -32800),
            ends("post"),
            idle(),
            checks(lambda world: world.stage.cancelled.is_set()),
            committed(),
            suffixes("post"),
            cancels("post"),
            asks("ping"),
        ),
    ),
    Scenario(
        "cancelled-while-pending",
        "A call that is cancelled before it said anything is answered in JSON, with -32800.",
        ("H-92", "H-99"),
        (
            call("post", ["hold", "a"]),
            reached("a"),
            cancels("post"),
            answered("post", code=-32800),
            checks(lambda world: world.stage.cancelled.is_set()),
        ),
    ),
    Scenario(
        "cancelled-without-its-client",
        "A call whose client went away can be cancelled by another connection; who resumes learns of it.",
        ("H-92", "H-99"),
        (
            call("post", ["progress", 1], ["hold", "a"], token=1),
            begins("post"),
            sees("post", "progress"),
            drops("post"),
            cancels("post"),
            resumes("get", "post"),
            begins("get"),
            fails("get", -32800, of="post"),
            ends("get"),
        ),
    ),
    Scenario(
        "cancellations-of-nothing",
        "A cancellation of what is unknown, finished or malformed is 202 and changes nothing.",
        ("H-93", "H-98"),
        (
            call("done", ["say", "x"]),
            answered("done", "x"),
            cancels("done"),
            tells("notifications/cancelled", {"requestId": 4711}),
            tells("notifications/cancelled", {"requestId": None}),
            tells("notifications/cancelled", {"requestId": {"a": 1}}),
            tells("notifications/cancelled", {"requestId": [1]}),
            tells("notifications/cancelled", {"requestId": True}),
            tells("notifications/cancelled", {"reason": "none"}),
            asks("ping"),
        ),
    ),
    Scenario(
        "cancel-and-finish-at-once",
        "A cancellation that crosses the response leaves one response, whichever it is.",
        ("H-98",),
        (
            call("post", ["progress", 1], ["hold", "a"], token=1),
            begins("post"),
            sees("post", "progress"),
            opens("a"),
            cancels("post"),
            checks(_one_response),
            ends("post"),
        ),
    ),
    Scenario(
        "initialize-is-not-cancelled",
        "A cancellation that names the id of initialize has no effect.",
        ("H-94",),
        (tells("notifications/cancelled", {"requestId": 0}), asks("ping"), asks("tools/list")),
    ),
    Scenario(
        "no-tasks",
        "A server that has no tasks does not take tasks/cancel, and notifications do not cancel any.",
        ("H-95",),
        (
            asks("tasks/cancel", {"taskId": "1"}, code=-32601),
            tells("notifications/cancelled", {"taskId": "1"}),
            asks("ping"),
        ),
    ),
    Scenario(
        "cancelled-ids-are-the-sessions-own",
        'Another session cannot cancel a call by its id, and "1" does not cancel 1.',
        ("H-97", "C-35"),
        (
            session("t"),
            call("post", ["progress", 1], ["hold", "a"], token=1, id=1),
            begins("post"),
            sees("post", "progress"),
            cancels("post", session="t"),
            tells("notifications/cancelled", {"requestId": "1"}),
            tells("notifications/cancelled", {"requestId": True}),
            opens("a"),
            result("post"),
            ends("post"),
        ),
    ),
    Scenario(
        "progress-tokens",
        "Progress carries the token as it came, a number or a text; without a token there is none.",
        ("H-100",),
        (
            call("number", ["progress", 1], ["progress", 2.5, "half"], token=7),
            begins("number"),
            sees("number", '"progressToken":7[,}]'),
            sees("number", '"progress":2.5.*half'),
            result("number"),
            ends("number"),
            call("text", ["progress", 1], token="7"),
            begins("text"),
            sees("text", '"progressToken":"7"'),
            result("text"),
            ends("text"),
            call("none", ["progress", 1]),
            answered("none", "done"),
        ),
    ),
    Scenario(
        "progress-stops-with-its-call",
        "What a handler left behind says when its call is over goes nowhere.",
        ("H-100",),
        (
            call("post", ["later", "l"], ["progress", 1], token=1),
            begins("post"),
            sees("post", "progress"),
            result("post"),
            ends("post"),
            opens("l"),
            reached("l"),
            committed(),
            suffixes("post"),
        ),
    ),
    Scenario(
        "progress-stops-with-cancellation",
        "A cancelled call says nothing more.",
        ("H-92", "H-100"),
        (
            call("post", ["later", "l"], ["progress", 1], ["hold", "a"], token=1),
            begins("post"),
            sees("post", "progress"),
            cancels("post"),
            fails("post", -32800),
            ends("post"),
            opens("l"),
            reached("l"),
            committed(),
            suffixes("post"),
        ),
    ),
    Scenario(
        "a-flood-waits-for-the-log",
        "A handler that says more than the log can take waits for it; the client gets all of it, in order.",
        ("H-101",),
        (
            call("post", ["flood", 60, 1000]),
            begins("post"),
            *(sees("post", f'"{i}:x') for i in range(60)),
            result("post"),
            ends("post"),
            committed(),
            suffixes("post", every=20),
        ),
        limits={"channels.PRESSURE": 2000},
    ),
)
