"""`archon-transport migrate`: bring the tables up to date and end, as the owner of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .database import with_store
from .parser import command_parser, read_command

if TYPE_CHECKING:
    from ..store import PostgresStore

DESCRIPTION = """\
Bring the tables of a database up to date, and end. The server does that itself when it starts; run this
once as the owner of the database where the server's own role may not create tables."""


def command(argv: Sequence[str]) -> int:
    """Migrate; opening the store is all it takes."""
    settings, _ = read_command(command_parser("migrate", DESCRIPTION), argv)
    return with_store(settings, _done)


async def _done(store: PostgresStore) -> int:
    print("The tables are up to date.")
    return 0
