"""Starting Postgres programs as direct children that cannot outlive this process.

Which account they run under is decided here too, since Postgres refuses to run as root. Nothing here knows
what is in a data directory; `binaries` and `cluster` call it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

# Seconds between two looks at a child.
POLL = 0.02
_RUN_LIMIT = 120.0
_ACCOUNTS = ("archon-transport", "postgres", "nobody")
_CHILD = str(Path(__file__).with_name("child.py"))


class EmbeddedPostgresError(Exception):
    """The embedded Postgres cannot be had; the text says what to do about it."""


def choose_account(*directories: Path) -> pwd.struct_passwd | None:
    """Whom to run Postgres as: None, for us, unless we are root.

    Else the owner of the first directory that is not root's, so that it can go on without root, or a
    service account.
    """
    if os.geteuid() != 0:
        return None
    by_uid = {entry.pw_uid: entry for entry in pwd.getpwall()}
    by_name = {entry.pw_name: entry for entry in by_uid.values()}
    owners = [by_uid.get(path.stat().st_uid) for path in directories if path.exists()]
    for entry in (*owners, *map(by_name.get, _ACCOUNTS)):
        if entry and entry.pw_uid:
            return entry
    raise EmbeddedPostgresError(
        "Postgres does not run as root, and there is no account to run it under: `useradd --system "
        "archon-transport`, or start as another user, or name a database with --database-url."
    )


def spawn(
    command: Sequence[str | Path], *, account: pwd.struct_passwd | None, directory: Path, output: int
) -> subprocess.Popen[bytes]:
    """Start a program in `directory` under `account`; when we die, however we die, it gets SIGINT.

    SIGINT is a fast and clean shutdown to Postgres. Our environment is passed on, except for what would
    redirect its programs (`PG*`).
    """
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedPostgresError(
            "The embedded Postgres is started from the main thread only: "
            "the kernel ends it with the thread that started it."
        )
    uid, gid = (account.pw_uid, account.pw_gid) if account else (-1, -1)
    python = [sys.executable, "-I", "-S", _CHILD, str(os.getpid()), str(uid), str(gid)]
    return subprocess.Popen(  # noqa: S603  # our own interpreter, script and arguments
        [*python, directory, *command],
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


async def run(
    command: Sequence[str | Path], *, account: pwd.struct_passwd | None, directory: Path
) -> tuple[int, str]:
    """Run a program to its end: exit code and everything it printed. Cancelling kills it."""
    with tempfile.TemporaryFile() as output:
        child = spawn(command, account=account, directory=directory, output=output.fileno())
        try:
            if not await ended(child, limit=_RUN_LIMIT):
                raise EmbeddedPostgresError(
                    f"{command[0]} does not end; it was given {_RUN_LIMIT:.0f} seconds."
                )
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        output.seek(0)
        return child.returncode, output.read().decode(errors="replace").strip()


async def ended(child: subprocess.Popen[bytes], *, limit: float) -> bool:
    """Whether a child ends within `limit` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    while child.poll() is None and loop.time() < deadline:  # noqa: ASYNC110  # nothing sets an Event at an exit
        await asyncio.sleep(POLL)
    return child.returncode is not None
