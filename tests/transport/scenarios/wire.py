"""A client that sees what goes over the wire: one HTTP exchange and the events of its stream, as they come.

Nothing is interpreted that a scenario might want to see: comments, retry fields and empty data are events too.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

PATIENCE: Final = 8.0
"""Seconds after which a scenario that waits has failed."""


@dataclass(frozen=True)
class Event:
    """One block of an event stream, up to its blank line."""

    event: str | None = None
    id: str | None = None
    data: str | None = None
    retry: int | None = None
    comment: str | None = None

    @property
    def message(self) -> Any:
        assert self.data, f"{self} has no message"
        return json.loads(self.data)

    @property
    def is_message(self) -> bool:
        return bool(self.data)


@dataclass(frozen=True)
class End:
    """The response has ended: `broken` where it was cut off."""

    broken: bool


def parse(block: str) -> Event:
    """One event; a field that stands twice or is unknown fails."""
    fields: dict[str, Any] = {}
    for line in block.split("\r\n"):
        name, _, value = line.partition(":")
        name, value = name or "comment", value.removeprefix(" ")
        assert name in ("event", "id", "data", "retry", "comment"), f"unknown field in {block!r}"
        assert name not in fields, f"a field stands twice in {block!r}"
        fields[name] = int(value) if name == "retry" else value
    return Event(**fields)


def connector(narrow: bool = False, limit: int = 100) -> aiohttp.TCPConnector:
    """Connections of one client; a narrow one holds next to nothing of what it does not read."""

    def small(address: Any) -> socket.socket:
        made = socket.socket(address[0], address[1])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return made

    return aiohttp.TCPConnector(limit=limit, socket_factory=small if narrow else None)


class Exchange:
    """One request and what came back so far."""

    def __init__(self, http: aiohttp.ClientSession, verb: str, url: str, body: Any, headers: dict[str, str]):
        self.seen: list[Event] = []
        self.response: aiohttp.ClientResponse | None = None
        self.reads = asyncio.Event()
        self.reads.set()
        self._queue: asyncio.Queue[Event | End] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._raw = b""
        self.error: Exception | None = None
        self._over = asyncio.Event()
        data = None if body is None else json.dumps(body).encode()
        self._task = asyncio.create_task(self._run(http, verb, url, data, headers), name=f"client-{verb}")

    async def _run(self, http: aiohttp.ClientSession, verb: str, url: str, data: Any, headers: Any) -> None:
        broken = True
        try:
            async with http.request(verb, url, data=data, headers=headers) as response:
                self.response = response
                self._answered.set()
                await self.reads.wait()
                await self._read(response)
            broken = False
        except aiohttp.ClientError as error:
            self.error = error
        except Exception as error:
            self.error = error
            raise
        finally:
            self._answered.set()
            self._over.set()
            self._queue.put_nowait(End(broken))

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        if response.content_type != "text/event-stream":
            self._raw = await response.read()
            return
        buffer = b""
        async for chunk in response.content.iter_any():
            buffer += chunk
            *blocks, buffer = buffer.split(b"\r\n\r\n")
            for block in blocks:
                self._queue.put_nowait(parse(block.decode()))
        assert buffer == b"", f"the stream ended in the middle of an event: {buffer[:80]!r}"

    async def answer(self) -> aiohttp.ClientResponse:
        """The status line and headers."""
        async with asyncio.timeout(PATIENCE):
            await self._answered.wait()
        assert self.response is not None, f"no answer: {self.error!r}"
        return self.response

    async def raw(self) -> bytes:
        """The whole body of what is no stream."""
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()
        return self._raw

    async def body(self) -> Any:
        """The whole JSON body."""
        response = await self.answer()
        await self.raw()
        assert response.content_type == "application/json", f"{response.status} {response.content_type}"
        return json.loads(self._raw)

    async def next(self) -> Event | End:
        """The next event, or the end."""
        async with asyncio.timeout(PATIENCE):
            got = await self._queue.get()
        if isinstance(got, Event):
            self.seen.append(got)
        return got

    async def drop(self) -> None:
        """The client goes away without a word."""
        if self.response is not None and self.response.connection is not None:
            transport = self.response.connection.transport
            if transport is not None:
                transport.abort()
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def ids(self) -> list[str]:
        """The ids of all events so far, in order."""
        return [event.id for event in self.seen if event.id is not None]
