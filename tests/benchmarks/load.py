"""A load generator for one keep-alive workload: raw asyncio protocols, no HTTP library in the way.

Each connection sends the same request bytes again as soon as the response is complete, and fails the
run on any status but 200 and on any JSON-RPC error. It understands bodies with a length and chunked ones.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class Tally:
    """Responses counted inside the measured window, and each one's latency in seconds."""

    latencies: list[float] = field(default_factory=list)
    failed: bytes = b""


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, tally: Tally, window: tuple[float, float]) -> None:
        self._request = request
        self._tally = tally
        self._opens, self._closes = window
        self._buffer = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or not _is_complete(head.lower(), body):
            return
        now = time.perf_counter()
        if not head.startswith(b"HTTP/1.1 200") or b'"error"' in body:
            self._tally.failed = self._buffer
            self._transport.close()
            return
        if self._opens <= now < self._closes:
            self._tally.latencies.append(now - self._sent)
        self._buffer = b""
        if now >= self._closes:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _is_complete(head: bytes, body: bytes) -> bool:
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")


async def drive(
    port: int, requests: list[bytes], *, connections: int, seconds: float, warmup: float = 0.7
) -> Tally:
    """Send for `seconds` after a warm-up over so many connections, each with one of the requests."""
    tally = Tally()
    start = time.perf_counter() + warmup
    loop = asyncio.get_running_loop()
    protocols = []
    for number in range(connections):
        request = requests[number % len(requests)]
        _, protocol = await loop.create_connection(
            lambda request=request: _Connection(request, tally, (start, start + seconds)), "127.0.0.1", port
        )
        protocols.append(protocol)
    await asyncio.wait_for(asyncio.gather(*(protocol.done for protocol in protocols)), seconds + warmup + 30)
    if tally.failed:
        raise RuntimeError(f"the server answered {tally.failed[:500]!r}")
    return tally


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
