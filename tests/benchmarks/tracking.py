"""What tracking costs: `tools/call` with every request written as a row, beside the same with rows dropped.

    python -m tests.benchmarks.tracking [--rounds 5] [--seconds 3] [--rows 200000] [--dsn DSN]

Both run on the same Postgres, whose table of requests has its indexes and is filled with `--rows` rows before.
Rounds are interleaved and each starts fresh processes; "on again" is the same as "on", so that the noise of
the machine can be read beside the ratio. "archon" is a database with Archon's own indexes and its trigger for
each row. A server has one core, the load and Postgres have the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import asyncpg

from archon_transport.store import PostgresStore
from tests.store.test_migrations import ARCHON_SCHEMA
from tests.store.test_requests import ARCHON_TRIGGER

from .calls import ServerProcess, database, measure, pin

_ARCHON_INDEXES = """
CREATE INDEX ON archon_mcp_requests (session_id); CREATE INDEX ON archon_mcp_requests (method);
CREATE INDEX ON archon_mcp_requests (tool_name); CREATE INDEX ON archon_mcp_requests (session_id, timestamp);
CREATE INDEX ON archon_mcp_requests (method, timestamp);
CREATE INDEX ON archon_mcp_sessions (last_activity DESC);
"""

_FILL = """
WITH old AS (
    INSERT INTO archon_mcp_sessions (session_id) SELECT gen_random_uuid() FROM generate_series(1, 1000)
    RETURNING session_id
)
INSERT INTO archon_mcp_requests (request_id, session_id, method, tool_name, outcome, timestamp)
SELECT gen_random_uuid(), session_id, 'tools/call', 'echo', 'ok', now() - random() * interval '30 days'
FROM old, generate_series(1, $1 / 1000)"""


async def prepare(dsn: str, archon: bool, rows: int) -> None:
    """Make the tables, as Archon would or as we do, and fill them."""
    connection: Any = await asyncpg.connect(dsn)
    if archon:
        await connection.execute(ARCHON_SCHEMA + ARCHON_TRIGGER + _ARCHON_INDEXES)
    store = PostgresStore(dsn)
    await store.start()
    await store.close()
    await connection.execute("ALTER TABLE archon_mcp_requests DISABLE TRIGGER USER")
    await connection.execute(_FILL.replace("$1", str(rows)))
    await connection.execute("ALTER TABLE archon_mcp_requests ENABLE TRIGGER USER")
    await connection.execute("ANALYZE archon_mcp_requests")
    await connection.execute("ANALYZE archon_mcp_sessions")
    await connection.close()


async def compare(options: argparse.Namespace, dsn: str) -> None:
    """Measure in rounds and print."""
    connection: Any = await asyncpg.connect(dsn)
    made = {}
    for name in ("ours", "archon"):
        await connection.execute(f"DROP DATABASE IF EXISTS tracking_{name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE tracking_{name}")
        head, _, tail = dsn.partition("?")
        made[name] = f"{head.rpartition('/')[0]}/tracking_{name}" + (f"?{tail}" if tail else "")
        await prepare(made[name], name == "archon", options.rows)
    kinds = {
        "on": (made["ours"], ()),
        "off": (made["ours"], ("--untracked",)),
        "on again": (made["ours"], ()),
        "archon": (made["archon"], ()),
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, (where, extra) in kinds.items():
            server = ServerProcess("ours", where, *extra)
            try:
                results[name].append(await asyncio.to_thread(measure, server, options.seconds))
                await asyncio.sleep(0.5)  # the last rows, before the process is killed
            finally:
                server.stop()
    report(results)
    for name in made:
        await connection.execute(f"DROP DATABASE tracking_{name} WITH (FORCE)")
    await connection.close()


def report(results: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and the ratios of neighbours in each round, which drift of the machine touches least."""
    for name, rounds in results.items():
        medians = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        print(f"{name:10}" + "".join(f"{key} {value:10.1f}   " for key, value in medians.items()))
    for label, one, other in (
        ("on / off", "on", "off"),
        ("on / on again (noise)", "on", "on again"),
        ("archon's trigger / on", "archon", "on"),
    ):
        pairs = zip(results[one], results[other], strict=True)
        ratios = [first["requests/s"] / second["requests/s"] for first, second in pairs]
        goal = "   (at least 0.95)" if other == "off" else ""
        print(f"{label:24}{statistics.median(ratios):.3f}   {min(ratios):.3f} to {max(ratios):.3f}{goal}")


async def _main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with database(options.dsn, Path(directory)) as dsn:
            await compare(options, dsn)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rows", type=int, default=200_000, help="rows that are in the table before")
    parser.add_argument("--dsn", help="use this server instead of an embedded one")
    options = parser.parse_args()
    pin(0, 1)
    asyncio.run(_main(options))


if __name__ == "__main__":
    main()
