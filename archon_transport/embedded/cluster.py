"""One data directory and the Postgres in it: made, started, ended. It watches nothing and locks nothing.

Whoever calls `start` holds the directory's lock (see `holder`), so any Postgres still at work there is a
leftover of a process that died: it is waited for, or ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from .binaries import Binaries, find_binaries
from .layout import PORT, Layout
from .spawn import POLL, EmbeddedPostgresError, choose_account, ended, run, spawn

# Recovery after a crash may take minutes; a Postgres that still lives is left to it.
_START_LIMIT = 300.0
_RETRY_FOR = 10.0
_FAST_LIMIT, _IMMEDIATE_LIMIT = 20.0, 5.0
# On the command line, so that no file in the data directory can take them back.
_SETTINGS = ("fsync=on", "unix_socket_permissions=0700", "log_checkpoints=off", "log_line_prefix=%m [%p] ")
# Sorting and case must not depend on the machine's locale, and from 17 on not on its libc either.
_LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_LOCALE_BEFORE_17 = ("--locale=C.UTF-8",)


class Cluster:
    """A Postgres of our own in a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.layout = Layout(data_dir.resolve())
        self.version = "unknown"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the Postgres that we started still runs; reaps it if not."""
        return self._child is not None and self._child.poll() is None

    async def start(self) -> None:
        """Make the cluster if there is none, end what is left of an earlier one and start Postgres.

        Raises:
            EmbeddedPostgresError: it does not start; the text holds the end of its log. Call `stop` then too.
        """
        layout = self.layout
        layout.account = choose_account(layout.pgdata, layout.home)
        layout.let_account_pass()
        for unfinished in layout.home.glob("initdb-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        major = layout.major()
        binaries = await find_binaries(layout.home, layout.account, major)
        self.version = binaries.version
        if major is None:
            await self._initdb(binaries)
        layout.own(layout.pgdata)
        layout.make_socket_dir()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _RETRY_FOR
        while trouble := await self._launch(binaries):
            # What is left of a dead Postgres may hold its memory for a moment; other trouble stays.
            if loop.time() > deadline or not ("lock file" in trouble or "shared memory" in trouble):
                raise EmbeddedPostgresError(
                    f"Postgres {self.version} does not start. The end of {layout.log}:\n{trouble}"
                )
            await asyncio.sleep(0.3)

    async def stop(self) -> None:
        """Shut Postgres down: fast and clean, harsher when that takes too long."""
        steps = (signal.SIGINT, _FAST_LIMIT), (signal.SIGQUIT, _IMMEDIATE_LIMIT), (signal.SIGKILL, 5.0)
        for number, limit in steps:
            if self._child and self.alive:
                self._child.send_signal(number)
                await ended(self._child, limit=limit)
        self._child = None

    async def _initdb(self, binaries: Binaries) -> None:
        """Make the cluster beside its place, then rename it: an interrupted initdb leaves no half of one."""
        home = self.layout.home
        unfinished = Path(tempfile.mkdtemp(prefix="initdb-", dir=home))
        self.layout.own(unfinished)
        initdb: list[str | Path] = [binaries.directory / "initdb", "-D", unfinished]
        initdb += ["-U", "postgres", "-E", "UTF8", "--auth=trust", "--data-checksums", "--no-instructions"]
        initdb += _LOCALE if binaries.major >= 17 else _LOCALE_BEFORE_17
        code, output = await run(initdb, account=self.layout.account, directory=home)
        if code:
            raise EmbeddedPostgresError(f"{initdb[0]} could not make a cluster in {home}:\n{output}")
        self.layout.put_in_place(unfinished)

    async def _launch(self, binaries: Binaries) -> str | None:
        """Start Postgres and wait until it takes connections; what it logged, if it does not."""
        layout = self.layout
        await self._end_leftovers()
        command: list[str | Path] = [binaries.directory / "postgres", "-D", layout.pgdata]
        command += ["-k", layout.socket_dir, "-p", str(PORT), "-h", ""]
        command += [*(word for pair in _SETTINGS for word in ("-c", pair))]
        with layout.open_log() as log:
            before = log.tell()
            child = spawn(command, account=layout.account, directory=layout.home, output=log.fileno())
        self._child = child
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_LIMIT
        while self.alive and loop.time() < deadline:
            if layout.is_ready(child.pid):
                return None
            await asyncio.sleep(POLL)
        await self.stop()
        return layout.end_of_log(before) or "(nothing)"

    async def _end_leftovers(self) -> None:
        """Wait until no Postgres of an earlier process is left here, and help it on its way.

        After a kill -9 of its parent it is shutting down already; after a kill -9 of itself, backends are
        left.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        postmaster, pids = self.layout.leftovers()
        _signal([postmaster] if postmaster else pids, signal.SIGINT if postmaster else signal.SIGQUIT)
        while pids:
            waited = loop.time() - began
            if waited > _FAST_LIMIT:
                _signal(pids, signal.SIGKILL)
            if waited > _FAST_LIMIT + _IMMEDIATE_LIMIT:
                raise EmbeddedPostgresError(
                    f"An earlier Postgres in {self.layout.pgdata} does not end. End its processes: {pids}"
                )
            await asyncio.sleep(POLL)
            _, pids = self.layout.leftovers()
        self.layout.forget_leftovers()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
