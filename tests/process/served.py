"""A small program under the real command line and process: what stops, in which order, and what is printed.

Run as a script it is `archon-transport serve` with an application of its own, so that these tests need no
database. Every step writes its name to stderr; SERVED_* variables make steps slow or wrong.
"""

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

ROOT = Path(__file__).parents[2]
HANG = 30.0


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    foreign = ("ARCHON_", "DATABASE_URL", "OTEL_", "NOTIFY_SOCKET", "WATCHDOG_", "SERVED_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"PYTHONPATH": str(ROOT)} | dict(extra or {})


def step(name: str) -> None:
    print(f"step: {name}", file=sys.stderr, flush=True)


async def misbehave(where: str) -> None:
    """Hang or fail at `where` if SERVED_HANG or SERVED_FAIL names it."""
    if os.environ.get("SERVED_HANG") == where:
        step(f"hanging in {where}")
        await asyncio.sleep(HANG)
    if os.environ.get("SERVED_FAIL") == where:
        raise RuntimeError(f"{where} was told to fail")


class Served:
    """The program: `/call` waits for `/release`, `/stream` goes on until the shutdown."""

    database = "none, this is a test"

    def __init__(self) -> None:
        self.web = web.Application()
        self.web.add_routes(
            [
                web.get("/call", self.call),
                web.get("/release", self.let_go),
                web.get("/stream", self.stream),
                web.get("/loop", self.loop),
            ]
        )
        self.web.on_shutdown.append(self.end_streams)
        self.web.on_cleanup.append(self.cleaned)
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.released = asyncio.Event()
        self.shut = asyncio.Event()

    async def call(self, _: web.Request) -> web.Response:
        if self.draining:
            return web.Response(status=503, headers={"Retry-After": "1"})
        self.idle.clear()
        step("call")
        await self.released.wait()
        self.idle.set()
        return web.Response(text="answered")

    async def let_go(self, _: web.Request) -> web.Response:
        self.released.set()
        return web.Response()

    async def loop(self, _: web.Request) -> web.Response:
        return web.Response(text=type(asyncio.get_running_loop()).__module__)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"open\n")
        await self.shut.wait()
        await response.write(b"bye\n")
        return response

    async def end_streams(self, _: web.Application) -> None:
        step("on_shutdown")
        self.shut.set()

    async def cleaned(self, _: web.Application) -> None:
        step("on_cleanup")

    async def drain(self) -> None:
        step("drain")
        self.draining = True
        await misbehave("drain")
        await self.idle.wait()
        step("drained")

    async def close(self) -> str:
        step("close")
        await misbehave("close")
        return "stopped; 7 sessions kept"


async def build(_: Any) -> Served:
    from archon_transport.process import StartError

    step("build")
    try:
        await misbehave("build")
    except asyncio.CancelledError:
        step("build undone")
        raise
    if os.environ.get("SERVED_FAIL") == "start":
        raise StartError("the database does not answer; start it, or name another with --database-url")
    return Served()


class Running:
    """One real process of it: started, spoken to, signalled, and ended with the test."""

    def __init__(self, *argv: str, environ: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(environ),
        )
        self.banner: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for_banner(self) -> Self:
        """Read the three lines that it prints once it listens."""
        assert self.process.stdout is not None
        self.banner = [self.process.stdout.readline().rstrip("\n") for _ in range(3)]
        return self

    def wait_for_step(self, name: str) -> None:
        """Read its stderr up to that step."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.strip() == f"step: {name}":
                return
        raise AssertionError(f"it ended without the step {name!r}")

    @property
    def port(self) -> int:
        return int(self.banner[0].rpartition(":")[2].partition("/")[0])

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        made = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            yield made
        finally:
            made.close()

    def get(self, path: str) -> tuple[int, str]:
        with self.connection() as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str, str, float]:
        """Exit code, the rest of stdout and stderr, and how long the end took."""
        began = time.monotonic()
        out, err = self.process.communicate(timeout=25)
        return self.process.returncode, out, err, time.monotonic() - began


if __name__ == "__main__":
    from archon_transport.cli import serve

    sys.exit(serve.command(sys.argv[1:], build))
