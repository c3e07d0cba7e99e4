"""What an idle session costs in memory: cached, and asleep.

    python -m tests.benchmarks.memory [--cached 10000] [--from 20000] [--to 120000]

Real handshakes (`initialize` and `notifications/initialized`) over real sockets, the Postgres store in
a temporary directory. Prints the growth of the server's resident memory per cached idle session (after
a first thousand that warms the process up), then, on a server that puts sessions to sleep at once, per
session from the `--from`th to the `--to`th; with `--sdk` also what the SDK's own transport keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import tempfile
import threading
import time
from pathlib import Path

from .calls import ServerProcess

WORKERS = 8


def resident(pid: int) -> int:
    """Bytes of resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def handshakes(server: ServerProcess, count: int) -> None:
    """So many sessions, made over a few connections at once."""
    failures: list[BaseException] = []

    def work(share: int) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            for _ in range(share):
                server.handshake(connection)
        except BaseException as error:
            failures.append(error)

    shares = [count // WORKERS + (number < count % WORKERS) for number in range(WORKERS)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def settled(server: ServerProcess) -> int:
    """Resident memory once the writer and the sleeper have had their turn."""
    time.sleep(3.0)
    return resident(server.pid)


def cached(kind: str, dsn: str | None, count: int) -> float:
    """Bytes per cached idle session."""
    server = ServerProcess(kind, dsn)
    try:
        handshakes(server, 1000)
        before = settled(server)
        handshakes(server, count)
        return (settled(server) - before) / count
    finally:
        server.stop()


def asleep(dsn: str, start: int, end: int) -> float:
    """Bytes per session that was made and put to sleep, from the `start`th to the `end`th."""
    server = ServerProcess("ours", dsn, "--sleep-after", "0.5")
    try:
        handshakes(server, start)
        before = settled(server)
        handshakes(server, end - start)
        return (settled(server) - before) / (end - start)
    finally:
        server.stop()


async def main() -> None:
    """Measure and print."""
    from archon_transport.embedded import EmbeddedPostgres

    parser = argparse.ArgumentParser()
    parser.add_argument("--cached", type=int, default=10_000)
    parser.add_argument("--from", type=int, default=20_000, dest="start")
    parser.add_argument("--to", type=int, default=120_000, dest="end")
    parser.add_argument("--sdk", action="store_true", help="measure the SDK's own transport too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        embedded = EmbeddedPostgres(Path(directory) / "data")
        await embedded.start()
        try:
            ours = await asyncio.to_thread(cached, "ours", embedded.dsn, options.cached)
            print(f"bytes per cached idle session      {ours:8.0f} (under 2048)")
            if options.sdk:
                theirs = await asyncio.to_thread(cached, "sdk", None, min(options.cached, 8_000))
                print(f"the SDK's                          {theirs:8.0f}")
            growth = await asyncio.to_thread(asleep, embedded.dsn, options.start, options.end)
            print(f"bytes per session put to sleep     {growth:8.1f} (under 50)")
        finally:
            await embedded.stop()


if __name__ == "__main__":
    asyncio.run(main())
