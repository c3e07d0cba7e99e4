"""The run: a server of its own, so many requests, and what its memory and its log say afterwards."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .client import Client, Tally
from .requests import Maker

ROOT: Final = Path(__file__).parents[2]
CLIENTS: Final = 8
STOP_SECONDS: Final = 20.0
SETTLE: Final = 1.0
"""Seconds in which the server notices that its clients have left."""


_UNREADABLE: Final = re.compile(
    r"aiohttp\.server: Error handling request from.*\nTraceback.*\n(  .*\n)+aiohttp\.http_exc"
)


@dataclass(frozen=True, slots=True)
class Server:
    """The server's process and its log."""

    port: int
    pid: int
    log: Path

    @property
    def rss(self) -> int:
        """Its resident memory in KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found.group(1))


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it: counts and faults, the memory after a tenth and at the end, and the log's tracebacks.

    `unreadable` are those that aiohttp itself logs for what its parser refuses.
    """

    tally: Tally
    early: int
    late: int
    tracebacks: int
    unreadable: int
    log_tail: str
    seconds: float
    stopped: str

    @property
    def growth(self) -> float:
        """How much the memory grew after the first tenth."""
        return self.late / self.early

    def __str__(self) -> str:
        counts = ", ".join(f"{key}: {count}" for key, count in sorted(self.tally.statuses.items()))
        return "\n".join(
            [
                f"{self.tally.sent} requests in {self.seconds:.0f} s; {counts}",
                f"memory: {self.early} KiB after a tenth, {self.late} KiB at the end, {self.growth:.3f} times",
                f"log: {self.tracebacks} tracebacks, and {self.unreadable} of aiohttp about what is no HTTP",
                *([self.log_tail] if self.log_tail else []),
                f"server: {self.stopped}",
                f"faults: {len(self.tally.faults)}",
                *self.tally.faults,
            ]
        )


@contextmanager
def server(log: Path, stopped: list[str]) -> Iterator[Server]:
    """`tests.everything` in memory; what it prints at its end is put into `stopped`."""
    command = [sys.executable, "-W", "error", "-m", "tests.everything", "--port", "0"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, log.read_text()[-500:]
            yield Server(int(url.rpartition(":")[2].partition("/")[0]), process.pid, log)
            process.terminate()
            process.wait(STOP_SECONDS)
            stopped.append(process.stdout.read().strip())
        finally:
            process.kill()


def run(requests: int, seed: int) -> Report:
    """Send them and report."""
    tally, stopped, started = Tally(), list[str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        log = Path(folder) / "log"
        with server(log, stopped) as running:
            early, late = asyncio.run(_send(running, requests, seed, tally))
        seconds = time.monotonic() - started
        tracebacks, unreadable = _tracebacks(log.read_text(errors="replace"))
    tail = tracebacks[0] if tracebacks else ""
    return Report(tally, early, late, len(tracebacks), unreadable, tail, seconds, " ".join(stopped))


def _tracebacks(text: str) -> tuple[list[str], int]:
    """Those of the log, and how many aiohttp wrote because its parser refused a request (each was answered 400)."""
    found = [
        text[max(0, place.start() - 300) : place.start() + 3000] for place in re.finditer("Traceback", text)
    ]
    ours = [each for each in found if not _UNREADABLE.search(each)]
    return ours, len(found) - len(ours)


async def _send(running: Server, requests: int, seed: int, tally: Tally) -> tuple[int, int]:
    makers = [Maker(random.Random(f"{seed}/{number}")) for number in range(CLIENTS)]
    clients = [Client(running.port, maker, tally) for maker in makers]
    tenth = requests // 10
    memory = []
    for part in (tenth, requests - tenth):
        await asyncio.gather(*(client.run(part // CLIENTS) for client in clients))
        for client in clients:
            await client.leave()
        await asyncio.sleep(SETTLE)
        memory.append(running.rss)
    return memory[0], memory[1]
