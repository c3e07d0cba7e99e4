"""Who sends: one connection at a time, kept for as long as the server keeps it, and each answer is judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from .requests import SHORT, Maker, Sent

HANGS: Final = 20.0
"""Seconds after which an answer no longer comes."""

_ID: Final = re.compile(rb"^id: ([^\r\n]+)\r?$", re.MULTILINE)


@dataclass
class Tally:
    """What came of all requests; `faults` are answers that may not be, with the request."""

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, why: str, sent: Sent, answer: bytes = b"") -> None:
        """Note one, with enough to send it again."""
        if len(self.faults) < 50:
            self.faults.append(f"{why}: {sent.kind} {sent.wire[:3000]!r} was answered {answer[:1000]!r}")


@dataclass
class Answer:
    """An HTTP answer; `raw` is what was read of its body, `whole` whether that is all."""

    status: int
    headers: dict[str, str]
    raw: bytes
    whole: bool


class Client:
    """Sends what a maker makes."""

    def __init__(self, port: int, maker: Maker, tally: Tally) -> None:
        self._port = port
        self._maker = maker
        self._tally = tally
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, requests: int) -> None:
        """Send so many."""
        for _ in range(requests):
            sent = self._maker.next()
            self._tally.sent += 1
            await self._exchange(sent)

    async def leave(self) -> None:
        """Close the connection, if there is one."""
        if self._writer is not None:
            self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def _exchange(self, sent: Sent) -> None:
        answer = None
        try:
            async with asyncio.timeout(SHORT if sent.leaves else HANGS):
                answer = await self._answer(sent)
        except TimeoutError:
            if not sent.leaves:
                self._tally.fault("no answer", sent)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._tally.fault("the connection broke", sent)
        if answer is None:
            self._tally.statuses["left"] += 1
            await self.leave()
            return
        self._tally.statuses[str(answer.status)] += 1
        self._judge(sent, answer)
        if (
            not answer.whole
            or answer.headers.get("connection", "").lower() == "close"
            or _is_aiohttps(answer)
        ):
            await self.leave()

    async def _answer(self, sent: Sent) -> Answer:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.leave()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(sent.wire)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        headers = {name.lower(): value for name, _, value in pairs}
        status = int(first.split()[1])
        if sent.verb == "HEAD" or status in (202, 204):
            return Answer(status, headers, b"", True)
        if headers.get("transfer-encoding") == "chunked":
            raw, whole = await self._chunks(sent)
            return Answer(status, headers, raw, whole)
        raw = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, raw, True)

    async def _chunks(self, sent: Sent) -> tuple[bytes, bool]:
        """The body; of one that may have no end only the beginning."""
        assert self._reader is not None
        raw = b""
        while True:
            size = int(await self._reader.readline(), 16)
            raw += (await self._reader.readexactly(size + 2))[:-2]
            if size == 0:
                return raw, True
            if sent.leaves:
                return raw, False

    def _judge(self, sent: Sent, answer: Answer) -> None:
        """Statuses, shapes, and no session id but where a session began."""
        if answer.status >= 500 and answer.status != 503:
            self._tally.fault(f"status {answer.status}", sent, answer.raw)
        if answer.headers.get("content-type") == "application/json":
            try:
                self._judge_json(sent, answer)
            except ValueError:
                self._tally.fault("no JSON", sent, answer.raw)
        elif answer.status >= 400 and not _is_aiohttps(answer):
            self._tally.fault("a refusal without a JSON body", sent, answer.raw)
        self._learn(sent, answer)

    def _judge_json(self, sent: Sent, answer: Answer) -> None:
        body = json.loads(answer.raw)
        for each in body if isinstance(body, list) else [body]:
            if (
                not isinstance(each, dict)
                or each.get("jsonrpc") != "2.0"
                or ("error" in each) == ("result" in each)
            ):
                self._tally.fault("no JSON-RPC", sent, answer.raw)
        if isinstance(body, dict) and "error" in body:
            self._tally.statuses[f"{answer.status} {body['error']['code']}"] += 1
            if "Traceback" in body["error"]["message"]:
                self._tally.fault("a traceback in an answer", sent, answer.raw)

    def _learn(self, sent: Sent, answer: Answer) -> None:
        found = answer.headers.get("mcp-session-id")
        if found is not None:
            body = json.loads(answer.raw)
            if "result" not in body or "protocolVersion" not in body["result"]:
                self._tally.fault("a session id without a session", sent, answer.raw)
            else:
                self._maker.sessions[found] = body["result"]["protocolVersion"]
        if sent.session is not None and answer.status in (200, 404):
            self._maker.sessions.pop(sent.session, None)
        ids = [each.decode("latin-1") for each in _ID.findall(answer.raw)]
        self._maker.event_ids = [*self._maker.event_ids, *ids][-20:]


def _is_aiohttps(answer: Answer) -> bool:
    """What is no HTTP is answered by the HTTP server itself, in plain text."""
    return answer.status == 400 and answer.headers.get("content-type", "").startswith("text/plain")
