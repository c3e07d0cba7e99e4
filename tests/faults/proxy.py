"""A proxy between asyncpg and Postgres that cuts, freezes or refuses on demand.

It listens on a TCP port of its own and passes bytes on to the server that a DSN names, by TCP or by its
unix socket. `cut` breaks what is open, `freeze` lets nothing through and breaks nothing, `refuse` breaks
what comes, `slow` makes every question wait; `heal` ends all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """One listening port in front of the server of `dsn`."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.accepted = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def dsn(self) -> str:
        """The same database through the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{port}{self._parts.path}?sslmode=disable"

    def cut(self) -> None:
        """Break every open connection at once."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Hold back every byte in both directions, also on new connections."""
        self._flows.clear()

    def refuse(self) -> None:
        """Break every open connection and every new one."""
        self._refuses = True
        self.cut()

    def slow(self, seconds: float) -> None:
        """Hold back for so long whatever is sent to the database; its answers come as ever."""
        self._delay = seconds

    def heal(self) -> None:
        """Let everything through again, at once."""
        self._refuses = False
        self._delay = 0.0
        self._flows.set()

    async def _upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        options = parse_qs(self._parts.query)
        host = self._parts.hostname or options["host"][0]
        port = self._parts.port or int(options.get("port", ["5432"])[0])
        if host.startswith("/"):
            return await asyncio.open_unix_connection(Path(host) / f".s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            if not self._refuses:
                await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await self._upstream()
        self._writers.add(up_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer, asks=True), name="proxy-up"),
            asyncio.create_task(self._pump(up_reader, writer), name="proxy-down"),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            up_writer.transport.abort()
            self._writers.discard(up_writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if asks and self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
