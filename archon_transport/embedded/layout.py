"""The files of a data directory, and what they tell about the Postgres in it.

    holder.lock    held by the process that runs Postgres, with its pid
    pgdata/        the cluster
    run/           the socket, private to Postgres's account (in /tmp if this path is too long for a socket)
    postgres.log   what Postgres prints; emptied when it has grown large
    binaries/      a copy of the programs, where the account could not reach the originals

When we are root the account owns `pgdata` and `run` only, so that it cannot lead us anywhere by a link.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import stat
import sys
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from .spawn import EmbeddedPostgresError

PORT = 5432
LOG_LIMIT = 8 * 1024 * 1024
# A socket's path has 107 bytes at most; its own name takes 14 of them.
_SOCKET_DIR_LIMIT = 90
_OURS = re.compile(r"holder\.lock|pgdata.*|run|postgres\.log|binaries|initdb-.*")


class Layout:
    """The paths in `home`, and the few things that are read from them or done to them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lock = home / "holder.lock"
        self.pgdata = home / "pgdata"
        self.log = home / "postgres.log"
        self.socket_dir = home / "run"
        # A comma or a quote would be read as a list of directories.
        if len(os.fsencode(self.socket_dir)) > _SOCKET_DIR_LIMIT or re.search('[,"]', str(home)):
            digest = hashlib.sha256(os.fsencode(home)).hexdigest()
            self.socket_dir = Path(f"/tmp/archon-{digest[:24]}")  # noqa: S108  # refused unless it is ours
        self.account: pwd.struct_passwd | None = None

    def dsn(self, database: str) -> str:
        """The address of a database here; it depends on nothing but the directory's path."""
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self.socket_dir))}&port={PORT}"

    def major(self) -> int | None:
        """The major version of Postgres that wrote the cluster; None if there is none yet."""
        try:
            return int((self.pgdata / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            if not self.pgdata.exists() or (self.pgdata.is_dir() and not any(self.pgdata.iterdir())):
                return None
        raise EmbeddedPostgresError(
            f"{self.pgdata} is no Postgres cluster. Move it away, or choose another --data-dir."
        )

    def let_account_pass(self) -> None:
        """Let the account through a directory of root's that holds only ours; any other stays as it is."""
        found = self.home.stat()
        if self.account and found.st_uid == 0 and all(map(_OURS.fullmatch, os.listdir(self.home))):
            self.home.chmod(stat.S_IMODE(found.st_mode) | 0o011)

    def own(self, directory: Path) -> None:
        """Give a directory of ours to Postgres's account, with all that is in it."""
        owner, uid = directory.lstat().st_uid, self.account.pw_uid if self.account else os.geteuid()
        if owner not in (uid, os.geteuid()):
            raise EmbeddedPostgresError(
                f"{directory} belongs to uid {owner}: start as that user, or choose another --data-dir."
            )
        if self.account and owner != uid:
            for path in (*directory.rglob("*"), directory):
                os.chown(path, uid, self.account.pw_gid, follow_symlinks=False)

    def make_socket_dir(self) -> None:
        """Make the socket's directory where it is missing (a /tmp is wiped now and then), and private."""
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        self.own(self.socket_dir)
        self.socket_dir.chmod(0o700)

    def put_in_place(self, cluster: Path) -> None:
        """Make a finished cluster the one of this directory, lastingly."""
        cluster.rename(self.pgdata)
        descriptor = os.open(self.home, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def open_log(self) -> BinaryIO:
        """The log, opened at its end; emptied when over `LOG_LIMIT` (Postgres appends, so it may run)."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        log = os.fdopen(os.open(self.log, flags, 0o600), "ab", buffering=0)
        if log.tell() > LOG_LIMIT:
            log.truncate(0)
        return log

    def end_of_log(self, position: int) -> str:
        """The last lines that were logged after `position`."""
        return "\n".join(self.log.read_bytes()[position:].decode(errors="replace").splitlines()[-12:])

    def is_ready(self, pid: int) -> bool:
        """Whether the Postgres with this pid takes connections."""
        lines = self._pid_file()
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def leftovers(self) -> tuple[int | None, list[int]]:
        """The postmaster at work in this cluster, and all its processes, as far as /proc shows them."""
        lines = self._pid_file()
        written = int(lines[0]) if lines and lines[0].isdigit() else None
        everyone = map(int, filter(str.isdigit, os.listdir("/proc"))) if sys.platform == "linux" else ()
        pids = [pid for pid in everyone if self._works_here(pid, written)]
        return written if written in pids else None, pids

    def forget_leftovers(self) -> None:
        """Free what dead processes left; there are no `leftovers`.

        The written pid may be a zombie's or by now another program's, which Postgres would take for a
        Postgres; its parent's pid it knows to be stale. The file stays: it names the shared memory that
        Postgres checks.
        """
        if sys.platform != "linux":
            return
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self.socket_dir / name).unlink(missing_ok=True)
        if lines := self._pid_file():
            flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(self.pgdata / "postmaster.pid", flags), "w") as file:
                file.write("\n".join([str(os.getpid()), *lines[1:], ""]))

    def _pid_file(self) -> list[str]:
        try:
            return (self.pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _works_here(self, pid: int, written: int | None) -> bool:
        try:
            _, name, state, _ = Path(f"/proc/{pid}/stat").read_text().split(" ", 3)
            if name != "(postgres)" or state in "XZ":
                return False
            return os.readlink(f"/proc/{pid}/cwd") == str(self.pgdata)
        except PermissionError:
            # The root of a container may not look into another account's process.
            return pid == written
        except OSError:
            return False
