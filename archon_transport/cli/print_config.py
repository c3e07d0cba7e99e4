"""`archon-transport print-config CLIENT`: what to put where, so that a client knows this server."""

from __future__ import annotations

from collections.abc import Sequence

from .parser import command_parser, read_command
from .serve import url
from .table import as_json

DESCRIPTION = """\
Prints the configuration for one client, to be put into its file:

  archon-transport print-config codex >> ~/.codex/config.toml"""


def command(argv: Sequence[str]) -> int:
    """Print the configuration and return the exit code."""
    from ..web.clients import CLIENTS, TOKEN, configuration

    parser = command_parser("print-config", DESCRIPTION, ("host", "port", "path", "allow_host"))
    parser.add_argument("client", choices=CLIENTS, metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument(
        "--with-token",
        action="store_true",
        help=f"log in with a token, from {TOKEN} where it can",
    )
    parser.add_argument("--json", action="store_true", help="for machines, with the place it belongs to")
    settings, typed = read_command(parser, argv)
    found = configuration(typed.client, url(settings, settings.port), token=typed.with_token)
    print(as_json(found) if typed.json else found.text)
    return 0
