"""The real program as a process: started, spoken to over HTTP, killed, and looked into by SQL.

`Program` is `python -m archon_transport` on a data directory of its own; `Caller` is a client that keeps
its session id whatever happens to the server, as most clients do; `until` is the one way to wait. Nothing
here knows the program's insides but two files of the data directory: Postgres's pid and its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncpg

from archon_transport.embedded.layout import Layout
from tests.process.served import ROOT, clean_environment

_T = TypeVar("_T")

START_LIMIT = 40.0
STOP_LIMIT = 25.0
ANSWER_LIMIT = 20.0

CLIENT = ("survivor", "7.1")
REVISION = "2025-11-25"

_ROW = "SELECT *, clock_timestamp() - last_activity AS idle FROM archon_mcp_sessions WHERE session_id = $1"


def until(look: Callable[[], _T], *, limit: float = 20.0, pause: float = 0.05) -> _T:
    """Ask `look` every `pause` seconds until its answer is true, and return that; fails after `limit`."""
    deadline = time.monotonic() + limit
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"not within {limit:g} s: {look}"
        time.sleep(pause)


def free_port() -> int:
    """A port that nobody listens on now; a restart needs the same one twice, so 0 will not do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def data_directory() -> Iterator[Path]:
    """The path of a data directory that is not there yet; removed, with all beside it, at the end.

    Not in pytest's own directory: when we are root Postgres has an account of its own, which must reach it.
    """
    base = Path(tempfile.mkdtemp(prefix="archon-test-"))
    base.chmod(0o711)
    try:
        yield base / "data"
    finally:
        shutil.rmtree(base)


class Program:
    """One server on the data directory `home` and one port, through as many processes as a test kills."""

    def __init__(
        self, home: Path, *options: str, port: int | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.port = port or free_port()
        self.options = options
        self.environ = dict(environ or {})
        self.output = home.with_name(f"{home.name}-{self.port}.out")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process and wait for the end of its Postgres."""
        if self._process is not None:
            self.kill()
        until(lambda: not Layout(self.home.resolve()).leftovers()[1] or self._is_shared())
        self.output.unlink(missing_ok=True)

    def _is_shared(self) -> bool:
        """Whether another process holds the data directory, and so keeps its Postgres."""
        with Layout(self.home).lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    def start(self, *options: str) -> Self:
        """Start a process and wait until it listens; `options` replace those given before."""
        self.options = options or self.options
        command = [sys.executable, "-W", "error", "-m", "archon_transport"]
        place = ["--data-dir", str(self.home), "--port", str(self.port)]
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *place, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment(self.environ),
                cwd=ROOT,
            )
        until(self._listens, limit=START_LIMIT)
        return self

    def _listens(self) -> bool:
        assert self.process.poll() is None, f"it ended instead of listening:\n{self.printed()}"
        return "Add it to a client" in self.printed()

    def printed(self) -> str:
        """What the latest process printed, its log included."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def serves(self, options: tuple[str, ...], environ: Mapping[str, str] | None) -> bool:
        """Whether it runs with just these options, and has its database."""
        same = (self.options, self.environ) == (options, dict(environ or {}))
        return same and self.process.poll() is None and ready(self)

    def kill(self) -> Self:
        """kill -9; Postgres, which dies with its parent, is not waited for."""
        self.process.kill()
        self.process.wait(STOP_LIMIT)
        return self

    def terminate(self) -> None:
        """SIGTERM, without waiting: `ended` does."""
        self.process.terminate()

    def ended(self) -> tuple[int, str]:
        """The exit code and everything printed, once the process has ended."""
        code = self.process.wait(STOP_LIMIT)
        return code, self.printed()

    @property
    def postmaster(self) -> int:
        """The pid of the Postgres in the data directory."""
        return int((self.home / "pgdata" / "postmaster.pid").read_text().split()[0])

    def kill_postgres(self) -> int:
        """kill -9 of the postmaster, whosever child it is; returns the pid that it had."""
        pid = self.postmaster
        assert Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
        os.kill(pid, signal.SIGKILL)
        return pid

    def postgres_is_back(self, killed: int) -> bool:
        """Whether another Postgres than the one with that pid takes connections.

        Backends of a killed postmaster may answer for a moment more, so an answer alone does not say so.
        """
        try:
            pid = self.postmaster
        except (FileNotFoundError, IndexError):
            return False
        return pid != killed and Layout(self.home).is_ready(pid)

    @property
    def dsn(self) -> str:
        """The embedded database, over its private socket."""
        return Layout(self.home.resolve()).dsn("archon")

    def sql(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement."""
        with self.connected() as (run, connection):
            return run(connection.fetch(query, *arguments))

    @contextlib.contextmanager
    def connected(self) -> Iterator[tuple[Callable[[Coroutine[Any, Any, _T]], _T], asyncpg.Connection]]:
        """A connection to the database and what runs its coroutines: a loop that is not the tests' own."""
        loop = asyncio.new_event_loop()
        try:
            connection = loop.run_until_complete(asyncpg.connect(self.dsn, timeout=10))
            try:
                yield loop.run_until_complete, connection
            finally:
                connection.terminate()
                loop.run_until_complete(asyncio.sleep(0))  # lets the socket close
        finally:
            loop.close()

    @contextlib.contextmanager
    def locked(self, table: str) -> Iterator[Callable[[], None]]:
        """Make every call that reads `table` wait, until what this gives is called or the block is left."""
        with self.connected() as (run, connection):
            run(connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            yield lambda: run(connection.execute("ROLLBACK"))

    def waits_for_a_lock(self) -> bool:
        """Whether some statement waits for what `locked` holds."""
        return bool(self.sql("SELECT FROM pg_locks WHERE NOT granted"))

    def row(self, session_id: str) -> asyncpg.Record:
        """A session's row and how long it is `idle`, by its public id."""
        (row,) = self.sql(_ROW, session_id)
        return row


@dataclass(frozen=True, slots=True)
class Answer:
    """What a POST came back with; `body` is None where there was none."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def tool(self) -> dict[str, Any]:
        """What a tool answered, success or not."""
        assert self.status == 200, self
        found: dict[str, Any] = self.body["result"]["structuredContent"]
        return found


class Caller:
    """A client of the plain kind: one session id, one request after the other, no second try."""

    def __init__(self, program: Program) -> None:
        self.port = program.port
        self.session_id: str | None = None
        self.token: str | None = None
        self.requests = 0
        """Requests that were answered in the session: what its row will count."""

    @property
    def public_id(self) -> str:
        assert self.session_id is not None
        return self.session_id.partition(".")[0]

    def at(self, other: Program) -> Caller:
        """The same client with the same session id, at another server."""
        moved = Caller(other)
        moved.session_id = self.session_id
        return moved

    def open(self) -> Self:
        """The handshake: `initialize`, then `notifications/initialized`."""
        info = {"name": CLIENT[0], "version": CLIENT[1]}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": info}
        answer = self.send({"id": 0, "method": "initialize", "params": params})
        assert answer.status == 200, answer
        self.session_id = answer.headers["mcp-session-id"]
        assert self.send({"method": "notifications/initialized"}).status == 202
        return self

    def call(self, tool: str, **arguments: Any) -> Answer:
        """One `tools/call`."""
        params = {"name": tool, "arguments": arguments}
        answer = self.send({"id": self.requests + 1, "method": "tools/call", "params": params})
        self.requests += answer.status == 200
        return answer

    def delete(self) -> int:
        """End the session; the HTTP status."""
        return self.exchange("DELETE", None).status

    def send(self, message: dict[str, Any]) -> Answer:
        """One POST."""
        return self.exchange("POST", {"jsonrpc": "2.0", **message})

    def exchange(self, verb: str, message: dict[str, Any] | None) -> Answer:
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": REVISION}
        if self.session_id is not None:
            headers["Mcp-Session-Id"] = self.session_id
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        body = None
        if message is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(message)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT)
        try:
            connection.request(verb, "/mcp", body, headers)
            response = connection.getresponse()
            text = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, _said(text, found), found)
        finally:
            connection.close()


def _said(text: bytes, headers: dict[str, str]) -> Any:
    """The message of a body; of an event stream the last one, which is the response."""
    if headers.get("content-type") == "text/event-stream":
        text = [line for line in text.splitlines() if line.startswith(b"data: {")][-1].removeprefix(b"data: ")
    return json.loads(text) if text else None


def ready(program: Program) -> bool:
    """Whether `/ready` says that the program takes requests and has its database."""
    connection = HTTPConnection("127.0.0.1", program.port, timeout=ANSWER_LIMIT)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def closing_numbers(printed: str) -> dict[str, int]:
    """The numbers of the closing line, by the words behind them."""
    (line,) = [line for line in printed.splitlines() if line.startswith("stopped: ")]
    pairs = re.findall(r"(\d+) ([a-z ]+)", line)
    return {words: int(number) for number, words in pairs}
