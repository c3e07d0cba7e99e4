"""A call with three progress notifications, answered as an event stream: this transport beside the SDK's.

    python -m tests.benchmarks.streams [--rounds 5] [--seconds 2]

Ours with the memory store and with Postgres (every stream in the log, so it can be resumed after a
crash); the SDK's with event streams, without and with an event store in its memory. Interleaved rounds,
fresh processes, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from .calls import database, pin, rounds


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--dsn", help="use this database instead of an embedded one")
    options = parser.parse_args()
    pin(0, 1)
    with tempfile.TemporaryDirectory() as directory:
        async with database(options.dsn, Path(directory)) as dsn:
            kinds = {
                "memory": ("ours", None),
                "postgres": ("ours", dsn),
                "sdk": ("sdk-sse", None),
                "sdk and store": ("sdk-store", None),
                "memory again": ("ours", None),
            }
            rates = await rounds(kinds, options.rounds, options.seconds, "progress")
    for theirs in ("sdk", "sdk and store"):
        print(f"memory / {theirs:14} {rates['memory'] / rates[theirs]:.2f} (at least 5)")
        print(f"postgres / {theirs:12} {rates['postgres'] / rates[theirs]:.2f} (at least 3.5)")
    print(f"memory / memory again   {rates['memory'] / rates['memory again']:.2f} (noise)")


if __name__ == "__main__":
    asyncio.run(main())
