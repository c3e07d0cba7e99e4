"""`archon-transport tokens add|list|revoke`: who may connect where `--auth tokens` asks for a token.

A token is printed once, alone on stdout, so that it can be piped to where it is kept; what is said about it
goes to stderr. A running server takes a new token at once, and a revoked or replaced one for at most five
seconds more.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..settings import seconds
from .database import with_store
from .parser import CANNOT, command_parser, fail, read_command

if TYPE_CHECKING:
    from ..store import PostgresStore

DESCRIPTION = """\
Bearer tokens of those who may connect, where --auth tokens asks for one.

  archon-transport tokens add NAME       # makes a token and shows it, this once; NAME owns its sessions
  archon-transport tokens list           # names, scopes and times, never the tokens
  archon-transport tokens revoke NAME    # refuses it, on every node within five seconds

A name that has a token gets another in its place by add: its sessions stay, the old token is refused."""

_COLUMNS = ("name", "state", "scopes", "created_at", "rotated_at", "expires_at", "last_used_at")
_LONGEST = 100 * 365 * 86400.0


def command(argv: Sequence[str]) -> int:
    """Do what the first word says with the tokens and return the exit code."""
    parser = command_parser("tokens", DESCRIPTION)
    parser.add_argument("action", choices=("add", "list", "revoke"))
    parser.add_argument("name", metavar="NAME", nargs="?", type=_name, help="whose token, for add and revoke")
    parser.add_argument("--json", action="store_true", help="answer in JSON, for programs")
    group = parser.add_argument_group("a new token")
    text = "with commas: read, write (has read), admin (has both) [default: read,write, or what NAME had]"
    group.add_argument("--scopes", metavar="LIST", type=_scopes, help=f"what it is good for, {text}")
    text = "how long it is good, such as 90d or 12h [default: for ever]"
    group.add_argument("--expires", metavar="DURATION", type=_life, help=text)
    settings, typed = read_command(parser, argv)
    if (typed.name is None) != (typed.action == "list"):
        parser.error(f"tokens {typed.action} takes {'no name' if typed.name else 'the NAME of a token'}")
    if typed.action != "add" and (typed.scopes or typed.expires):
        parser.error("--scopes and --expires are for tokens add")
    work = {"add": _add, "list": _list, "revoke": _revoke}[typed.action]
    return with_store(settings, lambda store: work(store, typed))


async def _add(store: PostgresStore, typed: argparse.Namespace) -> int:
    from ..auth import digest_of, new_token

    fresh = new_token()
    made = await store.add_token(typed.name, digest_of(fresh), typed.scopes, typed.expires)
    print(_json(asdict(made) | {"token": fresh}) if typed.json else fresh, flush=True)
    until = "for ever" if made.expires_at is None else f"until {_shown(made.expires_at)}"
    place = ", in the place of the one before" if made.rotated_at else ""
    text = f"This is the token of {made.name}, good for {_shown(made.scopes)} {until}{place}."
    print(f"{text} It is not shown again.", file=sys.stderr)
    print("Clients send it as a header: Authorization: Bearer TOKEN", file=sys.stderr)
    return 0


async def _list(store: PostgresStore, typed: argparse.Namespace) -> int:
    tokens = [asdict(token) for token in await store.list_tokens()]
    if typed.json or not tokens:
        print(_json(tokens) if typed.json else "No tokens; make one with: archon-transport tokens add NAME")
        return 0
    heads = [name.removesuffix("_at").replace("_", " ").upper() for name in _COLUMNS]
    rows = [heads, *([_shown(token[name]) for name in _COLUMNS] for token in tokens)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))
    return 0


async def _revoke(store: PostgresStore, typed: argparse.Namespace) -> int:
    token = await store.revoke_token(typed.name)
    if token is None:
        return fail(f"there is no token of {typed.name}; archon-transport tokens list shows all", CANNOT)
    text = f"The token of {token.name} is revoked since {_shown(token.revoked_at)}."
    print(_json(asdict(token)) if typed.json else text)
    return 0


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", text):
        raise argparse.ArgumentTypeError("must be 1 to 64 letters, digits and ._@- (not first)")
    return text


def _scopes(text: str) -> list[str]:
    from ..auth import SCOPES

    given = {part.strip().lower() for part in text.split(",")}
    if not given <= set(SCOPES):
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(SCOPES)}, with commas, not {text!r}")
    return sorted(given, key=SCOPES.index)


def _life(text: str) -> float:
    try:
        life = float(str(seconds(text)))
    except ValueError:
        life = 0.0
    if not 0 < life <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be a duration such as 90d, 12h or 3600, not {text!r}")
    return life


def _json(value: object) -> str:
    return json.dumps(value, indent=2, default=datetime.isoformat)


def _shown(value: object) -> str:
    match value:
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
        case tuple():
            return ",".join(map(str, value))
        case _:
            return "-" if value is None else str(value)
