"""Questions to the client: where they are asked, how their answers find them, and what answers nothing."""

from __future__ import annotations

from typing import Any, Final

from tests.transport.scenarios.scenario import NEW, Scenario
from tests.transport.scenarios.steps import (
    answered,
    answers,
    asks,
    begins,
    call,
    cancels,
    checks,
    deafens,
    deletes,
    drops,
    ends,
    fails,
    idle,
    is_polled,
    listens,
    opens,
    publishes,
    reached,
    result,
    resumes,
    sees,
    session,
    starts,
    step,
    tells,
    waits,
)
from tests.transport.scenarios.world import Verifier, World

ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}
SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "old pond"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///home"}]}
ELICIT = "elicitation/create"


@step
async def answers_together(world: World) -> None:
    """Two answers in one body, one of them to nothing."""
    both = [{"jsonrpc": "2.0", "id": id, "result": ROOTS} for id in ("q-none", world.kept["q"]["id"])]
    assert (await world.send("batch", "POST", both).answer()).status == 202


def token_of(world: World) -> Any:
    """Progress on the kept question."""
    return {
        "progressToken": world.kept["q"]["params"]["_meta"]["progressToken"],
        "progress": 0.5,
        "message": "soon",
    }


def foreign_token(world: World) -> Any:
    return {**token_of(world), "progress": 9}


SCENARIOS: Final = (
    Scenario(
        "elicitation",
        "A handler asks a person on its own call's stream; the answer comes by another POST and finds it.",
        ("H-11", "H-12", "H-120"),
        (
            listens(),
            begins("get"),
            call("post", ["elicit", "name?"]),
            begins("post"),
            sees("post", f'"method":"{ELICIT}".*name\\?', keep="q"),
            answers("q", ACCEPTED),
            result("post", '"accept".*Ada'),
            ends("post"),
            publishes(),
            sees("get", "list_changed"),
        ),
    ),
    Scenario(
        "sampling",
        "A handler has the client's model write something.",
        ("H-12", "H-120"),
        (
            call("post", ["sample"]),
            begins("post"),
            sees("post", "sampling/createMessage.*haiku", keep="q"),
            answers("q", SAMPLED),
            result("post", "old pond"),
            ends("post"),
        ),
    ),
    Scenario(
        "roots",
        "A handler asks for the client's roots; a question may have no params.",
        ("H-12", "H-120"),
        (
            call("post", ["roots"]),
            begins("post"),
            sees("post", '"method":"roots/list"', keep="q"),
            answers("q", ROOTS),
            result("post", "file:///home"),
            ends("post"),
        ),
    ),
    Scenario(
        "ping-in-a-call",
        "A ping that a handler sends goes on its call's stream, named or not.",
        ("H-12", "H-91"),
        (
            call("post", ["ping"], ["ping_outside"], ["say", "back"]),
            begins("post"),
            sees("post", '"ping"', keep="q"),
            answers("q", {}),
            sees("post", '"ping"', keep="q"),
            answers("q", {}),
            result("post", "back"),
            ends("post"),
        ),
    ),
    Scenario(
        "several-questions",
        "Questions of one call, and of several, are answered in any order.",
        ("H-120",),
        (
            call("one", ["elicit", "first"], ["elicit", "second"]),
            call("two", ["elicit", "other"]),
            begins("one"),
            sees("one", "first", keep="first"),
            begins("two"),
            sees("two", "other", keep="other"),
            answers("other", {"action": "decline"}),
            result("two", "decline"),
            answers("first", {"action": "cancel"}),
            sees("one", "second", keep="second"),
            answers("second", ACCEPTED),
            result("one", "cancel.*accept"),
        ),
    ),
    Scenario(
        "answered-with-an-error",
        "A client that refuses says so; the handler gets its error.",
        ("H-120",),
        (
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            answers("q", error={"code": -1, "message": "the user has left"}),
            result("post", "-1: the user has left"),
        ),
    ),
    Scenario(
        "answered-twice",
        "The first answer counts; a second one is 202 and changes nothing.",
        ("H-120",),
        (
            call("post", ["elicit", "?"], ["hold", "a"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            answers("q", {"action": "accept", "content": {"name": "first"}}),
            answers("q", {"action": "accept", "content": {"name": "second"}}),
            reached("a"),
            opens("a"),
            result("post", "first"),
            answers("q", {"action": "accept", "content": {"name": "third"}}),
        ),
    ),
    Scenario(
        "answers-to-nothing",
        "An answer with an id that nobody asked is 202 and changes nothing.",
        ("H-120", "C-28"),
        (
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            answers("q-guessed", ACCEPTED),
            answers(7, ACCEPTED),
            answers("", ACCEPTED),
            answers("\x00", ACCEPTED),
            answers("q", {"action": "decline"}),
            result("post", "decline"),
        ),
    ),
    Scenario(
        "answers-of-another-session",
        "Another session cannot answer, even with the right id.",
        ("H-120", "H-39"),
        (
            session("t"),
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            answers("q", ACCEPTED, session="t"),
            answers("q", {"action": "decline"}),
            result("post", "decline"),
        ),
    ),
    Scenario(
        "answers-of-another-person",
        "With the session's id but another token nobody answers: the session does not exist for them.",
        ("H-120", "H-39", "S-08", "S-11"),
        (
            call("post", ["elicit", "?"], headers={"Authorization": "Bearer ada"}),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            answers("q", ACCEPTED, status=404, headers={"Authorization": "Bearer bob"}),
            resumes("get", "post", status=404, headers={"Authorization": "Bearer bob"}),
            answers("q", {"action": "decline"}, headers={"Authorization": "Bearer ada"}),
            result("post", "decline"),
        ),
        options={"token_verifier": Verifier()},
        token="ada",
    ),
    Scenario(
        "no-answer-in-time",
        "A question that is not answered in time is taken back on the stream where it was asked; late answers are 202.",
        ("H-96", "H-120", "J-19"),
        (
            listens(),
            begins("get"),
            call("post", ["elicit", "?", 0.2], ["hold", "a"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            sees("post", "notifications/cancelled", keep="cancelled"),
            checks(lambda world: world.kept["cancelled"]["params"]["requestId"] == world.kept["q"]["id"]),
            answers("q", ACCEPTED),
            opens("a"),
            result("post", "-32603: .*did not answer"),
            ends("post"),
        ),
    ),
    Scenario(
        "cancelled-while-asking",
        "A call that is cancelled while it asks takes its question back, is answered and ends; an answer is too late.",
        ("H-92", "H-96", "H-99", "H-120"),
        (
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            cancels("post"),
            sees("post", "notifications/cancelled", keep="cancelled"),
            checks(lambda world: world.kept["cancelled"]["params"]["requestId"] == world.kept["q"]["id"]),
            fails("post", -32800),
            ends("post"),
            idle(),
            answers("q", ACCEPTED),
            waits(lambda world: len(world.nodes["a"].transport.questions) == 0),
            asks("ping"),
        ),
    ),
    Scenario(
        "deleted-while-asking",
        "A session that ends fails the questions of its calls.",
        ("C-26",),
        (
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            deletes(),
            sees("post", "notifications/cancelled"),
            fails("post", -32800),
            ends("post"),
            answers("q", ACCEPTED, status=404),
            waits(lambda world: len(world.nodes["a"].transport.questions) == 0),
        ),
    ),
    Scenario(
        "undeclared",
        "What the client did not declare is not asked: the handler gets an error, the client sees nothing of it.",
        ("H-118",),
        (
            call("post", ["elicit", "?"], ["sample"], ["roots"]),
            answered("post", "-32600: .*elicitation.*-32600: .*sampling.*-32600: .*roots"),
        ),
        capabilities={},
    ),
    Scenario(
        "declared-in-part",
        "A client that declared one feature is asked for that one.",
        ("H-118",),
        (
            call("post", ["sample"], ["roots"]),
            begins("post"),
            sees("post", "roots/list", keep="q"),
            answers("q", ROOTS),
            result("post", "-32600: .*file:///home"),
        ),
        capabilities={"roots": {"listChanged": True}},
    ),
    Scenario(
        "progress-on-a-question",
        "The client's progress on a question reaches the handler that asked, and no other session's does.",
        ("H-120", "H-100"),
        (
            session("t"),
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            tells("notifications/progress", foreign_token, session="t"),
            tells("notifications/progress", token_of),
            waits(lambda world: world.stage.progress),
            checks(lambda world: world.stage.progress == [(0.5, None, "soon")]),
            answers("q", ACCEPTED),
            result("post", "accept"),
        ),
    ),
    Scenario(
        "asked-and-dropped",
        "A client that lost the connection finds the open question again when it resumes, and answers it.",
        ("H-21", "H-38", "H-120"),
        (
            call("post", ["progress", 1], ["elicit", "?"], token=1),
            begins("post"),
            sees("post", "progress"),
            sees("post", ELICIT, keep="q"),
            drops("post"),
            resumes("get", "post", -2),
            begins("get"),
            sees("get", ELICIT, keep="again"),
            checks(lambda world: world.kept["q"] == world.kept["again"]),
            answers("again", ACCEPTED),
            result("get", "accept", of="post"),
            ends("get"),
        ),
    ),
    Scenario(
        "asked-while-polled",
        "A question that is asked while nobody is connected waits for the GET that comes.",
        ("H-15", "H-120"),
        (
            call("post", ["progress", 1], ["close"], ["hold", "a"], ["elicit", "?"], token=1),
            begins("post"),
            sees("post", "progress"),
            is_polled("post"),
            opens("a"),
            waits(lambda world: len(world.nodes["a"].transport.questions)),
            resumes("get", "post"),
            begins("get"),
            sees("get", ELICIT, keep="q"),
            answers("q", ACCEPTED),
            result("get", "accept", of="post"),
            ends("get"),
        ),
        revisions=NEW,
    ),
    Scenario(
        "answered-at-another-node",
        "An answer may arrive at any node; the one that asked gets it.",
        ("H-120",),
        (
            starts("b"),
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            answers("q", ACCEPTED, node="b"),
            answers("q", {"action": "decline"}),
            result("post", "accept"),
        ),
        revisions=NEW,
        stores=("postgres",),
    ),
    Scenario(
        "answered-without-a-wake-up",
        "An answer given at another node is found though the node that asked is told nothing.",
        ("H-120",),
        (
            starts("b"),
            call("post", ["elicit", "?"]),
            begins("post"),
            sees("post", ELICIT, keep="q"),
            deafens("a"),
            answers("q", ACCEPTED, node="b"),
            result("post", "accept"),
        ),
        revisions=NEW,
        stores=("postgres",),
    ),
    Scenario(
        "answered-in-a-batch",
        "At 2025-03-26 several answers may come in one body.",
        ("H-60", "H-120"),
        (
            call("post", ["roots"]),
            begins("post"),
            sees("post", "roots/list", keep="q"),
            answers_together(),
            result("post", "file:///home"),
        ),
        revisions=("2025-03-26",),
    ),
)
