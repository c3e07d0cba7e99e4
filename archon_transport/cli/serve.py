"""`archon-transport serve`: start the server, say where it is, and stay until a signal.

What is served is Archon, or an MCP server of somebody else by its name (`serve package.module:name`). The
application is imported only once there is something to serve, so that `--help` and a mistyped option
answer at once.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..settings import Settings, SettingsError
from ..signals import logs
from .parser import CANNOT, USAGE_ERROR, fail, read_command, settings_parser

DESCRIPTION = """\
Archon for coding assistants: projects, tasks and documents over MCP, with sessions that outlive the server.

  archon-transport                                                     # serves at http://127.0.0.1:8051/mcp
  claude mcp add --transport http archon http://127.0.0.1:8051/mcp     # adds it to a client

Any MCP client that speaks Streamable HTTP connects to that one URL. Stop the server, kill it, start it again:
clients go on with the session they have.

Everything lives in Postgres. Where no database is named, one is started in the data directory, reachable by
this machine only; several servers that name the same database serve the same sessions.

  archon-transport serve package.module:name                           # serves your own MCP server instead

NAME is a Server or MCPServer of the MCP SDK, or a fastmcp server, in a module that can be imported from here;
its code stays as it is. Without a database or a --data-dir of its own it shares its sessions with Archon."""

EPILOG = """\
Every option is also the variable in brackets: flags go before variables, variables before defaults.
Durations are seconds, or have a unit: 90s, 5m, 12h, 30d. Repeated options are one variable with commas."""


if TYPE_CHECKING:
    from mcp.server import Server

    from .. import process

    class Program(process.Program, Protocol):
        """What is built: what the process needs of it, and a line about its database."""

        @property
        def database(self) -> str:
            """One line about the database in use, without a password."""


Build = Callable[[Settings], Coroutine[Any, Any, "Program"]]


def command(argv: Sequence[str], build: Build | None = None) -> int:
    """Serve until a signal and return the exit code; `build` makes what is served (Archon, by default)."""
    parser = settings_parser(DESCRIPTION, EPILOG)
    parser.add_argument("server", nargs="?", metavar="MODULE:NAME", help="an MCP server to serve, not Archon")
    settings, typed = read_command(parser, argv)
    if complaint := settings.exposure():
        return fail(complaint, USAGE_ERROR)
    logs.configure(settings.log_level, settings.log_format)
    if typed.server is None:
        return _serve(settings, build or _archon)
    from . import loading

    try:
        server = loading.load(typed.server)
    except loading.LoadError as error:
        return fail(str(error), USAGE_ERROR)
    return _serve(settings, functools.partial(_around, server), server.name)


def _serve(settings: Settings, build: Build, name: str = "Archon") -> int:
    from .. import process

    try:
        with (
            process.Listener.bind(settings.host, settings.port, shared=settings.reuse_port) as listener,
            # Runs in the main thread, as it must: a child that should die with its parent (the embedded
            # Postgres) is bound to the thread that spawned it.
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            stopped = runner.run(
                process.serve(
                    listener,
                    functools.partial(build, settings),
                    lambda program: _announce(name, settings, listener.port, program.database),
                    drain=settings.drain,
                )
            )
    except (process.StartError, SettingsError) as error:
        return fail(str(error), CANNOT)
    _say(stopped.line)
    return 0 if stopped.clean else CANNOT


async def _archon(settings: Settings) -> Program:
    from .. import app

    return await app.build(settings)


async def _around(server: Server[Any], settings: Settings) -> Program:
    from .. import app

    return await app.build_around(settings, server)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop where the extra `fast` is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def url(settings: Settings, port: int) -> str:
    """Where clients find the endpoint: by the address listened on, or by a name that was allowed."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if not settings.loopback and settings.allow_host:
        host = settings.allow_host[0].removesuffix(":*")
    named = ":" in host.rpartition("]")[2]
    return f"http://{host}{settings.path}" if named else f"http://{host}:{port}{settings.path}"


def _announce(name: str, settings: Settings, port: int, database: str) -> None:
    where = url(settings, port)
    short = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-").lower() or "server"
    _say(f"{name} listens at {where}")
    _say(f"Database: {database}")
    header = "" if settings.auth == "none" else ' --header "Authorization: Bearer TOKEN"'
    _say(f"Add it to a client: claude mcp add --transport http {short} {where}{header}")
    if header:
        _say("Make a TOKEN: archon-transport tokens add NAME")


def _say(line: str) -> None:
    """Print for the person who started it; that nobody reads any more is no reason to stop serving."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
