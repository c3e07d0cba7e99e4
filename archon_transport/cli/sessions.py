"""`archon-transport sessions`: who is connected, what one session did, and an end to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .database import with_store
from .parser import CANNOT, command_parser, fail, read_command
from .table import as_json, table

if TYPE_CHECKING:
    from argparse import Namespace

    from ..store import PostgresStore

DESCRIPTION = """\
  archon-transport sessions list          # who is connected
  archon-transport sessions show ID       # one session and its last requests
  archon-transport sessions end ID        # its client's next request is answered with 404"""

LISTED = (
    "session_id",
    "client_name",
    "client_version",
    "state",
    "last_activity",
    "requests",
    "errors",
    "owner",
)
SHOWN = (
    "revision",
    "node",
    "connected_at",
    "ended_at",
    "ended_reason",
    "bytes_in",
    "bytes_out",
    "user_agent",
)
STATES = ("now", "active", "idle", "inferred", "archon", "ended")


def command(argv: Sequence[str]) -> int:
    """Do what the words say on the database and return the exit code."""
    parser = command_parser("sessions", DESCRIPTION)
    parser.add_argument("action", choices=("list", "show", "end"), help="what to do")
    parser.add_argument("id", nargs="?", help="the session, for show and end")
    parser.add_argument(
        "--state", choices=STATES, default="now", help="which to list [default: now, all that live]"
    )
    parser.add_argument("--search", metavar="TEXT", help="only those with this in their name, owner or node")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="how many at most [default: 100]")
    parser.add_argument("--json", action="store_true", help="for machines")
    settings, typed = read_command(parser, argv)
    if typed.action != "list" and typed.id is None:
        parser.error(f"sessions {typed.action} needs the ID of a session")
    work = {"list": _list, "show": _show, "end": _end}[typed.action]
    return with_store(settings, lambda store: work(store, typed))


async def _list(store: PostgresStore, typed: Namespace) -> int:
    from ..reports import Reports

    found = await Reports(store.pool).sessions(typed.state, typed.search, limit=max(typed.limit, 0))
    if typed.json:
        print(as_json(found))
        return 0
    rows = [[getattr(line, name) for name in LISTED] for line in found]
    headings = [name.replace("_", " ").upper() for name in LISTED]
    print(table(headings, rows) if rows else "no such session" if typed.search else "nobody is connected")
    return 0


async def _show(store: PostgresStore, typed: Namespace) -> int:
    from ..reports import Reports
    from .requests import shown

    reports = Reports(store.pool)
    session = await reports.session(typed.id)
    if session is None:
        return fail(f"there is no session {typed.id}; see archon-transport sessions list", CANNOT)
    streams, questions = await reports.streams(typed.id), await reports.questions(typed.id)
    page = await reports.requests(session=typed.id, limit=max(typed.limit, 0))
    if typed.json:
        whole = {"session": session, "streams": streams, "questions": questions, "requests": page.lines}
        print(as_json(whole))
        return 0
    facts = [(name.replace("_", " "), getattr(session, name)) for name in (*LISTED, *SHOWN)]
    print(table(("FACT", "VALUE"), facts))
    print(f"open streams: {len(streams)}, waiting questions: {len(questions)}\n")
    print(shown(page.lines))
    return 0


async def _end(store: PostgresStore, typed: Namespace) -> int:
    ended = await store.end(typed.id, "operator")
    if typed.json:
        print(as_json({"session_id": typed.id, "ended": ended}))
    elif ended:
        print(f"ended {typed.id}")
    if not ended:
        return fail(f"there is no live session {typed.id}; see archon-transport sessions list", CANNOT)
    return 0
