"""Both eras on one connection, in any order: each request is answered by what it says itself, and by nothing else.

A walk is a seeded list of requests, good, confused and hostile, sent over a few connections, one by one or several
at once (pipelined). `Walk` knows what each must be answered with, and at the end what the server must still have.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from archon_transport.protocol.revisions import HANDSHAKE
from archon_transport.store.memory import MemoryStore
from archon_transport.transport import StoreBus
from tests.transport.house import _read_answer, handshake, request, until
from tests.transport.modern_house import NOW, VERSION, House, message, meta, mirrored, modern_running

STEPS = 150
CONNECTIONS = 3
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Step:
    """One request as it stands on the wire, and what must be true of its answer."""

    kind: str
    verb: str
    headers: dict[str, str | None]
    body: Any
    check: Callable[[Answer], None]
    alone: bool = False

    @property
    def wire(self) -> bytes:
        body = b"" if self.body is None else json.dumps(self.body).encode()
        named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
        named |= self.headers
        lines = [f"{name}: {value}" for name, value in named.items() if value is not None]
        return "\r\n".join([f"{self.verb} /mcp HTTP/1.1", *lines, "", ""]).encode() + body


@dataclass
class Walk:
    """What a client knows: its live sessions and their revisions, and those that it ended."""

    dice: random.Random
    live: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    count: int = 0

    def next(self) -> Step:
        """The next step that can be taken now."""
        while True:
            kind = self.dice.choice(KINDS)
            needs = kind.__name__.partition("_")[0]
            if (needs == "live" and not self.live) or (needs == "ended" and not self.ended):
                continue
            step = kind(self)
            step.kind = kind.__name__
            return step

    def id(self) -> Any:
        self.count += 1
        return self.dice.choice([self.count, str(self.count)])

    def session(self) -> str:
        return self.dice.choice(list(self.live))

    def any_session(self) -> str | None:
        return self.dice.choice([*self.live, *self.ended, None, "unknown", "x" * 80])


def refused(id: Any, status: int, code: int) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        body = json.loads(answer[2])
        assert (answer[0], body["error"]["code"]) == (status, code)
        assert body.get("id") == id and type(body.get("id")) is type(id)
        assert "mcp-session-id" not in answer[1]

    return check


def seen(id: Any, session: str | None, revision: str) -> Callable[[Answer], None]:
    """It was served, and the handler saw this session and this revision."""

    def check(answer: Answer) -> None:
        assert answer[0] == 200, answer
        body = json.loads(answer[2])
        facts = json.loads(body["result"]["content"][0]["text"])
        assert body["id"] == id and type(body["id"]) is type(id)
        assert facts["session"] == (session and session.partition(".")[0])
        assert facts["protocol_version"] == revision
        assert ("resultType" in body["result"]) is (revision == NOW), "each era has its own shape"
        assert "mcp-session-id" not in answer[1]

    return check


def status(expected: int, **headers: str) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        assert answer[0] == expected, answer
        assert headers.items() <= answer[1].items()

    return check


def post(body: Any, headers: dict[str, Any], check: Callable[[Answer], None], **how: Any) -> Step:
    return Step("", "POST", headers, body, check, **how)


def whoami(id: Any, **params: Any) -> dict[str, Any]:
    return request(id, "tools/call", {"name": "whoami", "arguments": {}, **params})


# --- the handshake era


def handshake_begins(walk: Walk) -> Step:
    """A session begins, whatever stands beside it."""
    id, revision = walk.id(), walk.dice.choice(HANDSHAKE)
    params = handshake(revision) | walk.dice.choice([{}, {"_meta": meta()}])
    headers = {
        "Mcp-Session-Id": walk.any_session(),
        "MCP-Protocol-Version": walk.dice.choice([None, revision]),
    }

    def check(answer: Answer) -> None:
        assert answer[0] == 200 and json.loads(answer[2])["id"] == id
        walk.live[answer[1]["mcp-session-id"]] = revision

    return post(request(id, "initialize", params), headers, check)


def live_call(walk: Walk) -> Step:
    """The row decides the revision; a handshake header, and Mcp-Method that lies, change nothing."""
    id, session = walk.id(), walk.session()
    version = walk.dice.choice([None, walk.live[session], *HANDSHAKE])
    headers = {
        "Mcp-Session-Id": session,
        "MCP-Protocol-Version": version,
        "Mcp-Method": walk.dice.choice([None, "x"]),
    }
    return post(whoami(id), headers, seen(id, session, walk.live[session]))


def live_batch(walk: Walk) -> Step:
    """Two calls in one body, where the session's revision has that; modern members do not make it modern."""
    session = walk.session()
    members = [whoami(1), whoami("1", _meta=meta())]
    headers = {"Mcp-Session-Id": session}

    def check(answer: Answer) -> None:
        if walk.live.get(session, "2025-11-25") > "2025-03-26":
            return refused(None, 400, -32600)(answer)
        assert answer[0] == 200
        facts = [json.loads(each["result"]["content"][0]["text"]) for each in json.loads(answer[2])]
        assert {each["session"] for each in facts} == {session.partition(".")[0]}
        return None

    return post(members, headers, check, alone=True)


def live_ends(walk: Walk) -> Step:
    """DELETE ends one session and no other."""
    session = walk.session()
    del walk.live[session]
    walk.ended.append(session)
    return Step("", "DELETE", {"Mcp-Session-Id": session}, None, status(200), alone=True)


def live_discover(walk: Walk) -> Step:
    """What only the other era has is not there: 200 -32601, never 404."""
    id, session = walk.id(), walk.session()
    return post(request(id, "server/discover", {}), {"Mcp-Session-Id": session}, refused(id, 200, -32601))


def ended_call(walk: Walk) -> Step:
    """An ended session is 404, and one that never was is too."""
    id, session = walk.id(), walk.dice.choice([*walk.ended, "unknown"])
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": walk.dice.choice([None, *HANDSHAKE])}
    return post(whoami(id), headers, refused(id, 404, -32600))


def handshake_without_a_session(walk: Walk) -> Step:
    """400, and no session is made of it."""
    id = walk.id()
    return post(whoami(id), {"MCP-Protocol-Version": "2025-11-25"}, refused(id, 400, -32600))


# --- the modern era


def modern_call(walk: Walk) -> Step:
    """Any session id and any cursor beside it are nobody's business."""
    id = walk.id()
    value = message("tools/call", id, name="whoami", arguments={})
    more = {"Mcp-Session-Id": walk.any_session(), "Last-Event-ID": walk.dice.choice([None, "x.1.1"])}
    return post(value, mirrored(value) | more, seen(id, None, NOW))


def modern_discover(walk: Walk) -> Step:
    value = message("server/discover", walk.id())
    return post(value, mirrored(value) | {"Mcp-Session-Id": walk.any_session()}, status(200))


def modern_ping(walk: Walk) -> Step:
    """What only the other era has is 404 -32601."""
    id = walk.id()
    value = message(walk.dice.choice(["ping", "logging/setLevel", "resources/subscribe"]), id)
    return post(value, mirrored(value) | {"Mcp-Session-Id": walk.any_session()}, refused(id, 404, -32601))


def modern_cancellation(walk: Walk) -> Step:
    note = {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 1, "_meta": meta()},
    }
    headers = {"MCP-Protocol-Version": NOW, "Mcp-Session-Id": walk.any_session()}
    return post(note, headers, status(202))


def modern_verb(walk: Walk) -> Step:
    """GET and DELETE are not there, and end no session."""
    headers = {"MCP-Protocol-Version": NOW, "Mcp-Session-Id": walk.any_session()}
    return Step("", walk.dice.choice(["GET", "DELETE"]), headers, None, status(405, allow="POST"))


# --- the confused and the hostile


def confused_without_header(walk: Walk) -> Step:
    """The body says its era: with a live session's id beside it this is no call of that session."""
    id = walk.id()
    value = message("tools/call", id, name="whoami", arguments={})
    headers = {"MCP-Protocol-Version": walk.dice.choice([None, *HANDSHAKE, "1900-01-01"])}
    return post(
        value, mirrored(value) | headers | {"Mcp-Session-Id": walk.any_session()}, refused(id, 400, -32020)
    )


def confused_without_meta(walk: Walk) -> Step:
    """A modern header over a body of the other era is no call of the session beside it."""
    id = walk.id()
    headers = {"MCP-Protocol-Version": NOW, "Mcp-Session-Id": walk.any_session()}
    return post(whoami(id), headers, refused(id, 400, -32602))


def confused_initialize(walk: Walk) -> Step:
    id = walk.id()
    headers = {"MCP-Protocol-Version": NOW, "Mcp-Method": "initialize", "Mcp-Session-Id": walk.any_session()}
    if walk.dice.random() < 0.5:
        return post(message("initialize", id, **handshake("2025-11-25")), headers, refused(id, 404, -32601))
    return post(request(id, "initialize", handshake("2025-11-25")), headers, refused(id, 400, -32022))


def confused_batch(walk: Walk) -> Step:
    members = [message("tools/call", 1, name="whoami")]
    headers = mirrored(members[0]) | {"Mcp-Session-Id": walk.any_session()}
    return post(members, headers, refused(None, 400, -32600))


def hostile_names(walk: Walk) -> Step:
    """Headers that lie to whoever routes by them."""
    id = walk.id()
    value = message("tools/call", id, name="whoami", arguments={})
    lie = walk.dice.choice([{"Mcp-Name": "echo"}, {"Mcp-Method": "tools/list"}, {"Mcp-Name": "=?base64?!?="}])
    return post(
        value, mirrored(value) | lie | {"Mcp-Session-Id": walk.any_session()}, refused(id, 400, -32020)
    )


def hostile_revision(walk: Walk) -> Step:
    """A revision that nobody speaks, by the header alone or by both."""
    id = walk.id()
    said = walk.dice.choice([None, meta(**{VERSION: "2027-01-01"})])
    value = whoami(id) if said is None else whoami(id, _meta=said)
    headers = {"MCP-Protocol-Version": "2027-01-01", "Mcp-Method": "tools/call", "Mcp-Name": "whoami"}
    return post(value, headers | {"Mcp-Session-Id": walk.any_session()}, refused(id, 400, -32022))


def hostile_answer(walk: Walk) -> Step:
    """An answer to a question that nobody asked."""
    headers = {"MCP-Protocol-Version": NOW, "Mcp-Session-Id": walk.any_session()}
    return post({"jsonrpc": "2.0", "id": 1, "result": {}}, headers, status(400))


KINDS = [
    handshake_begins, live_call, live_call, live_batch, live_ends, live_discover, ended_call,
    handshake_without_a_session, modern_call, modern_call, modern_discover, modern_ping, modern_cancellation,
    modern_verb, confused_without_header, confused_without_meta, confused_initialize, confused_batch,
    hostile_names, hostile_revision, hostile_answer,
]  # fmt: skip


async def take(house: House, walk: Walk) -> None:
    """A walk over one house; a step that waits for what it changes is taken alone."""
    ends = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(CONNECTIONS)]
    taken = 0
    try:
        while taken < STEPS:
            steps = [walk.next()]
            while not steps[-1].alone and len(steps) < walk.dice.choice([1, 1, 4]):
                steps.append(walk.next())
            await send(steps, *walk.dice.choice(ends))
            taken += len(steps)
    finally:
        for _, writer in ends:
            writer.close()


async def send(steps: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Several requests at once, and their answers in their order."""
    writer.writelines(step.wire for step in steps)
    async with asyncio.timeout(10):
        for step in steps:
            answer = await _read_answer(reader)
            try:
                step.check(answer)
            except AssertionError as error:
                raise AssertionError(f"{step.kind}: {step.wire!r} was answered {answer!r}") from error


@pytest.mark.spec("D-01", "D-02", "D-03", "D-07", "D-12", "M-39", "M-60")
@pytest.mark.parametrize("seed", range(8))
async def test_any_order(seed):
    """Each request of a random walk is answered as it would be alone, and what it leaves is what it should."""
    store = MemoryStore()
    async with modern_running(store, StoreBus(store)) as house:
        walks = [Walk(random.Random(f"{seed}/{number}")) for number in range(2)]
        await asyncio.gather(*(take(house, walk) for walk in walks))
        await until(lambda: len(house.transport.calls) == 0)
        live = [(session, revision) for walk in walks for session, revision in walk.live.items()]
        for session, revision in live:
            answer = await house.call("whoami", session)
            assert json.loads(answer.said)["revision"] == revision
        opened = sum(len(walk.live) + len(walk.ended) for walk in walks)
        assert house.transport.sessions.opened == opened
