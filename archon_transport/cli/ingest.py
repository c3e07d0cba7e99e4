"""`archon-transport ingest`: take files, folders and sites in, here and now, and say what came of it.

The command does its job itself, beside a running server or alone, because files are this machine's. Its job
is a row like any other: killed half-way and run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from .database import with_store
from .parser import CANNOT, DATABASE, EMBEDDER, PROGRAM, USAGE_ERROR, command_parser, fail, read_command

if TYPE_CHECKING:
    from ..knowledge.embed import Embedder
    from ..knowledge.ingest import OnDocument
    from ..knowledge.jobs import Progress, Request
    from ..store import PostgresStore

DESCRIPTION = """\
Take documents in, to be found by the rag_ tools: files and folders (Markdown, text, HTML, PDF, docx, source
code), a web page and what it leads to in its folder, a sitemap.xml, an llms.txt or llms-full.txt.

What has not changed since the last time is passed by; what has vanished is removed."""

_BAR = 24


def command(argv: Sequence[str]) -> int:
    """Take in what `argv` names; 1 when something failed."""
    parser = command_parser("ingest", DESCRIPTION, (*DATABASE, *EMBEDDER))
    parser.add_argument("roots", nargs="+", metavar="PATH|URL", help="what to take in")
    parser.add_argument(
        "--source", metavar="NAME", help="one source of this name for everything; default: each its own"
    )
    parser.add_argument("--tags", default="", metavar="A,B", help="tags of the source, separated by commas")
    parser.add_argument(
        "--depth", type=int, default=2, metavar="N", help="how many links away from a page (default: 2)"
    )
    parser.add_argument(
        "--max-pages", type=int, default=1000, metavar="N", help="pages of a site (default: 1000)"
    )
    parser.add_argument("--project", type=UUID, metavar="ID", help="link the source to this project")
    parser.add_argument("--force", action="store_true", help="read again what has not changed, too")
    parser.add_argument(
        "--allow-private",
        action="store_true",
        help="fetch from private addresses, such as those of this machine",
    )
    settings, typed = read_command(parser, argv)
    try:
        requests = _requests(typed)
    except ValueError as error:
        return fail(str(error), USAGE_ERROR)

    from .. import app
    from ..process import StartError

    try:
        embedder = app.open_embedder(settings)
    except StartError as error:
        return fail(str(error), CANNOT)
    try:
        return with_store(settings, lambda store: _ingest(store, requests, embedder))
    except KeyboardInterrupt:
        return fail("stopped; the same command goes on where it was", CANNOT)


def _requests(typed: argparse.Namespace) -> list[tuple[str, Request]]:
    """What is to be done, each with the name that makes its source's id.

    Raises:
        ValueError: something typed is not allowed, or is not there.
    """
    from ..knowledge.guard import refusal
    from ..knowledge.jobs import Request

    roots = []
    for root in typed.roots:
        if "://" in root:
            if reason := refusal(root, allow_private=typed.allow_private):
                raise ValueError(
                    f"{root}: {reason}" + ("; see --allow-private" if "private" in reason else "")
                )
            roots.append(root)
        elif Path(root).exists():
            roots.append(Path(root).resolve().as_uri())
        else:
            raise ValueError(f"there is no file or folder {root}")
    if not 0 <= typed.depth <= 10 or not 1 <= typed.max_pages <= 50_000:
        raise ValueError("--depth must be from 0 to 10 and --max-pages from 1 to 50000")
    given = {
        "tags": tuple(tag.strip() for tag in typed.tags.split(",") if tag.strip()),
        **{name: getattr(typed, name) for name in ("depth", "max_pages", "allow_private", "force")},
        "project_id": typed.project,
    }
    if typed.source:
        return [(typed.source, Request(title=typed.source, roots=tuple(roots), **given))]
    return [(root, Request(title=_title(root), roots=(root,), **given)) for root in roots]


def _title(root: str) -> str:
    return Path(root).name if root.startswith("file:") else root.partition("://")[2].rstrip("/")


async def _ingest(
    store: PostgresStore, requests: Sequence[tuple[str, Request]], embedder: Embedder | None
) -> int:
    from ..knowledge.jobs import UnknownProject
    from ..store.errors import translated

    failed = False
    try:
        with translated():
            for name, request in requests:
                failed |= not await _take_in(store, name, request, embedder)
    except UnknownProject as error:
        return fail(str(error), CANNOT)
    finally:
        if embedder is not None:
            await embedder.close()
    return CANNOT if failed else 0


async def _take_in(store: PostgresStore, name: str, request: Request, embedder: Embedder | None) -> bool:
    """Do one job and tell what came of it; whether nothing failed."""
    from ..knowledge import ingest, jobs
    from ..knowledge.readers import Readers

    worker = f"{socket.gethostname()}/{os.getpid()}/{PROGRAM} ingest"
    source_id = jobs.source_id_of(name, request.project_id)
    job_id = await jobs.enqueue(store.pool, source_id, request, created_by="ingest", foreground=True)
    deadline = time.monotonic() + jobs.LEASE + 2 * jobs.BEAT
    while (job := await jobs.claim(store.pool, worker, job_id)) is None:
        if time.monotonic() > deadline:
            fail(f"another process works on {request.title}; try again when it is done", CANNOT)
            return False
        await asyncio.sleep(0.5)
    readers = Readers()
    try:
        bar = _bar(request.title)
        await ingest.run_job(store.pool, job, worker, readers, embedder=embedder, on_document=bar)
    finally:
        readers.close()
        if sys.stderr.isatty():
            print(file=sys.stderr)
    ended = await jobs.progress(store.pool, job_id)
    return ended is not None and _tell(request.title, ended)


def _bar(title: str) -> OnDocument:
    """A bar on a terminal; elsewhere a line for every tenth of the way."""
    told = -1

    def on_document(done: int, total: int, url: str) -> None:
        nonlocal told
        if sys.stderr.isatty():
            filled = "#" * (_BAR * done // total)
            place = url.rpartition("/")[2][:40]
            print(
                f"\r\x1b[K{title} [{filled:<{_BAR}}] {done}/{total} {place}",
                end="",
                file=sys.stderr,
                flush=True,
            )
        elif 10 * done // total > told:
            told = 10 * done // total
            print(f"{title}: {done}/{total}", file=sys.stderr, flush=True)

    return on_document


def _tell(title: str, ended: Progress) -> bool:
    """The summary: what came in, what did not, and why."""
    found = ended.results
    for failure in ended.failures:
        print(f"{PROGRAM}: {failure['url'] or title}: {failure['reason']}", file=sys.stderr)
    if not found:
        print(f"{title}: {ended.status}")
        return False
    changed = found["ingested"] or found["removed"]
    counts = f"{found['ingested']} new or changed, {found['unchanged']} unchanged, {found['removed']} removed"
    print(
        f"{title} (source {found['source_id']}): {counts if changed else f'nothing has changed ({counts})'}"
    )
    examples = found["code_examples_stored"]
    print(f"  now {found['pages']} pages, {found['chunks_stored']} chunks, {examples} code examples")
    for reason, count in found["skipped"].items():
        print(f"  {count} skipped: {reason}")
    if found["failed"]:
        print(f"  {found['failed']} failed")
    if not found["complete"]:
        print("  not everything was reached: what is known of the rest was kept")
    return ended.status == "completed" and not found["failed"]
