"""`archon-transport tail`: requests as they are written, until it is interrupted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from .database import with_store
from .parser import command_parser, read_command
from .table import as_json, printable

if TYPE_CHECKING:
    from ..reports.records import RequestLine
    from ..store import PostgresStore

LOOK = 0.5
NEWEST = 500
"""Requests that one look reads: what comes faster than a thousand a second is shown in part."""


def command(argv: Sequence[str]) -> int:
    """Print every request that comes; an interrupt is the end and no error."""
    parser = command_parser("tail", "Requests as they come; interrupt it to end it.")
    parser.add_argument("--session", metavar="ID", help="only those of this session")
    parser.add_argument("--json", action="store_true", help="for machines: one object a line")
    settings, typed = read_command(parser, argv)

    async def work(store: PostgresStore) -> int:
        await _follow(store, typed.session, _as_line if typed.json else _shown)
        return 0

    try:
        return with_store(settings, work)
    except (KeyboardInterrupt, BrokenPipeError):
        return 0


async def _follow(store: PostgresStore, session: str | None, shown: Callable[[RequestLine], str]) -> None:
    from ..reports import Reports
    from ..sessions import StoreUnavailable

    reports = Reports(store.pool)
    seen: set[UUID] | None = None
    while True:
        try:
            lines = (await reports.requests(session=session, limit=NEWEST)).lines
        except StoreUnavailable:
            lines = []  # it says nothing meanwhile, and goes on when the database is back
        for line in reversed(lines if seen is not None else lines[:10]):
            if seen is None or line.request_id not in seen:
                print(shown(line), flush=True)
        seen = {line.request_id for line in lines} or seen
        await asyncio.sleep(LOOK)


def _as_line(line: RequestLine) -> str:
    return json.dumps(json.loads(as_json(line)))


def _shown(line: RequestLine) -> str:
    took = "-" if line.duration_ms is None else f"{line.duration_ms} ms"
    what = line.tool_name or line.method or "-"
    why = f"  {line.error_message}" if line.error_message else ""
    who = f"{line.timestamp:%H:%M:%S}  {line.client_name[:30]:<20}"
    return printable(f"{who}  {what:<28}  {line.outcome:<10} {took:>9}{why}", 240)
