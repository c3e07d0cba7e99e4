"""Coming back: what Last-Event-ID brings, and what it never brings."""

from __future__ import annotations

from typing import Final

from tests.transport.scenarios.scenario import NEW, Scenario
from tests.transport.scenarios.steps import (
    answered,
    asks,
    begins,
    call,
    checks,
    committed,
    deafens,
    deletes,
    drops,
    ends,
    fails,
    forgets,
    idle,
    is_polled,
    later,
    listens,
    opens,
    publishes,
    reached,
    reads,
    result,
    resumes,
    resumes_at,
    sees,
    session,
    starts,
    stops,
    suffixes,
)
from tests.transport.scenarios.wire import Event, Exchange
from tests.transport.scenarios.world import World

HEAVY = 900_000


def spoiled(world: World) -> str:
    """An id of the session's own stream with another stream's name in it."""
    own = world.exchanges["post"].ids[-1]
    return own[0] + ("A" if own[1] != "A" else "B") + own[2:]


def beyond(world: World) -> str:
    """An id of the own stream that it never had."""
    stream, epoch, _ = world.exchanges["post"].ids[-1].split(".")
    return f"{stream}.{epoch}.99"


def whole(exchange: Exchange) -> list[str]:
    """The floods that an exchange saw, by their numbers."""
    return [
        event.message["params"]["data"].split(":")[0]
        for event in exchange.seen
        if "params" in (event.data or "")
    ]


async def _reads_on(world: World) -> bool:
    """What had been sent before it was cut off is whole events, or nothing."""
    exchange = world.exchanges["post"]
    while isinstance(got := await exchange.next(), Event):
        pass
    return got.broken


async def _has_the_rest(world: World) -> bool:
    get = world.exchanges["get"]
    while isinstance(await get.next(), Event):
        pass
    return whole(world.exchanges["post"]) + whole(get) == [str(i) for i in range(8)]


SCENARIOS: Final = (
    Scenario(
        "every-suffix-of-a-finished-stream",
        "From any id of a finished stream a GET brings exactly what followed, and ends after the response.",
        ("H-21", "H-37", "H-38", "H-41", "C-24"),
        (
            call("post", ["progress", 1], ["log", "info", "x"], ["progress", 2], token=1),
            begins("post"),
            sees("post", "progress"),
            sees("post", "message"),
            sees("post", "progress"),
            result("post"),
            ends("post"),
            committed(),
            suffixes("post"),
        ),
    ),
    Scenario(
        "every-suffix-of-a-running-stream",
        "From any id of a running stream a GET brings exactly what followed and waits for more.",
        ("H-21", "H-37", "H-38"),
        (
            call("post", ["progress", 1], ["progress", 2], ["progress", 3], ["hold", "a"], token=1),
            begins("post"),
            sees("post", '"progress":1'),
            sees("post", '"progress":2'),
            sees("post", '"progress":3'),
            drops("post"),
            suffixes("post", live=True),
            resumes("get", "post", 0),
            begins("get"),
        ),
    ),
    Scenario(
        "resume-before-the-log-has-it",
        "Who comes back faster than the log is written misses nothing.",
        ("H-38",),
        (
            call("post", ["progress", 1], ["hold", "a"], ["progress", 2], ["progress", 3], token=1),
            begins("post"),
            sees("post", '"progress":1'),
            drops("post"),
            opens("a"),
            resumes("get", "post"),
            begins("get"),
            sees("get", '"progress":2'),
            sees("get", '"progress":3'),
            result("get", of="post"),
            ends("get"),
        ),
        limits={"streams.FLUSH": 5.0},
    ),
    Scenario(
        "malformed-ids",
        "An id that was never one of ours is 400, with a session as without a stream.",
        ("H-42", "C-22"),
        (
            resumes_at("get", "1", status=400),
            answered("get", "Last-Event-ID", status=400, code=-32600),
            resumes_at("get", "c" * 24 + ".1.1", status=400),
            resumes_at("get", "s" * 24 + ".1", status=400),
            resumes_at("get", "'; DROP TABLE x;--", status=400),
            asks("ping"),
        ),
    ),
    Scenario(
        "foreign-ids",
        "An id of another session is 400, and shows nothing of what is there.",
        ("H-39", "H-42", "S-08", "C-23"),
        (
            session("t"),
            call("post", ["log", "info", "secret"]),
            begins("post"),
            sees("post", "secret"),
            result("post"),
            ends("post"),
            listens("get"),
            begins("get"),
            publishes(),
            sees("get", "list_changed"),
            resumes("foreign", "post", 0, session="t", status=400),
            resumes("foreign", "get", 0, session="t", status=400),
            resumes("own", "post", 0),
            begins("own"),
        ),
    ),
    Scenario(
        "tampered-ids",
        "An id whose stream was exchanged for another name is 400.",
        ("H-39", "H-42"),
        (
            call("post", ["progress", 1], token=1),
            begins("post"),
            sees("post", "progress"),
            result("post"),
            resumes_at("get", spoiled, status=400),
        ),
    ),
    Scenario(
        "a-place-behind-the-end",
        "At and behind the end of a finished stream there is none to offer: 405, so that no client comes back again.",
        ("H-38", "H-41"),
        (
            call("post", ["progress", 1], token=1),
            begins("post"),
            sees("post", "progress"),
            result("post"),
            ends("post"),
            committed(),
            resumes("get", "post", status=405),
            resumes_at("get", beyond, status=405),
        ),
    ),
    Scenario(
        "a-forgotten-call",
        "A call whose rows are gone is answered with an error that says it may be repeated, and ends.",
        ("H-10", "H-42", "H-41"),
        (
            call("post", ["progress", 1], token=1, id="named"),
            begins("post"),
            sees("post", "progress"),
            result("post"),
            ends("post"),
            committed(),
            forgets(),
            resumes("get", "post", 0),
            begins("get"),
            fails("get", -32603, "repeated", of="post"),
            ends("get"),
            asks("ping"),
        ),
    ),
    Scenario(
        "a-forgotten-standing-stream",
        "An own standing stream whose rows are gone begins anew.",
        ("H-42", "H-38"),
        (
            listens(),
            begins("get"),
            publishes(),
            sees("get", "list_changed"),
            drops("get"),
            later(15.1),
            idle(),
            forgets(),
            resumes("again", "get"),
            begins("again"),
            publishes(),
            sees("again", "list_changed"),
        ),
    ),
    Scenario(
        "an-empty-last-event-id",
        "An empty Last-Event-ID is none: a plain GET, always answered.",
        ("C-22",),
        (resumes_at("get", ""), begins("get"), publishes(), sees("get", "list_changed")),
    ),
    Scenario(
        "resume-of-an-ended-session",
        "Only when the session itself is gone does a resumption answer 404.",
        ("H-42",),
        (
            call("post", ["progress", 1], token=1),
            begins("post"),
            sees("post", "progress"),
            result("post"),
            deletes(),
            resumes("get", "post", status=404),
        ),
    ),
    Scenario(
        "a-slow-reader",
        "A client that does not read is dropped when a write is stuck; whoever comes back has lost nothing.",
        ("H-20", "H-21", "H-38", "H-101"),
        (
            call("post", ["flood", 8, HEAVY], narrow=True, reads=False),
            idle(),
            checks(lambda world: not world.stage.cancelled.is_set()),
            committed(),
            reads("post"),
            begins("post"),
            checks(_reads_on),
            resumes("get", "post"),
            begins("get"),
            checks(_has_the_rest),
        ),
        revisions=NEW,
        limits={"viewers.STUCK": 0.1},
    ),
    Scenario(
        "a-heavy-event",
        "The live viewer gets everything; a result too large for the log is an error for who comes later.",
        ("H-10", "H-38"),
        (
            call("post", ["progress", 1], ["heavy", 1_100_000], token=1),
            begins("post"),
            sees("post", "progress"),
            result("post", "xxxx"),
            ends("post"),
            committed(),
            resumes("get", "post", -2),
            begins("get"),
            fails("get", -32603, "too large", of="post"),
            ends("get"),
        ),
        revisions=NEW,
    ),
    Scenario(
        "resume-after-a-restart",
        "A stream outlives the process: a new one over the same store has it, and goes on with the session.",
        ("H-21", "H-38", "C-24"),
        (
            call("post", ["progress", 1], ["progress", 2], token=1),
            begins("post"),
            sees("post", "progress"),
            sees("post", "progress"),
            result("post"),
            ends("post"),
            stops("a"),
            starts("a"),
            suffixes("post"),
            asks("ping"),
        ),
    ),
    Scenario(
        "resume-at-another-node",
        "A GET may resume at another node while the call runs, and follows it there to its end.",
        ("H-21", "H-38", "H-40", "H-41"),
        (
            starts("b"),
            call("post", ["progress", 1], ["close"], ["hold", "a"], ["progress", 2], token=1),
            begins("post"),
            sees("post", '"progress":1'),
            is_polled("post"),
            resumes("get", "post", node="b"),
            begins("get"),
            opens("a"),
            sees("get", '"progress":2'),
            result("get", of="post"),
            ends("get"),
        ),
        revisions=NEW,
        stores=("postgres",),
    ),
    Scenario(
        "followed-without-wake-ups",
        "Who resumed at a node that is told nothing sees the call to its end, a moment later.",
        ("H-38", "H-41"),
        (
            starts("b"),
            call("post", ["progress", 1], ["close"], ["hold", "a"], ["progress", 2], token=1),
            begins("post"),
            sees("post", '"progress":1'),
            is_polled("post"),
            resumes("get", "post", node="b"),
            begins("get"),
            deafens("b"),
            opens("a"),
            sees("get", '"progress":2'),
            result("get", of="post"),
            ends("get"),
        ),
        revisions=NEW,
        stores=("postgres",),
    ),
    Scenario(
        "resume-at-another-node-wins",
        "A GET at another node takes the place of the POST, which ends; each event goes one way.",
        ("H-30", "H-40"),
        (
            starts("b"),
            call("post", ["progress", 1], ["hold", "a"], ["progress", 2], token=1),
            begins("post"),
            sees("post", '"progress":1'),
            resumes("get", "post", node="b"),
            begins("get"),
            ends("post"),
            opens("a"),
            sees("get", '"progress":2'),
            result("get", of="post"),
            ends("get"),
        ),
        revisions=NEW,
        stores=("postgres",),
    ),
    Scenario(
        "a-call-of-no-length",
        "An id that is a long text, a negative number or another type comes back as it was sent.",
        ("C-35",),
        (
            call("one", ["hold", "a"], ["say", "number"], id=7),
            call("two", ["hold", "a"], ["say", "text"], id="7"),
            call("three", ["hold", "a"], id="x" * 500),
            reached("a"),
            call("again", ["say", "no"], id=7),
            answered("again", status=400, code=-32600),
            opens("a"),
            answered("one", '"id": 7.*number'),
            answered("two", '"id": "7".*text'),
            answered("three", "x" * 500),
        ),
        stream_after=5.0,
    ),
)
