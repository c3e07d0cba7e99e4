"""A client that keeps what it was sent: every event of every connection, with its id and the time.

It resumes only when it is told to, from wherever it is told to, and answers what it is told to answer. Nothing
here judges: `checker.py` does, from these records and from the tables.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.history.process import until

REVISION = "2025-11-25"
LOST = "may be repeated"
"""What the error of a call says whose process is gone."""


@dataclass(frozen=True, slots=True)
class Received:
    """One event as it arrived; `message` is None where it had only an id."""

    event_id: str | None
    message: dict[str, Any] | None
    raw: bytes
    at: float

    @property
    def place(self) -> tuple[int, int]:
        """(epoch, n)."""
        return place(str(self.event_id))

    @property
    def is_response(self) -> bool:
        """Whether it is the end of a call."""
        return self.message is not None and "method" not in self.message

    @property
    def is_question(self) -> bool:
        """Whether the client is asked something."""
        return self.message is not None and "method" in self.message and "id" in self.message


def place(event_id: str) -> tuple[int, int]:
    """The (epoch, n) of an id: the tests look into what clients must not."""
    _, epoch, n = event_id.split(".")
    return int(epoch), int(n)


class Connection:
    """One HTTP exchange: what came, and how it ended (`closed` by the server, `broken`, or `dropped` by us)."""

    def __init__(self, what: str, cursor: str | None = None) -> None:
        self.what = what
        self.cursor = cursor
        self.began = time.monotonic()
        self.status: int | None = None
        self.headers: Any = {}
        self.body = b""
        self.received: list[Received] = []
        self.ended: str | None = None
        self.ended_at = 0.0
        self.retry: int | None = None
        self._rest = b""
        self.task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        events = [
            f"{r.event_id and r.event_id.partition('.')[2]}{'' if r.message else '-'}" for r in self.received
        ]
        return f"<{self.what} from {self.cursor} {self.status} {self.ended} [{' '.join(events)}]>"

    @property
    def is_open(self) -> bool:
        return self.ended is None

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and str(self.headers.get("Content-Type", "")).startswith(
            "text/event-stream"
        )

    @property
    def events(self) -> list[Received]:
        """What came with a message in it."""
        return [r for r in self.received if r.message is not None]

    @property
    def last_id(self) -> str | None:
        """The id to resume from."""
        return next((r.event_id for r in reversed(self.received) if r.event_id), None)

    async def drop(self) -> None:
        """Cut it, as a client does that loses its network."""
        if self.task is not None and self.is_open:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.ended = self.ended or "dropped"  # one that had not even begun says nothing itself

    async def finished(self, limit: float = 20.0) -> Connection:
        """Wait for its end."""
        await until(lambda: not self.is_open, limit=limit)
        return self

    async def read(
        self, http: aiohttp.ClientSession, verb: str, url: str, body: bytes | None, headers: Any
    ) -> None:
        """Make the request and keep all that comes."""
        ended = "broken"
        try:
            async with http.request(verb, url, data=body, headers=headers) as response:
                self.status, self.headers = response.status, response.headers
                if self.is_stream:
                    async for chunk in response.content.iter_any():
                        self._feed(chunk)
                else:
                    self.body = await response.read()
                ended = "closed"
        except asyncio.CancelledError:
            ended = "dropped"
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            self.ended, self.ended_at = ended, time.monotonic()

    def _feed(self, chunk: bytes) -> None:
        *frames, self._rest = (self._rest + chunk).split(b"\r\n\r\n")
        for one in frames:
            fields = dict(line.split(b": ", 1) for line in one.split(b"\r\n") if not line.startswith(b":"))
            if b"retry" in fields:
                self.retry = int(fields[b"retry"])
            if b"data" not in fields and b"id" not in fields:
                continue
            event_id, raw = fields.get(b"id"), fields.get(b"data", b"")
            message = json.loads(raw) if raw else None
            self.received.append(Received(event_id and event_id.decode(), message, raw, time.monotonic()))


@dataclass(eq=False)
class Call:
    """One `tools/call`: its POST and the GETs that resumed it."""

    client: Client
    request_id: int
    tool: str
    arguments: dict[str, Any]
    connections: list[Connection] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Call {self.request_id} {self.tool}{self.arguments} of {self.client.public_id}>"

    @property
    def post(self) -> Connection:
        return self.connections[0]

    @property
    def events(self) -> Iterator[Received]:
        """Everything with a message that came on any of its connections."""
        return itertools.chain.from_iterable(connection.events for connection in self.connections)

    @property
    def ids(self) -> list[str]:
        """Every id that its client has seen, in order of the stream."""
        found = {r.event_id for c in self.connections for r in c.received if r.event_id}
        return sorted(found, key=place)

    @property
    def responses(self) -> list[dict[str, Any]]:
        """Every response that came, on whichever connection."""
        if self.post.body and self.post.status == 200:
            return [json.loads(self.post.body)]
        return [r.message for r in self.events if r.is_response and r.message is not None]

    @property
    def questions(self) -> list[str]:
        """The ids of the questions that came, each once."""
        return list(dict.fromkeys(str(r.message["id"]) for r in self.events if r.is_question and r.message))

    @property
    def said(self) -> Any:
        """What the tool's result says."""
        (response,) = self.responses[:1]
        return json.loads(response["result"]["content"][0]["text"])

    async def response(self, limit: float = 20.0) -> dict[str, Any]:
        """Its response, when it has come."""
        return (await until(lambda: self.responses, limit=limit))[0]

    async def resume(self, event_id: str | None = None, port: int | None = None) -> Connection:
        """Go on behind an id, the newest by default."""
        return self.client.listen(event_id or self.ids[-1], call=self, port=port)


class Client:
    """One MCP client with one session."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self.http = http
        self.port = port
        self.session_id: str | None = None
        self.calls: list[Call] = []
        self.standing: list[Connection] = []
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def public_id(self) -> str:
        """The session's id in the tables."""
        return str(self.session_id).partition(".")[0]

    async def connect(self, revision: str = REVISION) -> Client:
        """The handshake, with all capabilities of a client."""
        params = {
            "protocolVersion": revision,
            "capabilities": {"elicitation": {}, "sampling": {}, "roots": {}},
            "clientInfo": {"name": "historian", "version": "1"},
        }
        answer = await self.post({"id": 0, "method": "initialize", "params": params})
        assert answer.status == 200, answer.body
        self.session_id = answer.headers["Mcp-Session-Id"]
        assert (await self.post({"method": "notifications/initialized"})).status == 202
        return self

    def start(
        self, connection: Connection, verb: str, message: dict[str, Any] | None, port: int | None
    ) -> Connection:
        """Begin an exchange; its task fills the record."""
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": REVISION}
        body = None
        if self.session_id is not None:
            headers["Mcp-Session-Id"] = self.session_id
        if connection.cursor is not None:
            headers["Last-Event-ID"] = connection.cursor
        if message is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        url = f"http://127.0.0.1:{port or self.port}/mcp"
        task = asyncio.create_task(connection.read(self.http, verb, url, body, headers), name=connection.what)
        connection.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return connection

    async def post(self, message: dict[str, Any], port: int | None = None) -> Connection:
        """One POST, read to its end."""
        connection = self.start(Connection("POST"), "POST", message, port)
        assert connection.task is not None
        await connection.task
        return connection

    def call(self, tool: str, port: int | None = None, **arguments: Any) -> Call:
        """Begin a call."""
        call = Call(self, next(self._ids), tool, arguments)
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": call.request_id}}
        message = {"id": call.request_id, "method": "tools/call", "params": params}
        call.connections.append(self.start(Connection(f"POST {call.request_id}"), "POST", message, port))
        self.calls.append(call)
        return call

    def listen(
        self, cursor: str | None = None, *, call: Call | None = None, port: int | None = None
    ) -> Connection:
        """A GET: a call's stream or the standing one."""
        what = "GET" if call is None else f"GET {call.request_id}"
        connection = self.start(Connection(what, cursor), "GET", None, port)
        (self.standing if call is None else call.connections).append(connection)
        return connection

    async def answer(self, question_id: Any, word: str, port: int | None = None) -> Connection:
        """Answer a question."""
        result = {"action": "accept", "content": {"word": word}}
        return await self.post({"id": question_id, "result": result}, port)

    async def close(self) -> None:
        """End what is still open."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
