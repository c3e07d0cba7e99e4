"""What is sent: one good request of either era, some things spoiled; the dice decide."""

from __future__ import annotations

import base64
import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

NOW: Final = "2026-07-28"
HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
INFO: Final = "io.modelcontextprotocol/clientInfo"
NAMES: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

TOOLS: Final = (
    *("echo",) * 24,
    "slow",
    "slow_counts",
    "ask",
    "test_simple_text",
    "test_error_handling",
    "test_tool_with_progress",
    "test_input_required_result_multi_round",
    "test_input_required_result_capabilities",
    "no-such-tool",
)
METHODS: Final = (
    *("tools/call",) * 10,
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "ping",
    "server/discover",
    "subscriptions/listen",
    "initialize",
    "tasks/get",
    "no/such",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
)
ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 1.5, 2**63, 10**40, 1e308, "", "x", "é", "\u2028", "\x00", "x" * 3000, [], {}, [[]],
    {"": None}, [None] * 50, "2026-07-28", "2025-11-25", "notifications/cancelled", "file:///etc/passwd",
)  # fmt: skip
TEXTS: Final = ("hello", "é", "日本語", "", " edge ", "=?base64?eA==?=", "a\nb", "x" * 2000)
WORDS: Final = (
    "", "x", "é".encode().decode("latin-1"), "\x80\xff", "=?base64?ZWNobw==?=", "=?base64?!?=", "=?BASE64?eA==?=", "1",
    "2026-07-28", "2025-11-25", "2025-03-26", "1900-01-01", "tools/call", "echo", "a, b", '"', "x" * 3000, "\t", "%00",
)  # fmt: skip
HEADERS: Final = (
    "Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Param-Region", "Mcp-Param-X",
    "Last-Event-ID", "Content-Type", "Accept", "Origin", "Host", "Authorization", "User-Agent", "X-Other",
    "Content-Encoding", "Cookie", "Baggage", "Access-Control-Request-Method",
    "Access-Control-Request-Headers", "traceparent",
)  # fmt: skip
WAITS: Final = (b'"slow"', b'"ask"', b"listen", b"input_required")
"""What stands in a request whose answer may take its time, or wait for the client's."""

SHORT: Final = 0.05
"""Seconds after which a client leaves that waits for something which may never come."""


@dataclass
class Sent:
    """One request: its bytes, and what the client does with the answer."""

    wire: bytes
    verb: str
    kind: str
    leaves: bool = False
    begins: bool = False
    session: str | None = None


@dataclass
class Maker:
    """Makes requests; `sessions` are the live ones that its client knows, by id, with their revisions."""

    dice: random.Random
    sessions: dict[str, str] = field(default_factory=dict)
    event_ids: list[str] = field(default_factory=list)
    most: int = 12
    count: int = 0

    def next(self) -> Sent:
        """The next request."""
        self.count += 1
        if len(self.sessions) > self.most:
            return self._delete(next(iter(self.sessions)))
        if not self.sessions:
            return self._initialize()
        kinds = (
            self._modern, self._modern, self._modern, self._handshake, self._handshake, self._handshake,
            self._batch, self._bodiless, self._noise, self._initialize if self.dice.random() < 0.2 else self._modern,
        )  # fmt: skip
        return self.dice.choice(kinds)()

    def _session(self) -> str:
        return self.dice.choice(list(self.sessions) or ["none.yet"])

    def _id(self) -> Any:
        return self.dice.choice([self.count, str(self.count), 7, "seven"])

    # --- the good ones

    def _initialize(self) -> Sent:
        revision = self.dice.choice((*HANDSHAKE, NOW, "1999-01-01"))
        params = {
            "protocolVersion": revision,
            "capabilities": self.dice.choice([{}, {"elicitation": {}, "sampling": {}, "roots": {}}]),
            "clientInfo": {"name": "fuzz", "version": "1"},
        }
        headers = self._plain()
        if self.dice.random() < 0.3:
            headers["Mcp-Session-Id"] = self._id_of_some_session()
        body: Any = {"jsonrpc": "2.0", "id": self._id(), "method": "initialize", "params": params}
        sent = self._finish("initialize", "POST", headers, body, spoil=0.2)
        sent.begins = True
        return sent

    def _modern(self) -> Sent:
        method = self.dice.choice(METHODS)
        meta: dict[str, Any] = {
            VERSION: NOW,
            CAPABILITIES: self.dice.choice([{}, {"elicitation": {}, "roots": {}}]),
        }
        if self.dice.random() < 0.3:
            meta |= self.dice.choice(
                [
                    {"progressToken": 1},
                    {LOG_LEVEL: "debug"},
                    {INFO: {"name": "f", "version": "1"}},
                    {LOG_LEVEL: "x"},
                ]
            )
        params = {**self._params(method), "_meta": meta}
        headers = self._plain() | {"MCP-Protocol-Version": NOW, "Mcp-Method": method}
        name = params.get(NAMES.get(method, ""))
        if isinstance(name, str):
            headers["Mcp-Name"] = _field(name)
        if self.dice.random() < 0.2:
            headers["Mcp-Session-Id"] = self._id_of_some_session()
        return self._finish("modern", "POST", headers, self._message(method, params), spoil=0.35)

    def _handshake(self) -> Sent:
        session, method = self._session(), self.dice.choice(METHODS)
        params = self._params(method)
        if self.dice.random() < 0.3:
            params["_meta"] = self.dice.choice([{"progressToken": 1}, {VERSION: NOW}, {}])
        headers = self._plain() | {"Mcp-Session-Id": session}
        if self.dice.random() < 0.7:
            headers["MCP-Protocol-Version"] = self.sessions[session]
        return self._finish("handshake", "POST", headers, self._message(method, params), spoil=0.35)

    def _batch(self) -> Sent:
        method = self.dice.choice(METHODS)
        members = [
            self._message(method, self._params(method)) for _ in range(self.dice.choice([0, 1, 2, 5, 101]))
        ]
        headers = self._plain() | {"Mcp-Session-Id": self._session()}
        return self._finish("batch", "POST", headers, members, spoil=0.3)

    def _bodiless(self) -> Sent:
        verb = self.dice.choice(["GET", "GET", "GET", "DELETE", "PUT", "OPTIONS", "PATCH"])
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": self._id_of_some_session()}
        if self.dice.random() < 0.3:
            headers["MCP-Protocol-Version"] = self.dice.choice([*HANDSHAKE, NOW, "x"])
        if self.dice.random() < 0.5:
            headers["Last-Event-ID"] = self.dice.choice([*self.event_ids, "x", "", "c.1.1"])
        sent = self._finish("bodiless", verb, headers, None, spoil=0.3)
        sent.leaves = True
        sent.session = headers["Mcp-Session-Id"] if verb == "DELETE" else None
        return sent

    def _delete(self, session: str) -> Sent:
        return Sent(_wire("DELETE", [("Host", "localhost"), ("Mcp-Session-Id", session)], b""), "DELETE", "delete",
                    session=session)  # fmt: skip

    def _noise(self) -> Sent:
        """Bytes that are no JSON, or JSON that is no message, under good headers."""
        raw = self.dice.choice(
            [
                self.dice.randbytes(self.dice.randrange(200)),
                b"[" * self.dice.randrange(200),
                b'{"a":' * 70 + b"1" + b"}" * 70,
                b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}',
                b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
                b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
                b"\xef\xbb\xbf{}",
                b"9" * 5000,
                json.dumps(self.dice.choice(ODD)).encode(),
            ]
        )
        headers = self._plain() | {"Mcp-Session-Id": self._session()}
        return self._finish("noise", "POST", headers, raw, spoil=0.3)

    def _message(self, method: str, params: Any) -> Any:
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": self._id(), "method": method, "params": params}
        if method.startswith("notifications/"):
            del message["id"]
        elif self.dice.random() < 0.05:
            return {"jsonrpc": "2.0", "id": self.dice.choice([1, "q-1"]), "result": {"action": "accept"}}
        return message

    def _params(self, method: str) -> dict[str, Any]:
        match method:
            case "tools/call":
                return self._tool()
            case "prompts/get":
                return {
                    "name": self.dice.choice(["test_simple_prompt", "nothing"]),
                    "arguments": {"arg1": "x"},
                }
            case "resources/read" | "resources/subscribe" | "resources/unsubscribe":
                return {"uri": self.dice.choice(["test://static-text", "test://nothing", "file:///a"])}
            case "subscriptions/listen":
                return {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]}}
            case "logging/setLevel":
                return {"level": self.dice.choice(["debug", "error", "x"])}
            case "completion/complete":
                return {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "b"}}
            case "notifications/cancelled":
                return {"requestId": self.dice.choice([7, "seven", self.count])}
            case "notifications/progress":
                return {"progressToken": "q-1", "progress": 1}
            case _:
                return {}

    def _tool(self) -> dict[str, Any]:
        tool = self.dice.choice(TOOLS)
        arguments: dict[str, Any] = {}
        if tool == "echo":
            arguments = {"text": self.dice.choice(TEXTS)}
        elif tool == "slow":
            arguments = {"seconds": self.dice.choice([0, 0.01, 30])}
        elif tool == "ask":
            arguments = {"question": "why?"}
        more = {} if self.dice.random() < 0.9 else {"inputResponses": {"answer": {"action": "accept"}}}
        return {"name": tool, "arguments": arguments, **more}

    def _plain(self) -> dict[str, str]:
        accept = self.dice.choice(["application/json, text/event-stream"] * 6 + ["application/json", "*/*"])
        return {"Content-Type": "application/json", "Accept": accept}

    def _id_of_some_session(self) -> str:
        session = self._session()
        return self.dice.choice(
            [session, session[:-1] + "x", session.partition(".")[0], "x", "é".encode().decode("latin-1")]
        )

    # --- spoiling

    def _finish(self, kind: str, verb: str, headers: dict[str, str], body: Any, *, spoil: float) -> Sent:
        lines = [("Host", "localhost"), *headers.items()]
        while self.dice.random() < spoil:
            if self.dice.random() < 0.5 and not isinstance(body, bytes | None):
                body = self._spoil_value(body)
            else:
                self._spoil_headers(lines)
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if raw and self.dice.random() < 0.02:
            place = self.dice.randrange(len(raw))
            raw = raw[:place] + self.dice.randbytes(1) + raw[place + 1 :]
        wire = _chunked(verb, lines, raw) if self.dice.random() < 0.05 and raw else _wire(verb, lines, raw)
        waits = any(word in raw for word in WAITS)
        return Sent(wire, verb, kind, leaves=waits)

    def _spoil_headers(self, lines: list[tuple[str, str]]) -> None:
        """One line taken out, put in, said twice, or saying something else."""
        place = self.dice.randrange(1, len(lines))
        name, value = lines[place]
        odd = (self.dice.choice(HEADERS), self.dice.choice(WORDS))
        match self.dice.randrange(5):
            case 0:
                del lines[place]
                lines.append(odd)  # there is always one to spoil
            case 1:
                lines.append(odd)
            case 2:
                lines.append((name.swapcase(), value))
            case 3:
                lines[place] = (name, odd[1])
            case 4:
                lines[place] = (name.swapcase(), f" \t{value}\t ")

    def _spoil_value(self, value: Any) -> Any:
        """One value somewhere in it taken out, put in or exchanged."""
        path: list[tuple[Any, Any]] = []
        here = value
        while isinstance(here, dict | list) and here and (not path or self.dice.random() < 0.7):
            key = self.dice.choice(list(here) if isinstance(here, dict) else range(len(here)))
            path.append((here, key))
            here = here[key]
        if not path:
            return copy.deepcopy(self.dice.choice(ODD))
        holder, key = path[-1]
        if self.dice.random() < 0.3:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(self.dice.choice(ODD))
        return value


def _field(text: str) -> str:
    """A name as a header holds it."""
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def _head(verb: str, lines: list[tuple[str, str]], more: str) -> bytes:
    shown = [f"{name}: {value}" for name, value in lines]
    return "\r\n".join([f"{verb} /mcp HTTP/1.1", *shown, more, "", ""]).encode("latin-1", "replace")


def _wire(verb: str, lines: list[tuple[str, str]], body: bytes) -> bytes:
    return _head(verb, lines, f"Content-Length: {len(body)}") + body


def _chunked(verb: str, lines: list[tuple[str, str]], body: bytes) -> bytes:
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
    return _head(verb, lines, "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
