"""The server as a program on this machine: our transport around it, in memory or on Postgres.

    python -m tests.everything --port N [--database-url URL]

Port 0 takes a free one. The first line that it prints is the URL at which it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack

from aiohttp import web

from archon_transport import process
from archon_transport.app import Transport, assemble
from archon_transport.store import MemoryStore, PostgresStore
from archon_transport.transport import KeyRing, StoreBus
from archon_transport.web import Health

from .server import build

DRAIN = 2.0
"""Seconds that running calls have when it is stopped."""

RETRY = 100
"""Milliseconds after which a client comes back whose connection was closed; the suite waits for no longer."""


class Everything:
    """The program, as `process.serve` wants it."""

    def __init__(self, store: MemoryStore | PostgresStore, transport: Transport) -> None:
        self.cleanup = AsyncExitStack()
        self.transport = transport
        self.cut = 0
        self.web = web.Application()
        Health(lambda: transport.endpoint.draining, store.ping).attach(self.web)
        transport.endpoint.attach(self.web, "/mcp")

    async def drain(self) -> None:
        """Take nothing new and let calls finish."""
        _, self.cut = await self.transport.drain(DRAIN)

    async def close(self) -> str:
        """Let go of everything."""
        await self.cleanup.aclose()
        return f"stopped: {self.transport.calls.served} calls served, {self.cut} cut off"


async def start(database_url: str | None) -> Everything:
    """The running program on a store of the kind that is asked for."""
    store = MemoryStore() if database_url is None else PostgresStore(database_url)
    await store.start()
    ring = KeyRing(store)
    server = build(StoreBus(store), ring.security)
    program = Everything(
        store, assemble(server, store, node=f"everything/{os.getpid()}", retry_interval=RETRY)
    )
    program.cleanup.push_async_callback(store.close)
    await program.cleanup.enter_async_context(ring.running())
    await program.cleanup.enter_async_context(program.transport.running())
    return program


def main() -> int:
    """Serve until a signal; 0 where everything was closed as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.everything", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", help="a Postgres to keep sessions in; memory without it")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with process.Listener.bind("127.0.0.1", chosen.port) as listener, asyncio.Runner() as runner:
        stopped = runner.run(
            process.serve(
                listener,
                lambda: start(chosen.database_url),
                lambda program: print(f"http://127.0.0.1:{listener.port}/mcp", flush=True),
                drain=DRAIN,
            )
        )
    print(stopped.line, flush=True)
    return 0 if stopped.clean else 1


if __name__ == "__main__":
    sys.exit(main())
