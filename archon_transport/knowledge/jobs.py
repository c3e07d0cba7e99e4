"""Work on sources, as rows: made by a tool or a command, taken by a worker, kept by a lease.

A worker renews its lease while it works; when it is killed the lease runs out and another goes on. What is
done twice is done the same way twice, so nothing worse than time is lost. Whoever wants a job to stop sets
a flag, which its worker reads each time it renews.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

LEASE = 15.0
BEAT = 3.0
"""Seconds between two renewals, and until a lease that is not renewed runs out."""

MAX_ATTEMPTS = 5
"""How often a job is taken before it is held to be what kills its workers."""

Status = Literal["queued", "running", "completed", "failed", "cancelled"]

_SOURCE = """
    INSERT INTO archon_sources AS source (source_id, source_url, source_display_name, title, metadata)
    VALUES ($1, $2, $3, $3, $4::jsonb)
    ON CONFLICT (source_id) DO UPDATE SET
        source_url = EXCLUDED.source_url, title = EXCLUDED.title,
        metadata = COALESCE(source.metadata, '{}') || EXCLUDED.metadata
    WHERE (source.source_url, source.title, COALESCE(source.metadata, '{}')) IS DISTINCT FROM
        (EXCLUDED.source_url, EXCLUDED.title, COALESCE(source.metadata, '{}') || EXCLUDED.metadata)
"""
_LINK = """
    INSERT INTO archon_project_sources (project_id, source_id, notes)
    SELECT id, $2, 'technical' FROM archon_projects WHERE id = $1
    ON CONFLICT (project_id, source_id) DO UPDATE SET source_id = EXCLUDED.source_id RETURNING id
"""
_SAME = """
    SELECT job_id FROM archon_knowledge_jobs
     WHERE source_id = $1 AND request = $2::jsonb AND foreground = $3
       AND status IN ('queued', 'running') AND NOT cancel_requested
     ORDER BY created_at LIMIT 1
"""
_ENQUEUE = """
    INSERT INTO archon_knowledge_jobs (source_id, request, foreground, created_by)
    VALUES ($1, $2::jsonb, $3, $4) RETURNING job_id
"""
_DUE = """
    SELECT job_id, source_id, attempts FROM archon_knowledge_jobs AS job
     WHERE (status = 'queued' OR (status = 'running' AND lease_until < clock_timestamp()))
       AND CASE WHEN $1::uuid IS NULL THEN NOT foreground ELSE job_id = $1 END
       AND NOT EXISTS (
           SELECT FROM archon_knowledge_jobs AS other
            WHERE other.source_id = job.source_id AND other.job_id <> job.job_id
              AND other.status = 'running' AND other.lease_until >= clock_timestamp())
     ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
# What a killed command left is done by its successor, not by whoever finds it.
_RETIRE = """
    UPDATE archon_knowledge_jobs SET status = 'failed', finished_at = now(),
        failures = '[{"url": "", "reason": "the process that worked on it ended"}]'::jsonb
     WHERE source_id = $1 AND job_id <> $2 AND status = 'running' AND lease_until < clock_timestamp()
"""
_TAKE = """
    UPDATE archon_knowledge_jobs SET status = 'running', worker = $2, attempts = attempts + 1,
        lease_until = clock_timestamp() + make_interval(secs => $3), started_at = COALESCE(started_at, now())
     WHERE job_id = $1 RETURNING job_id, source_id, request, cancel_requested
"""
_RENEW = """
    UPDATE archon_knowledge_jobs SET documents_processed = $3, documents_total = $4,
        lease_until = clock_timestamp() + make_interval(secs => $5)
     WHERE job_id = $1 AND worker = $2 AND status = 'running' RETURNING cancel_requested
"""
_FINISH = """
    UPDATE archon_knowledge_jobs SET status = $3, results = $4::jsonb, failures = $5::jsonb,
        documents_processed = $6, documents_total = $7, lease_until = NULL,
        finished_at = CASE WHEN $3 = 'queued' THEN NULL ELSE now() END,
        attempts = CASE WHEN $3 = 'queued' THEN attempts - 1 ELSE attempts END,
        request = CASE WHEN $3 = 'queued' THEN request ELSE request - 'text' END
     WHERE job_id = $1 AND worker = $2 AND status = 'running'
"""
_CANCEL = """
    UPDATE archon_knowledge_jobs SET cancel_requested = true,
        status = CASE WHEN lease_until >= clock_timestamp() THEN status ELSE 'cancelled' END,
        finished_at = CASE WHEN lease_until >= clock_timestamp() THEN NULL ELSE now() END
     WHERE (job_id = $1 OR source_id = $2) AND status IN ('queued', 'running') RETURNING job_id
"""
_READ = "SELECT * FROM archon_knowledge_jobs WHERE job_id = $1"
_REQUEST = "SELECT metadata -> 'ingest' FROM archon_sources WHERE source_id = $1"
_EXISTS = "SELECT EXISTS (SELECT FROM archon_sources WHERE source_id = $1)"


class UnknownProject(LookupError):
    """The project that a source should be linked to does not exist."""


class Request(BaseModel):
    """What a job takes in. `roots` are URLs, `file:` ones too; `text` is there instead of them."""

    model_config = ConfigDict(frozen=True)

    title: str
    roots: tuple[str, ...] = ()
    text: str | None = None
    tags: tuple[str, ...] = ()
    project_id: UUID | None = None
    knowledge_type: str = "technical"
    extract_code_examples: bool = True
    depth: int = Field(2, ge=0, le=10)
    max_pages: int = Field(1000, ge=1, le=50_000)
    allow_private: bool = False
    force: bool = False

    @property
    def local(self) -> bool:
        """Whether it reads files of one machine."""
        return any(root.startswith("file:") for root in self.roots)


@dataclass(frozen=True, slots=True)
class Job:
    """A job that a worker has taken."""

    job_id: UUID
    source_id: str
    request: Request
    cancel_requested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is, for whoever asks."""

    job_id: UUID
    source_id: str
    status: Status
    documents_processed: int
    documents_total: int
    results: dict[str, Any]
    failures: list[dict[str, str]]
    created_at: datetime
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ("completed", "failed", "cancelled")


def source_id_of(name: str, project_id: UUID | None = None) -> str:
    """A source's id: 16 hexadecimal digits of what names it, an address or a title in its project."""
    return hashlib.sha256(f"{project_id or ''}{name}".encode()).hexdigest()[:16]


async def enqueue(
    pool: asyncpg.Pool, source_id: str, request: Request, *, created_by: str, foreground: bool = False
) -> UUID:
    """The job that does this: a new one, or the one that waits or runs already.

    Raises:
        UnknownProject: there is no such project.
    """
    kept = request.model_dump(mode="json", exclude={"text", "force"})
    metadata = {
        "knowledge_type": request.knowledge_type,
        "tags": list(request.tags),
        "source_type": "file" if request.local or request.text is not None else "url",
        "auto_generated": False,
        "ingest": None if request.text is not None else kept,
    }
    url = request.roots[0] if request.roots else f"inline:{source_id}"
    asked = request.model_dump_json()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SOURCE, source_id, url, request.title, json.dumps(metadata))
        if request.project_id and not await connection.fetchval(_LINK, request.project_id, source_id):
            raise UnknownProject(f"there is no project with the id {request.project_id}")
        found = await connection.fetchval(_SAME, source_id, asked, foreground)
        made: UUID = found or await connection.fetchval(_ENQUEUE, source_id, asked, foreground, created_by)
        return made


async def request_of(pool: asyncpg.Pool, source_id: str) -> Request | None:
    """How a source was taken in, so that it can be again; None for Archon's own and for given texts.

    Raises:
        LookupError: there is no such source.
    """
    if not await pool.fetchval(_EXISTS, source_id):
        raise LookupError(source_id)
    kept = await pool.fetchval(_REQUEST, source_id)
    return Request.model_validate_json(kept) if kept and kept != "null" else None


async def claim(pool: asyncpg.Pool, worker: str, job_id: UUID | None = None) -> Job | None:
    """Take the oldest job that is due, or the one that is named; None when there is none."""
    try:
        async with pool.acquire() as connection, connection.transaction():
            due = await connection.fetchrow(_DUE, job_id)
            if due is None:
                return None
            await connection.execute(_RETIRE, due["source_id"], due["job_id"])
            (row,) = await connection.fetch(_TAKE, due["job_id"], worker, LEASE)
    except asyncpg.UniqueViolationError:
        return None  # another job of the source was taken at this moment
    job = Job(
        row["job_id"], row["source_id"], Request.model_validate_json(row["request"]), row["cancel_requested"]
    )
    if due["attempts"] >= MAX_ATTEMPTS:
        reason = f"given up: it was begun {MAX_ATTEMPTS} times and never finished"
        await finish(pool, job, worker, "failed", failures=[{"url": "", "reason": reason}])
        return None
    return job


async def renew(pool: asyncpg.Pool, job: Job, worker: str, done: int, total: int) -> bool:
    """Renew the lease and note how far it is; whether the work should go on."""
    cancelled = await pool.fetchval(_RENEW, job.job_id, worker, done, total, LEASE)
    return cancelled is False


async def finish(
    pool: asyncpg.Pool,
    job: Job,
    worker: str,
    status: Status,
    *,
    results: dict[str, Any] | None = None,
    failures: list[dict[str, str]] | None = None,
    done: int = 0,
    total: int = 0,
) -> None:
    """Say how it ended; `queued` gives it back. Nothing happens when the lease was lost."""
    told = json.dumps(results or {}), json.dumps(failures or [])
    await pool.execute(_FINISH, job.job_id, worker, status, *told, done, total)


async def cancel(
    pool: asyncpg.Pool, *, job_id: UUID | None = None, source_id: str | None = None
) -> list[UUID]:
    """Ask one job, or all of a source, to stop; those that had not ended."""
    return [row["job_id"] for row in await pool.fetch(_CANCEL, job_id, source_id)]


async def progress(pool: asyncpg.Pool, job_id: UUID) -> Progress | None:
    """How far a job is."""
    row = await pool.fetchrow(_READ, job_id)
    if row is None:
        return None
    return Progress(
        **{name: row[name] for name in ("job_id", "source_id", "status", "created_at", "finished_at")},
        **{name: row[name] for name in ("documents_processed", "documents_total")},
        results=json.loads(row["results"]),
        failures=json.loads(row["failures"]),
    )
