"""Getting knowledge in over MCP: `manage_rag_source` and `rag_check_progress`.

The work itself is a job in the database, done by a worker of this node or of another; a call makes it and
may wait for it. A client's words name texts and public addresses, never files of the server.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal, assert_never
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from ..knowledge import jobs
from ..knowledge.guard import refusal
from ..knowledge.jobs import Request
from .answers import Failure, Success, invalid, not_found
from .context import Archon, actor, report
from .registry import READS, hints, tool
from .schemas import Arguments, Id, Name, Text, storable

WAIT = 240.0
"""Seconds that a call waits for a job, at most."""

LOOK = 0.5
"""Seconds between two looks at a job that is waited for."""

_DELETE = """
    WITH links AS (DELETE FROM archon_project_sources WHERE source_id = $1)
    DELETE FROM archon_sources WHERE source_id = $1 RETURNING source_id
"""

_COMMAND = "archon-transport ingest PATH --source NAME"

Content = Annotated[str, StringConstraints(max_length=2_000_000), AfterValidator(storable)]


class ManageRagSource(Arguments):
    """The arguments of `manage_rag_source`."""

    action: Literal["add", "sync", "delete", "cancel"]
    """add (a text or a url; the same title again replaces it); sync (reads the source again, needs
    source_id); delete (the source with all its pages); cancel (stops what runs for the source)."""
    source_id: Name | None = None
    """Id of the source; for every action but add."""
    title: Name | None = None
    """Title of the source; a text needs one."""
    source_type: Literal["inline", "url", "file"] | None = None
    """inline (needs text) or url; files are taken in on the server's command line."""
    text: Content | None = None
    """Markdown or plain text to take in."""
    url: Text | None = None
    """A page, sitemap.xml, llms.txt or llms-full.txt on a public address."""
    path: Text | None = None
    """Not allowed here: a file of the server."""
    tags: list[Name] | None = Field(None, max_length=50)
    """Tags of the source."""
    project_id: Id | None = None
    """UUID of a project that the source belongs to."""
    knowledge_type: Name = "technical"
    """technical or business."""
    extract_code_examples: bool = True
    """Whether code is made findable by itself."""
    depth: int = Field(2, ge=0, le=5)
    """How many links away from a page are followed."""
    max_pages: int = Field(200, ge=1, le=5000)
    """How many pages are read at most."""
    force: bool = False
    """Whether pages that have not changed are read again, too."""
    wait: bool = False
    """Whether to wait for the end; progress is notified, cancelling the call cancels it."""


class RagCheckProgress(Arguments):
    """The arguments of `rag_check_progress`."""

    progress_id: Id
    """The progress_id that manage_rag_source answered."""
    wait: bool = False
    """Whether to wait for the end, with progress notifications."""


class JobState(Success):
    """How far a job is. `results` is filled when it has ended."""

    progress_id: UUID
    source_id: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    progress: int
    """Per cent."""
    documents_processed: int
    documents_total: int
    results: dict[str, Any]
    message: str


class SourceRemoved(Success):
    """What delete and cancel answer."""

    source_id: str
    message: str


async def manage_rag_source(archon: Archon, given: ManageRagSource) -> JobState | SourceRemoved | Failure:
    """Takes a text or a web address into the knowledge base, reads a source again, deletes it, or stops what
    runs for it. The work goes on after the answer: rag_check_progress tells how it goes.
    """
    match given.action:
        case "add":
            return await _add(archon, given)
        case "sync" | "delete" | "cancel" if given.source_id is None:
            return invalid(f"source_id: is required for {given.action}.")
        case "sync":
            return await _sync(archon, given, given.source_id)
        case "delete":
            return await _delete(archon, given.source_id)
        case "cancel":
            stopped = await jobs.cancel(archon.pool, source_id=given.source_id)
            message = f"{len(stopped)} jobs of the source were asked to stop."
            return SourceRemoved(source_id=given.source_id, message=message)
        case _:
            assert_never(given.action)


async def rag_check_progress(archon: Archon, given: RagCheckProgress) -> JobState | Failure:
    """Tells how far the work that manage_rag_source began is, or what came of it."""
    return await _state(archon, given.progress_id, wait=given.wait)


async def _add(archon: Archon, given: ManageRagSource) -> JobState | Failure:
    if given.path is not None or given.source_type == "file":
        return invalid(f"Files of the server are taken in on its command line: {_COMMAND}.")
    if (given.text is None) == (given.url is None):
        return invalid("Give either text or url.")
    if given.text is not None and given.title is None:
        return invalid("title: is required for a text.")
    if given.url and (reason := refusal(given.url, allow_private=False)):
        return invalid(f"url: {reason}; only public addresses are fetched.")
    title = given.title or (given.url or "").partition("://")[2].rstrip("/")
    request = Request(
        title=title,
        roots=() if given.url is None else (given.url,),
        text=given.text,
        tags=tuple(given.tags or ()),
        project_id=given.project_id,
        **given.model_dump(
            include={"knowledge_type", "extract_code_examples", "depth", "max_pages", "force"}
        ),
    )
    source_id = jobs.source_id_of(given.title or given.url or "", given.project_id)
    return await _start(archon, source_id, request, wait=given.wait)


async def _sync(archon: Archon, given: ManageRagSource, source_id: str) -> JobState | Failure:
    try:
        request = await jobs.request_of(archon.pool, source_id)
    except LookupError:
        return not_found("source", source_id)
    if request is None:
        return invalid("The source is a text, or was not taken in by this program: add it again.")
    if request.local:
        return invalid(f"The source is of files of the server; they are read again by: {_COMMAND}.")
    return await _start(archon, source_id, request.model_copy(update={"force": given.force}), wait=given.wait)


async def _start(archon: Archon, source_id: str, request: Request, *, wait: bool) -> JobState | Failure:
    try:
        job_id = await jobs.enqueue(archon.pool, source_id, request, created_by=actor())
    except jobs.UnknownProject:
        return not_found("project", request.project_id)
    try:
        return await _state(archon, job_id, wait=wait)
    except asyncio.CancelledError:
        if not archon.stopping():  # the client's wish, and not the end of this node, which ends no job
            await asyncio.shield(jobs.cancel(archon.pool, job_id=job_id))
        raise


async def _delete(archon: Archon, source_id: str) -> SourceRemoved | Failure:
    await jobs.cancel(archon.pool, source_id=source_id)
    if await archon.pool.fetchval(_DELETE, source_id) is None:
        return not_found("source", source_id)
    return SourceRemoved(source_id=source_id, message="Source deleted, with its pages, chunks and examples.")


async def _state(archon: Archon, job_id: UUID, *, wait: bool) -> JobState | Failure:
    """The state of a job, at once or when it has ended; a wait reports each step forward."""
    deadline = archon.monotonic() + WAIT
    told = -1
    while (now := await jobs.progress(archon.pool, job_id)) is not None:
        if not wait or now.ended or archon.monotonic() > deadline:
            return _told(now)
        if now.documents_processed > told:
            told = now.documents_processed
            await report(told, now.documents_total or None, now.status)
        await asyncio.sleep(LOOK)
    return not_found("job", job_id)


def _told(now: jobs.Progress) -> JobState:
    per_cent = 100 if now.ended else 100 * now.documents_processed // max(1, now.documents_total)
    results = {**now.results, "failures": now.failures} if now.ended else {}
    message = "Ended; results says what came of it." if now.ended else "Ask rag_check_progress how it goes."
    told = {"progress_id": now.job_id, "progress": per_cent, "results": results, "message": message}
    return JobState(**asdict(now) | told)


TOOLS = (
    tool(
        manage_rag_source,
        "Manage a knowledge source",
        hints(destroys=True, again=True, outside=True),
        timeout=WAIT + 30,
    ),
    tool(rag_check_progress, "Check the progress of a source", READS, timeout=WAIT + 30),
)
