"""The steps of which scenarios are made; each is one thing that a client does or sees, or a hand on the server.

A step is a value: its text is what a failure shows. Exchanges, sessions and nodes go by name; `post` is a
usual name for the exchange that began a call and `get` for one that listens.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from mcp.server.subscriptions import ResourceUpdated, ToolsListChanged

from archon_transport.transport import StoreBus
from tests.transport.scenarios.wire import PATIENCE, End, Event
from tests.transport.scenarios.world import World, until


@dataclass(frozen=True)
class Step:
    """One step and how it reads."""

    text: str
    run: Callable[[World], Awaitable[None]]

    def __repr__(self) -> str:
        return self.text


def step(work: Callable[..., Awaitable[None]]) -> Callable[..., Step]:
    """Make a coroutine function of a world into a maker of steps."""

    @wraps(work)
    def make(*args: Any, **named: Any) -> Step:
        shown = [repr(arg) for arg in args] + [f"{name}={value!r}" for name, value in named.items()]
        return Step(f"{work.__name__}({', '.join(shown)})"[:300], lambda world: work(world, *args, **named))

    return make


# What a client sends.


@step
async def session(world: World, name: str, **facts: Any) -> None:
    """Another session."""
    await world.connect(name, **facts)


@step
async def call(
    world: World, name: str, *script: Any, id: Any = None, token: Any = None, node: str = "a", **how: Any
) -> None:
    """POST a call of the tool that plays a script; the id is kept under the exchange's name."""
    params: dict[str, Any] = {"name": "play", "arguments": {"script": [list(line) for line in script]}}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    world.kept[name] = id = world.new_id() if id is None else id
    world.send(name, "POST", _request(id, "tools/call", params), node=node, **how)


@step
async def batch(world: World, name: str, *members: Any, **how: Any) -> None:
    """POST a batch: a script under each id, or a whole message."""
    calls = [
        member
        if isinstance(member, dict)
        else _request(member[0], "tools/call", {"name": "play", "arguments": {"script": member[1]}})
        for member in members
    ]
    world.send(name, "POST", calls, **how)


@step
async def request(
    world: World, name: str, method: str, params: Any = None, id: Any = None, **how: Any
) -> None:
    """POST any request."""
    world.kept[name] = id = world.new_id() if id is None else id
    world.send(name, "POST", _request(id, method, params), **how)


@step
async def asks(world: World, method: str, params: Any = None, *, code: int | None = None, **how: Any) -> None:
    """POST a request that is answered at once: with a result, or with an error of this code."""
    how["headers"] = {"Accept": "application/json", **(how.get("headers") or {})}  # however long it takes
    body = await world.send("ask", "POST", _request(world.new_id(), method, params or {}), **how).body()
    assert body.get("error", {}).get("code") == code, body


@step
async def tells(world: World, method: str, params: Any = None, **how: Any) -> None:
    """POST a notification; it is 202 without a body, whatever comes of it. Params may be made of the world."""
    value = params(world) if callable(params) else params or {}
    note = {"jsonrpc": "2.0", "method": method, "params": value}
    exchange = world.send("note", "POST", note, **how)
    assert (await exchange.answer()).status == 202
    assert await exchange.raw() == b""


@step
async def cancels(world: World, name: str, **how: Any) -> None:
    """Cancel the call of an exchange."""
    note = {"requestId": world.kept[name], "reason": "enough"}
    await tells("notifications/cancelled", note, **how).run(world)


@step
async def answers(
    world: World, question: str, result: Any = None, *, error: Any = None, status: int = 202, **how: Any
) -> None:
    """POST an answer to a kept question, or to an id of the scenario's own."""
    asked = world.kept.get(question)
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"] if asked else question}
    body |= {"result": result or {}} if error is None else {"error": error}
    response = await world.send("answer", "POST", body, **how).answer()
    assert response.status == status, response.status


@step
async def listens(world: World, name: str = "get", *, status: int = 200, **how: Any) -> None:
    """GET, without a place to go on from."""
    response = await world.send(name, "GET", **how).answer()
    assert response.status == status, response.status
    if status == 200:
        _check_headers(response)


@step
async def resumes(
    world: World, name: str, came: str, at: int = -1, *, status: int = 200, headers: Any = None, **how: Any
) -> None:
    """GET with the id of an event that another exchange has seen."""
    headers = {"Last-Event-ID": world.exchanges[came].ids[at], **(headers or {})}
    response = await world.send(name, "GET", headers=headers, **how).answer()
    assert response.status == status, response.status
    if status == 200:
        _check_headers(response)


@step
async def resumes_at(world: World, name: str, place: Any, *, status: int = 200, **how: Any) -> None:
    """GET with any text for an id; it may be made of the world."""
    headers = {"Last-Event-ID": place(world) if callable(place) else place}
    response = await world.send(name, "GET", headers=headers, **how).answer()
    assert response.status == status, response.status


@step
async def drops(world: World, name: str) -> None:
    """The client's connection breaks."""
    await world.exchanges[name].drop()


@step
async def deletes(world: World, status: int = 200, **how: Any) -> None:
    """DELETE the session."""
    response = await world.send("delete", "DELETE", **how).answer()
    assert response.status == status, response.status


@step
async def reads(world: World, name: str) -> None:
    """A client that did not read begins to."""
    world.exchanges[name].reads.set()


# What a client sees.


@step
async def begins(world: World, name: str, *, ids: bool = True, retry: int | None = None) -> None:
    """The answer is a stream; where revision and session have it, it begins with its priming event."""
    response = await world.exchanges[name].answer()
    assert response.status == 200, response.status
    _check_headers(response)
    if world.primes and ids:
        event = await _next(world, name)
        assert event.data == "" and event.id and event.event is None, event
        assert event.retry == retry, event


@step
async def sees(world: World, name: str, pattern: str, *, keep: str | None = None, id: bool = True) -> None:
    """The next event is a message that looks like this; the message may be kept."""
    event = await _next(world, name)
    assert event.is_message, event
    assert re.search(pattern, event.data or ""), f"{event} is not like {pattern!r}"
    assert event.event == "message" and (event.id is not None) is id and event.retry is None, event
    if keep is not None:
        world.kept[keep] = event.message


@step
async def result(
    world: World, name: str, pattern: str = "done", *, id: bool = True, of: str | None = None
) -> None:
    """The next event is the response of the call that an exchange (`of`, or this one) began."""
    event = await _next(world, name)
    message = event.message
    assert message.get("id") == world.kept[of or name] and "result" in message, message
    assert re.search(pattern, message["result"]["content"][0]["text"]), message
    assert (event.id is not None) is id, event


@step
async def fails(world: World, name: str, code: int, pattern: str = "", *, of: str | None = None) -> None:
    """The next event is the call's error response."""
    event = await _next(world, name)
    message = event.message
    assert message.get("id") == world.kept[of or name], message
    assert message.get("error", {}).get("code") == code, message
    assert re.search(pattern, message["error"]["message"]), message


@step
async def comments(world: World, name: str) -> None:
    """The next thing is a comment, which clients do not see."""
    event = await _next(world, name)
    assert event == Event(comment=event.comment) and event.comment is not None, event


@step
async def is_polled(world: World, name: str, retry: int = 1000) -> None:
    """The server closes the connection; where the revision has it, it says first when to come back."""
    if world.primes:
        event = await _next(world, name)
        assert event == Event(retry=retry), event
    await ends(name).run(world)


@step
async def ends(world: World, name: str) -> None:
    """The stream ends in good order, with nothing before that."""
    got = await world.exchanges[name].next()
    assert got == End(broken=False), got


@step
async def breaks(world: World, name: str) -> None:
    """The connection is cut off, after whatever had come."""
    while isinstance(got := await world.exchanges[name].next(), Event):
        pass
    assert got.broken


@step
async def answered(
    world: World, name: str, pattern: str = "", *, status: int = 200, code: int | None = None
) -> None:
    """The whole answer is JSON like this."""
    exchange = world.exchanges[name]
    body = await exchange.body()
    assert (await exchange.answer()).status == status, body
    if isinstance(body, dict):
        assert body.get("error", {}).get("code") == code, body
    assert re.search(pattern, json.dumps(body)), body


@step
async def suffixes(world: World, name: str, *, every: int = 1, live: bool = False) -> None:
    """From each id of an exchange a GET brings exactly what it saw behind it, and ends where that ended.

    Behind the last event of a finished stream there is no stream any more.
    """
    seen = world.exchanges[name].seen
    for place, event in enumerate(seen):
        if event.id is None or place % every:
            continue
        if event is seen[-1] and not live:
            await resumes_at("again", event.id, status=405).run(world)
            continue
        await resumes_at("again", event.id).run(world)
        again = world.exchanges["again"]
        await begins("again").run(world)
        behind = [(later.id, later.data) for later in seen[place + 1 :] if later.is_message]
        got = [await _next(world, "again") for _ in behind]
        assert [(later.id, later.data) for later in got] == behind
        if live:
            await again.drop()
        else:
            await ends("again").run(world)


# Hands on the server.


@step
async def reached(world: World, gate: str) -> None:
    """A handler waits at a gate."""
    async with asyncio.timeout(PATIENCE):
        await world.stage.reached[gate].wait()


@step
async def opens(world: World, gate: str) -> None:
    """Let it through."""
    world.stage.gates[gate].set()


@step
async def starts(world: World, name: str, *, proxied: bool = True) -> None:
    """Another node over the same store; not behind the proxy of the scenario, where it is to be told apart."""
    await world.start(name, proxied=proxied)


@step
async def stops(world: World, name: str = "a") -> None:
    """A node ends in good order."""
    await world.stop(name)


@step
async def drains(world: World, seconds: float, cut: int = 0, node: str = "a") -> None:
    """A node takes nothing new, and ends what has not ended in time: so many calls."""
    _, was_cut = await world.nodes[node].transport.drain(seconds)
    assert was_cut == cut


@step
async def begins_to_drain(world: World, seconds: float, node: str = "a") -> None:
    """The same, while the scenario goes on."""
    world.kept["drain"] = asyncio.create_task(world.nodes[node].transport.drain(seconds))
    await until(lambda: world.nodes[node].transport.endpoint.draining)


@step
async def drained(world: World, finished: int, cut: int) -> None:
    """It has."""
    async with asyncio.timeout(PATIENCE):
        assert await world.kept["drain"] == (finished, cut)


@step
async def publishes(world: World, uri: str | None = None, node: str = "a") -> None:
    """Something outside of all calls says that the tools, or a resource, have changed."""
    bus = StoreBus(world.nodes[node].store)
    await bus.publish(ToolsListChanged() if uri is None else ResourceUpdated(uri))


@step
async def outside(
    world: World, method: str, params: Any = None, session: str = "s", keep: str = "outside"
) -> None:
    """The server asks outside of any request; what comes of it is kept."""
    channel = world.nodes["a"].transport.kernel.outside(world.session_id(session))
    world.kept[keep] = asyncio.create_task(channel.ask(method, params, 5.0))


@step
async def logs(world: World, level: str, data: str, session: str = "s", node: str = "a") -> None:
    """The server says something outside of any request."""
    channel = world.nodes[node].transport.kernel.outside(world.session_id(session))
    await channel.notify("notifications/message", {"level": level, "data": data})


@step
async def later(world: World, seconds: float, node: str = "a") -> None:
    """So much time passes for whoever is connected, and the node looks after them."""
    viewers = world.nodes[node].transport.viewers
    await until(lambda: all(viewer._waiter is not None for viewer in viewers._by_key.values()))
    for viewer in viewers._by_key.values():
        viewer._clock = lambda clock=viewer._clock: clock() + seconds
    viewers.tick()


@step
async def passes(world: World, seconds: float) -> None:
    """So much time passes: a new process of a client does not come sooner."""
    began = time.monotonic()
    await until(lambda: time.monotonic() - began >= seconds)


@step
async def idle(world: World, sessions: int = 0, node: str = "a") -> None:
    """Nobody is connected any more and no call runs."""
    transport = world.nodes[node].transport
    await until(lambda: len(transport.viewers) == 0 and len(transport.calls) == 0)


@step
async def committed(world: World, node: str = "a") -> None:
    """The log has everything that was said."""
    await world.nodes[node].transport.streams.log.settled(5.0)


@step
async def forgets(world: World, node: str = "a") -> None:
    """The streams' rows are gone."""
    if world.dsn is None:
        await world.nodes[node].store.purge(-1.0)
        return
    for table in ("archon_mcp_streams", "archon_mcp_events"):
        await world.sql(f"DELETE FROM {table} WHERE session_id = $1", world.session_id())


@step
async def buries(world: World, node: str = "a") -> None:
    """Another process takes this one for dead, and repairs what it left."""
    transport = world.nodes[node].transport
    store = next((n.store for name, n in world.nodes.items() if name != node), transport.store)
    assert await store.bury(transport.incarnations.current)
    for key in await store.orphans(10):
        assert await store.repair(key, transport.incarnations._error_for(key[1]))


@step
async def ends_session(world: World, reason: str, node: str = "a") -> None:
    """The server ends the session by itself."""
    assert await world.nodes[node].transport.sessions.end(world.session_id(), reason)


@step
async def database(world: World, does: str) -> None:
    """The database is refused, frozen or healed."""
    assert world.proxy is not None
    getattr(world.proxy, does)()


@step
async def deafens(world: World, node: str = "a") -> None:
    """Nothing that other nodes tell reaches this one; its connection lives."""
    world.nodes[node].store._wakeups._hearers.clear()


@step
async def within(world: World, seconds: float, *steps: Step) -> None:
    """All of these, in so many seconds together."""
    async with asyncio.timeout(seconds):
        for each in steps:
            await each.run(world)


@step
async def checks(world: World, look: Callable[[World], Any]) -> None:
    """Something else that must hold."""
    outcome = look(world)
    if asyncio.iscoroutine(outcome):
        outcome = await outcome
    assert outcome


@step
async def waits(world: World, look: Callable[[World], Any]) -> None:
    """Something that comes to hold soon."""
    await until(lambda: look(world))


def _request(id: Any, method: str, params: Any) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": id, "method": method}
    return body if params is None else body | {"params": params}


def _check_headers(response: Any) -> None:
    assert response.headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"


async def _next(world: World, name: str) -> Event:
    got = await world.exchanges[name].next()
    assert isinstance(got, Event), f"{name} has ended: {got}"
    return got
