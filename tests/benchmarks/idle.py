"""What idle listeners cost: GET streams on which nothing is said, with their keep-alives.

    python -m tests.benchmarks.idle [--streams 5000] [--seconds 60]

One node on the Postgres store. Printed: processor time of the node and of every process of its Postgres, in
per cent of one core, and statements a second (each is a transaction of its own), without those streams and
with them.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import resource
import socket
import tempfile
import time
from pathlib import Path

import asyncpg

from .calls import ServerProcess, database


def cpu(pid: int) -> float:
    """Seconds of processor time of a process and of those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


class Costs:
    """Processor time and statements between two looks."""

    def __init__(self, server: ServerProcess, postmaster: int, watch: asyncpg.Connection) -> None:
        self._server = server
        self._postmaster = postmaster
        self._watch = watch

    async def _look(self) -> tuple[float, float, int, float]:
        await asyncio.sleep(1.2)  # Postgres counts what a backend did a second later
        statements = await self._watch.fetchval(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
        postgres = cpu(self._postmaster) + sum(cpu(child) for child in children(self._postmaster))
        return cpu(self._server.pid), postgres, statements, time.monotonic()

    async def over(self, seconds: float, what: str) -> None:
        """Print what was spent in so many seconds."""
        before = await self._look()
        await asyncio.sleep(seconds)
        after = await self._look()
        node, postgres, statements, passed = (b - a for a, b in zip(before, after, strict=True))
        print(
            f"{what:16} node {node / passed:6.2%}  postgres {postgres / passed:6.2%}  of a core, "
            f"{(statements - 2) / passed:.1f} statements a second"
        )


def listen(server: ServerProcess, headers: dict[str, str]) -> socket.socket:
    """An open GET stream; what it says piles up in the socket, which has room for hours of keep-alives."""
    stream = socket.create_connection(("127.0.0.1", server.port))
    lines = {"Host": f"127.0.0.1:{server.port}", "Accept": "text/event-stream", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    stream.sendall(f"GET /mcp HTTP/1.1\r\n{head}\r\n".encode())
    return stream


async def run(streams: int, seconds: float, directory: Path) -> None:
    """Measure and print."""
    async with database(None, directory) as dsn:
        postmaster = int((directory / "data" / "pgdata" / "postmaster.pid").read_text().split()[0])
        server, watch = ServerProcess("ours", dsn), await asyncpg.connect(dsn)
        try:
            costs = Costs(server, postmaster, watch)
            await costs.over(seconds / 3, "no streams")
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            opened = [listen(server, server.handshake(connection)) for _ in range(streams)]
            print(
                f"{len(opened)} streams, {sum(b'200 OK' in s.recv(4096) for s in opened[-20:])}/20 answered 200"
            )
            await asyncio.sleep(20)  # each reads its place twice, once it is open
            await costs.over(seconds, f"{streams} streams")
        finally:
            await watch.close()
            server.stop()


def main() -> None:
    """Read the sizes and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(options.streams, options.seconds, Path(directory)))


if __name__ == "__main__":
    main()
