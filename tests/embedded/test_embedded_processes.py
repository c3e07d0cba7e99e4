"""The embedded Postgres among processes that are killed: ours, Postgres's own, both, and by turns."""

# a test may block its own loop for a moment
from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from archon_transport.embedded import EmbeddedPostgres

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, signal, sys
from pathlib import Path
from typing import Any
from archon_transport.embedded import EmbeddedPostgres, EmbeddedPostgresError

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    try:
        await postgres.start()
    except EmbeddedPostgresError as error:
        print("refused:", str(error).replace("\\n", " "), flush=True)
        return
    print(postgres.role, flush=True)
    await stop.wait()
    await postgres.stop()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The directory that most tests use, one after another: the same data come through all of them."""
    path = Path(tempfile.mkdtemp(prefix="archon-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fresh() -> Iterator[Path]:
    """An empty directory that any account can reach (pytest's own are closed to all but us)."""
    path = Path(tempfile.mkdtemp(prefix="archon-test-"))
    yield path
    shutil.rmtree(path)


Start = Callable[..., "asyncio.Future[tuple[asyncio.subprocess.Process, str]]"]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a process that uses an embedded Postgres; it and the first line that it says."""
    processes = []

    async def start_one(
        home: Path, python: str = sys.executable, **options: object
    ) -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(
            *(python, "-c", PROGRAM, str(home)), cwd=ROOT, stdout=asyncio.subprocess.PIPE, **options
        )
        processes.append(process)
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        return process, line.decode().strip()

    yield start_one
    for process in processes:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 20)


def pids(home: Path) -> list[int]:
    """Every live process whose working directory is the cluster."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{name}/cwd") == str(home / "pgdata"):
                found.append(int(name))
    return found


def postmaster(home: Path) -> int:
    return int((home / "pgdata" / "postmaster.pid").read_text().split()[0])


async def until(check: Callable[[], bool], limit: float) -> float:
    """Wait until something holds; how long that took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < limit
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def answer(dsn: str, query: str, limit: float) -> tuple[object, float]:
    """Ask again and again, as a client that reconnects does: the answer, and how long it took."""
    began = time.monotonic()
    while True:
        try:
            connection = await asyncpg.connect(dsn, timeout=2)
            try:
                return await connection.fetchval(query), time.monotonic() - began
            finally:
                await connection.close()
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() - began < limit
        await asyncio.sleep(0.05)


async def keep(dsn: str) -> str:
    """Commit something; the query that finds it again."""
    table = f"kept_{uuid.uuid4().hex}"
    await answer(dsn, f"CREATE TABLE {table} AS SELECT 42 AS number", 5)
    return f"SELECT number FROM {table}"


async def test_kill_of_the_holder(home: Path, start: Start) -> None:
    """Postgres does not outlive a killed holder, and its data are there for the next."""
    process, role = await start(home)
    assert role == "holder"
    dsn = EmbeddedPostgres(home).dsn
    kept = await keep(dsn)
    process.kill()
    await until(lambda: not pids(home), 5)
    assert not (home / "pgdata" / "postmaster.pid").exists()
    await start(home)
    assert (await answer(dsn, kept, 5))[0] == 42


async def test_kill_of_postgres(home: Path) -> None:
    """A killed Postgres is back within seconds at the same address, even while a backend of it is busy."""
    embedded = EmbeddedPostgres(home)
    await embedded.start()
    try:
        kept = await keep(embedded.dsn)
        busy = await asyncpg.connect(embedded.dsn)
        endless = asyncio.create_task(busy.execute("DO 'BEGIN LOOP END LOOP; END'"))
        await answer(
            embedded.dsn, "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'", 5
        )
        first = postmaster(home)
        os.kill(first, signal.SIGKILL)
        number, took = await answer(embedded.dsn, kept, 8)
        assert number == 42
        assert postmaster(home) != first
        assert took < 5
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await endless
    finally:
        await embedded.stop()
    assert not pids(home)


async def test_kill_of_both(home: Path, start: Start) -> None:
    """Holder and Postgres killed at once: the next start recovers what was committed."""
    process, _ = await start(home)
    dsn = EmbeddedPostgres(home).dsn
    kept = await keep(dsn)
    os.kill(postmaster(home), signal.SIGKILL)
    process.kill()
    _, role = await start(home)
    assert role == "holder"
    assert (await answer(dsn, kept, 5))[0] == 42


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_follower_takes_over(home: Path, start: Start, ending: signal.Signals) -> None:
    """When the holder is killed or ends, a follower has Postgres up again within three seconds."""
    first, role = await start(home)
    second, role_of_second = await start(home)
    assert (role, role_of_second) == ("holder", "follower")
    dsn = EmbeddedPostgres(home).dsn
    kept = await keep(dsn)
    first.send_signal(ending)
    await asyncio.wait_for(first.wait(), 10)
    number, took = await answer(dsn, kept, 8)
    assert number == 42
    assert took < 3
    assert (home / "holder.lock").read_text() == str(second.pid)
    second.terminate()
    await asyncio.wait_for(second.wait(), 10)
    assert not pids(home)


async def test_interrupted_initdb(fresh: Path, start: Start) -> None:
    """A kill -9 while the cluster is being made leaves nothing that would stop the next start."""
    starting = asyncio.create_task(start(fresh))
    await until(lambda: any(fresh.glob("initdb-*/global")), 10)
    os.kill(int((fresh / "holder.lock").read_text()), signal.SIGKILL)
    await starting
    assert not (fresh / "pgdata").exists()
    _, role = await start(fresh)
    assert role == "holder"


@pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root to become another user; without root the other tests are it"
)
async def test_normal_user(fresh: Path, start: Start) -> None:
    """A user without privileges runs it in a directory of his own, and is told where he may not write."""
    nobody = {
        "user": 65534,
        "group": 65534,
        "extra_groups": [],
        "env": {"PYTHONPATH": os.pathsep.join(sys.path)},
    }
    python = await _interpreter_for(nobody)
    if python is None:
        pytest.skip("no other user can reach an interpreter with this checkout and these packages")
    _, refused = await start(fresh, python, **nobody)
    assert refused.startswith("refused:")
    assert "--data-dir" in refused
    os.chown(fresh, 65534, 65534)
    _, role = await start(fresh, python, **nobody)
    assert role == "holder"
    assert os.stat(f"/proc/{postmaster(fresh)}").st_uid == 65534
    assert (await answer(EmbeddedPostgres(fresh).dsn, "SELECT 1", 5))[0] == 1


async def _interpreter_for(user: dict[str, Any]) -> str | None:
    """An interpreter that another user can run this with: ours, or the system's if ours is root's."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(OSError):
            trial = [python, "-c", "import archon_transport.embedded"]
            process = await asyncio.create_subprocess_exec(*trial, stderr=asyncio.subprocess.DEVNULL, **user)
            if await process.wait() == 0:
                return python
    return None
