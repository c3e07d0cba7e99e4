"""`tools/call` of a trivial tool on live sessions: this transport beside the SDK's, in one run.

    python -m tests.benchmarks.calls [--rounds 5] [--seconds 2]

Ours runs on the Postgres store (the embedded Postgres, in a temporary directory) with guards on; the
SDK's runs `json_response` on uvicorn with uvloop and httptools. Rounds are interleaved and each starts
fresh processes; the server has one core, the load the other. What is printed is the median of rounds;
ours runs twice, so that the noise of the machine can be read beside the ratio, and beside both stands the
floor: aiohttp and the SDK's kernel with nothing between them.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from .load import Tally, drive, post

CONNECTIONS = 32


class ServerProcess:
    """One server under measurement, on its own core."""

    def __init__(self, kind: str, dsn: str | None = None, *extra: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        command = [sys.executable, "-m", "tests.benchmarks.servers", kind, str(self.port), *extra]
        if dsn:
            command += ["--dsn", dsn]
        self._process = subprocess.Popen(command)
        self.pid = self._process.pid
        pin(self.pid, 0)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("the server did not come up")

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def handshake(self, connection: http.client.HTTPConnection | None = None) -> dict[str, str]:
        """The headers of a fresh session, initialized."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"elicitation": {}, "roots": {"listChanged": True}},
            "clientInfo": {"name": "bench", "version": "1.0"},
        }
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        connection.request("POST", "/mcp", json.dumps(body), headers)
        response = connection.getresponse()
        response.read()
        session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        connection.request("POST", "/mcp", json.dumps(note), headers | session)
        connection.getresponse().read()
        return session

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pin(pid: int, core: int) -> None:
    """Keep a process on one core where the machine has two."""
    if len(os.sched_getaffinity(0) | {0, 1}) > 1 and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


def measure(server: ServerProcess, seconds: float, tool: str = "echo") -> dict[str, float]:
    """Requests a second, processor time per request, and the median and 99th percentile latency."""
    params = {"name": tool, "arguments": {"text": "hello"}, "_meta": {"progressToken": 1}}
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    requests = [post(server.port, "/mcp", data, server.handshake()) for _ in range(CONNECTIONS)]

    async def run() -> tuple[Tally, float]:
        before = server.cpu()
        tally = await drive(server.port, requests, connections=CONNECTIONS, seconds=seconds, warmup=0.0)
        return tally, server.cpu() - before

    uvloop.run(_drive(server.port, requests, 0.7))
    tally, cpu = uvloop.run(run())
    latencies = sorted(tally.latencies)
    return {
        "requests/s": len(latencies) / seconds,
        "cpu us": cpu / len(latencies) * 1e6,
        "p50 ms": latencies[len(latencies) // 2] * 1e3,
        "p99 ms": latencies[len(latencies) * 99 // 100] * 1e3,
    }


async def _drive(port: int, requests: list[bytes], seconds: float) -> None:
    await drive(port, requests, connections=CONNECTIONS, seconds=seconds, warmup=0.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--dsn", help="use this database instead of an embedded one")
    options = parser.parse_args()
    pin(0, 1)
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_compare(options, Path(directory)))


async def _compare(options: argparse.Namespace, directory: Path) -> None:
    async with database(options.dsn, directory) as dsn:
        kinds = {
            "ours": ("ours", dsn),
            "sdk": ("sdk", None),
            "ours again": ("ours", dsn),
            "floor": ("floor", None),
        }
        rates = await rounds(kinds, options.rounds, options.seconds, "echo")
    print(f"ours / sdk        {rates['ours'] / rates['sdk']:.2f} (at least 2.5)")
    print(f"floor / sdk       {rates['floor'] / rates['sdk']:.2f} (the most that is possible)")
    print(f"ours / ours again {rates['ours'] / rates['ours again']:.2f} (noise)")


@asynccontextmanager
async def database(dsn: str | None, directory: Path) -> AsyncIterator[str]:
    """The named database, else an embedded one in `directory` for as long as this lasts."""
    from archon_transport.embedded import EmbeddedPostgres

    if dsn is not None:
        yield dsn
        return
    directory.chmod(0o755)
    embedded = EmbeddedPostgres(directory / "data")
    await embedded.start()
    try:
        yield embedded.dsn
    finally:
        await embedded.stop()


async def rounds(
    kinds: dict[str, tuple[str, str | None]], count: int, seconds: float, tool: str
) -> dict[str, float]:
    """Measure every kind of server in each round, print medians, and return those of requests a second."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    for _ in range(count):
        for name, (kind, dsn) in kinds.items():
            server = ServerProcess(kind, dsn)
            try:
                rows[name].append(await asyncio.to_thread(measure, server, seconds, tool))
            finally:
                server.stop()
    medians: dict[str, dict[str, float]] = {}
    for name, results in rows.items():
        medians[name] = {key: statistics.median(r[key] for r in results) for key in results[0]}
        print(f"{name:14}" + "".join(f"{key} {value:10.1f}   " for key, value in medians[name].items()))
    return {name: median["requests/s"] for name, median in medians.items()}


if __name__ == "__main__":
    main()
