"""The command line: `archon-transport [command] [options]`, one module per command.

Without a command it serves. Exit codes: 0 it did what was asked, 1 it could not, 2 it was asked wrongly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from . import (
    evaluate,
    ingest,
    migrate,
    print_config,
    requests,
    serve,
    sessions,
    stats,
    tail,
    tokens,
)
from .parser import USAGE_ERROR, fail

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": serve.command,
    "tokens": tokens.command,
    "sessions": sessions.command,
    "requests": requests.command,
    "stats": stats.command,
    "tail": tail.command,
    "print-config": print_config.command,
    "ingest": ingest.command,
    "evaluate": evaluate.command,
    "migrate": migrate.command,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names (what was typed, by default) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words and not words[0].startswith("-") else "serve"
    command = COMMANDS.get(name)
    if command is None:
        return fail(f"there is no command {name!r}; the commands are: {', '.join(COMMANDS)}", USAGE_ERROR)
    try:
        return command(words)
    except SystemExit as stop:  # how argparse ends --help, --version and an option that it does not know
        return int(stop.code or 0)
