"""Several programs on one port: the kernel spreads connections, and the end of one ends its own and no other's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException

import asyncpg
import pytest

from tests.program import Caller, Program, data_directory, free_port, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


@pytest.fixture
def programs(dsn: str) -> Iterator[list[Program]]:
    """Two real programs on one port and one database."""
    with ExitStack() as stack:
        port, options = free_port(), ("--reuse-port", "--database-url", dsn)
        homes = [stack.enter_context(data_directory()) for _ in range(2)]
        made = [stack.enter_context(Program(home, *options, port=port)) for home in homes]
        for program in made:
            program.start()
        yield made


def held(port: int, count: int) -> list[HTTPConnection]:
    """Connections that are open, each to whichever program the kernel chose."""
    opened = [HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(count)]
    for connection in opened:
        connection.request("GET", "/health")
        assert connection.getresponse().read()
    return opened


def still(connection: HTTPConnection) -> bool:
    """Whether a connection goes on."""
    connection.auto_open = 0
    try:
        connection.request("GET", "/health")
        return connection.getresponse().read() != b""
    except (OSError, HTTPException):
        return False


def served_by(dsn: str) -> set[int]:
    """The processes that have a request among the rows of this database."""

    async def nodes() -> set[int]:
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch("DELETE FROM archon_mcp_requests RETURNING node")
        finally:
            await connection.close()
        return {int(row["node"].rpartition("/")[2]) for row in rows}

    return asyncio.run(nodes())


def ping(callers: list[Caller]) -> set[int]:
    """The statuses of one request of each, on a connection of its own."""
    return {caller.send({"id": "again", "method": "ping"}).status for caller in callers}


def test_two_programs_share_a_port(programs: list[Program], dsn: str) -> None:
    """Both serve; one is killed: who was connected to it loses that connection, and no request after it fails."""
    one, other = programs
    callers = [Caller(one).open() for _ in range(40)]
    seen: set[int] = set()
    until(lambda: seen.update(served_by(dsn)) or seen == {one.process.pid, other.process.pid})
    connections = held(one.port, 40)
    one.kill()
    kept = sum(still(connection) for connection in connections)
    for connection in connections:
        connection.close()
    assert 0 < kept < 40, "the kernel gave all connections to one of them"
    for _ in range(3):
        assert ping(callers) == {200}
    one.start()
    seen.clear()
    began = time.monotonic()
    until(lambda: ping(callers) == {200} and (seen.update(served_by(dsn)) or one.process.pid in seen))
    print(
        f"{kept} of 40 connections stayed; it served again {time.monotonic() - began:.1f} s after its start"
    )


def test_one_of_two_programs_is_stopped(programs: list[Program]) -> None:
    """Each is stopped in good order and started again while requests come, each on a new connection: all are served.

    Only a connection that is being made in the very moment in which a socket is closed may be reset by the system.
    """
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def traffic() -> None:
        caller = Caller(programs[0]).open()
        while not stop.is_set():
            try:
                seen[str(caller.send({"id": "again", "method": "ping"}).status)] += 1
            except (OSError, HTTPException) as error:
                seen[type(error).__name__] += 1

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for program in programs:
            program.terminate()
            assert program.ended()[0] == 0
            program.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(dict(seen))
    assert seen["200"] > 100
    assert set(seen) <= {"200", "ConnectionResetError"}
    assert seen["ConnectionResetError"] <= 2
