"""The server of `server.py` as a process: started, killed, frozen, thawed, stopped, and started again on its port."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.process.served import ROOT, clean_environment

START_LIMIT = 40.0
STOP_LIMIT = 25.0

_T = TypeVar("_T")


async def until(look: Callable[[], _T], *, limit: float = 20.0, pause: float = 0.01) -> _T:
    """Ask `look` every `pause` seconds until its answer is true, and return that; fails after `limit`."""
    deadline = time.monotonic() + limit
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"not within {limit:g} s: {look}"
        await asyncio.sleep(pause)


class ServerProcess:
    """One port and the database at `dsn`, through as many processes as a test kills."""

    def __init__(self, dsn: str, *options: str, environ: Mapping[str, str] | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = int(taken.getsockname()[1])
        self._dsn = dsn
        self._options = options
        self._environ = environ
        self._process: Process | None = None
        # Appended to by each process, and read by its own handle: a shared one would have one shared position.
        self._output = tempfile.NamedTemporaryFile("ab")  # noqa: SIM115 - closed with the server
        self.killed_at: list[float] = []

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._output.close()

    @property
    def process(self) -> Process:
        """The latest process."""
        assert self._process is not None, "it was not started"
        return self._process

    async def start(self, *options: str) -> Self:
        """Start a process and wait until it listens; `options` replace those given before."""
        self._options = options or self._options
        command = [sys.executable, "-W", "error", "-m", "tests.history.server"]
        before = len(self.printed())
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *("--port", str(self.port), "--dsn", self._dsn, *self._options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=clean_environment(self._environ),
            cwd=ROOT,
        )
        await until(lambda: self._listens(before), limit=START_LIMIT)
        return self

    def _listens(self, before: int) -> bool:
        printed = self.printed()[before:]
        assert self.process.returncode is None, f"it ended instead of listening:\n{printed}"
        return "listening\n" in printed

    def printed(self) -> str:
        """What its processes printed, their logs included."""
        return Path(self._output.name).read_text(errors="replace")

    async def kill(self) -> None:
        """kill -9."""
        self.killed_at.append(time.monotonic())
        self.process.kill()
        await self.process.wait()

    async def freeze(self) -> None:
        """SIGSTOP: it keeps its sockets and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self.process.send_signal(signal.SIGCONT)

    async def explain(self) -> str:
        """What it printed, and what each of its tasks waits for now."""
        self.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.5)
        return self.printed()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.process.terminate()

    async def ended(self) -> int:
        """The exit code, once the process has ended."""
        async with asyncio.timeout(STOP_LIMIT):
            return await self.process.wait()

    async def restart(self) -> Self:
        """kill -9 and start again."""
        with contextlib.suppress(ProcessLookupError):
            await self.kill()
        return await self.start()
