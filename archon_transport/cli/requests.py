"""`archon-transport requests`: the last requests, of everybody or of one session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .database import with_store
from .parser import command_parser, read_command
from .table import as_json, table

if TYPE_CHECKING:
    from ..reports.records import RequestLine
    from ..store import PostgresStore

SHOWN = ("timestamp", "client_name", "method", "tool_name", "outcome", "duration_ms", "error_message")


def command(argv: Sequence[str]) -> int:
    """Print the last requests and return the exit code."""
    parser = command_parser("requests", "The last requests, newest first.")
    parser.add_argument("--session", metavar="ID", help="only those of this session")
    parser.add_argument("--failed", action="store_true", help="only those that failed")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="how many at most [default: 50]")
    parser.add_argument("--json", action="store_true", help="for machines")
    settings, typed = read_command(parser, argv)

    async def work(store: PostgresStore) -> int:
        from ..reports import FAILED, Reports

        outcomes = FAILED if typed.failed else ()
        page = await Reports(store.pool).requests(
            session=typed.session, outcomes=outcomes, limit=max(typed.limit, 0)
        )
        print(as_json(page.lines) if typed.json else shown(page.lines))
        return 0

    return with_store(settings, work)


def shown(lines: Sequence[RequestLine]) -> str:
    """Requests as a table."""
    rows = [[getattr(line, name) for name in SHOWN] for line in lines]
    return table([name.replace("_", " ").upper() for name in SHOWN], rows) if rows else "no request"
