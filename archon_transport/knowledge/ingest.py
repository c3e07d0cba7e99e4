"""Taking a source in: from its roots to pages in the tables, and the worker that does so job by job.

An `Ingest` goes through a source in rounds: what the roots name, then what those lead to, as deep as is
asked. Each document is remembered when it is done, with the id of the job. So a job that begins again
passes by what it has done, and when it is through, what no job of now has seen has vanished.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import asyncpg

from . import discover, jobs, pages, terms
from .embed import Embedder, EmbedderError
from .fetch import PATIENCE, Fetched, Fetcher, FetchError, fetching
from .jobs import Job
from .pages import Known, Written
from .parse import Document, Page, Unreadable
from .readers import Readers
from .vectors import store_vectors

_log = logging.getLogger(__name__)

PIPELINE = 1
"""Raised when the same document would become other pages: unchanged ones are read again then."""

AT_ONCE = 4
"""Documents that one job works on at the same time."""

SHOWN = 100
"""Failures that a job's row names; the number of all is in its results."""

_TOTALS = """
    SELECT (SELECT count(*) FROM archon_page_metadata WHERE source_id = $1) AS pages,
           (SELECT COALESCE(sum(word_count), 0) FROM archon_page_metadata WHERE source_id = $1) AS words,
           (SELECT count(*) FROM archon_crawled_pages WHERE source_id = $1) AS chunks,
           (SELECT count(*) FROM archon_code_examples WHERE source_id = $1) AS examples,
           ARRAY(SELECT metadata ->> 'title' FROM archon_page_metadata WHERE source_id = $1
                  ORDER BY url LIMIT 5) AS titles
"""
_DESCRIBE = """
    UPDATE archon_sources SET total_word_count = $2, summary = $3, updated_at = now() WHERE source_id = $1
"""

_AWAY = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError, OSError)
"""The database is away: the job is begun again when its lease has run out."""

OnDocument = Callable[[int, int, str], None]


class Ingest:
    """One job's way through its source."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        job: Job,
        fetcher: Fetcher,
        readers: Readers,
        embedder: Embedder | None,
        on_document: OnDocument = lambda done, total, url: None,
    ) -> None:
        self._pool = pool
        self._job = job
        self._request = job.request
        self._fetcher = fetcher
        self._readers = readers
        self._embedder = embedder
        self._on_document = on_document
        self._pipeline = (
            f"{PIPELINE}/{embedder.model if embedder else ''}/{job.request.extract_code_examples}"
        )
        self._known: dict[str, Known] = {}
        self._found: set[str] = set()
        self._scopes: list[tuple[str, str]] = []
        self._left: Counter[str] = Counter()
        self._starts: set[str] = set()
        self._complete = True
        self.done = 0
        self.total = 0

    async def run(self) -> tuple[dict[str, Any], list[dict[str, str]]]:
        """Take everything in; what came of it, and what failed."""
        self._known = await pages.known(self._pool, self._job.source_id)
        before = set(self._known)
        failures: list[dict[str, str]] = []
        await self._round(urls := await self._begin(failures))
        urls = [url for url in urls if url in self._starts]
        for _ in range(self._request.depth):
            led = dict.fromkeys(link for url in urls for link in self._known[url].links)
            await self._round(urls := self._fresh(discover.within(led, self._scopes)))
        seen = [self._known[url] for url in self._known if self._known[url].job_id == self._job.job_id]
        failures += [
            {"url": each.url, "reason": each.reason or ""} for each in seen if each.outcome == "failed"
        ]
        removed = await self._remove_vanished(before) if self._complete else 0
        return await self._results(seen, failures, removed), failures[:SHOWN]

    async def _begin(self, failures: list[dict[str, str]]) -> list[str]:
        """The documents that the roots name."""
        if self._request.text is not None:
            return self._fresh([f"inline:{self._job.source_id}"])
        urls: list[str] = []
        for root in self._request.roots:
            try:
                urls += await self._named_by(root)
            except FetchError as error:
                failures.append({"url": root, "reason": str(error)})
                self._complete = False
        return self._fresh(urls)

    async def _named_by(self, root: str) -> list[str]:
        if root.startswith("file:"):
            path = discover.local(root)
            if not path.is_dir():
                self._starts.add(root)
                return [root]
            found, left = await asyncio.to_thread(discover.files_under, path)
            self._left.update(left)
            return found
        self._scopes.append(discover.scope(root))
        if discover.is_sitemap(root):
            return await discover.listed(root, self._fetcher.get)
        if discover.is_list(root):
            fetched = await self._fetcher.get(root)
            links = (await self._readers.read(fetched)).links if fetched else []
            return [root, *discover.within(links, [(self._scopes[-1][0], "/")])]
        self._starts.add(root)
        return [root]

    def _fresh(self, urls: Iterable[str]) -> list[str]:
        """Those that were not yet found, up to the limit on pages."""
        fresh = [url for url in dict.fromkeys(urls) if url not in self._found]
        room = self._request.max_pages - len(self._found) if not self._request.local else len(fresh)
        if len(fresh) > room:
            self._left[f"beyond the limit of {self._request.max_pages} pages"] += len(fresh) - room
            self._complete = False
        fresh = fresh[:room]
        self._found.update(fresh)
        self.total += len(fresh)
        return fresh

    async def _round(self, urls: list[str]) -> None:
        waiting = iter(urls)

        async def work() -> None:
            for url in waiting:
                known = self._known.get(url)
                if known is None or known.job_id != self._job.job_id or url in self._starts:
                    self._known[url] = await self._document(url, known)
                    await pages.record(self._pool, self._job.source_id, self._known[url])
                self._found.update(self._known[url].pages)
                self.done += 1
                self._on_document(self.done, self.total, url)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _document(self, url: str, known: Known | None) -> Known:
        """Take one document in, unless it is as it was."""
        same = known if known and known.pipeline == self._pipeline and not self._request.force else None
        now = (
            replace(known, job_id=self._job.job_id, reason=None)
            if known
            else Known(url=url, outcome="", job_id=self._job.job_id)
        )
        try:
            fetched = await self._get(url, same)
            if fetched and url in self._starts:
                self._scopes.append(discover.scope(fetched.url))
            if fetched is None or (same and same.content_hash == fetched.digest):
                outcome, reason = ("unchanged", None) if now.pages else ("skipped", known and known.reason)
                return replace(now, outcome=outcome, reason=reason or None)
            return await self._take_in(fetched, now)
        except (FetchError, Unreadable) as error:
            if url in self._starts or not error.skipped:
                # What a page that could not be had leads to is not known to have vanished.
                self._complete &= isinstance(error, Unreadable) or not self._scopes
                return replace(now, outcome="failed", reason=error.reason)
            await self._drop(now)
            return replace(now, outcome="skipped", reason=error.reason, pages=(), links=())
        except (pages.Taken, EmbedderError) as error:
            return replace(now, outcome="failed", reason=str(error), pipeline=None)

    async def _get(self, url: str, same: Known | None) -> Fetched | None:
        if self._request.text is not None:
            return Fetched(
                url=url, body=self._request.text.encode(), content_type="text/markdown", charset="utf-8"
            )
        if same is None or url in self._starts:  # a start is read whole: where it is found bounds the crawl
            return await self._fetcher.get(url)
        return await self._fetcher.get(url, etag=same.etag, last_modified=same.last_modified)

    async def _take_in(self, fetched: Fetched, now: Known) -> Known:
        title = self._request.title if self._request.text is not None else None
        document = await self._readers.read(fetched, title)
        now = replace(
            now,
            outcome="stored",
            pipeline=self._pipeline,
            content_hash=fetched.digest,
            etag=fetched.etag,
            last_modified=fetched.last_modified,
            links=document.links,
        )
        if fetched.url != now.url:
            if discover.scope(fetched.url)[0] not in {host for host, _ in self._scopes}:
                document = Document(skipped="it leads to another site")
            elif fetched.url in self._found.difference(now.pages):
                document.skipped = "the same page as another"
            self._found.add(fetched.url)
        if document.skipped:
            await self._drop(now)
            return replace(now, outcome="skipped", reason=document.skipped, pages=())
        found = document.pages
        if not self._request.extract_code_examples:
            found = [replace(page, examples=[]) for page in found]
        await self._write(now, found)
        return replace(now, pages=[page.url for page in found])

    async def _write(self, now: Known, found: list[Page]) -> None:
        async with self._pool.acquire() as connection:
            written = await pages.replace(connection, self._job.source_id, now.pages, found)
        if self._embedder is not None:
            await self._embed(self._embedder, written)

    async def _embed(self, embedder: Embedder, written: Written) -> None:
        tables = {"archon_crawled_pages": written.chunks, "archon_code_examples": written.examples}
        for table, rows in tables.items():
            vectors = await embedder.embed([text for _, text in rows]) if rows else []
            async with self._pool.acquire() as connection:
                given = [(row[0], vector) for row, vector in zip(rows, vectors, strict=True)]
                await store_vectors(connection, table, given, embedder)

    async def _drop(self, now: Known) -> None:
        if now.pages:
            async with self._pool.acquire() as connection, connection.transaction():
                await pages.remove(connection, self._job.source_id, list(now.pages))

    async def _remove_vanished(self, before: set[str]) -> int:
        gone = [self._known[url] for url in before if self._known[url].job_id != self._job.job_id]
        if gone:
            async with self._pool.acquire() as connection:
                await pages.forget(connection, self._job.source_id, gone)
        return len(gone)

    async def _results(self, seen: list[Known], failures: list[Any], removed: int) -> dict[str, Any]:
        source_id = self._job.source_id
        counts = Counter(each.outcome for each in seen)
        left = self._left + Counter(each.reason or "" for each in seen if each.outcome == "skipped")
        (totals,) = await self._pool.fetch(_TOTALS, source_id)
        if counts["stored"] or removed:
            titles = "; ".join(title for title in totals["titles"] if title)
            summary = f"{totals['pages']} pages, {totals['words']} words: {titles}"
            await self._pool.execute(_DESCRIBE, source_id, totals["words"], summary[:500])
        return {
            "source_id": source_id,
            "ingested": counts["stored"],
            "unchanged": counts["unchanged"],
            "skipped": dict(left.most_common()),
            "removed": removed,
            "failed": len(failures),
            "complete": self._complete,
            "pages": totals["pages"],
            "chunks_stored": totals["chunks"],
            "code_examples_stored": totals["examples"],
        }


async def run_job(
    pool: asyncpg.Pool,
    job: Job,
    worker: str,
    readers: Readers,
    *,
    embedder: Embedder | None = None,
    on_document: OnDocument = lambda done, total, url: None,
    patience: float = PATIENCE,
) -> jobs.Status:
    """Do a job that was taken, renewing its lease; how it ended. A worker that is stopped gives it back."""
    async with fetching(allow_private=job.request.allow_private, patience=patience) as fetcher:
        ingest = Ingest(pool, job, fetcher, readers, embedder, on_document)
        work = asyncio.create_task(ingest.run(), name="ingest")
        try:
            while not (await asyncio.wait([work], timeout=jobs.BEAT))[0]:
                if not await jobs.renew(pool, job, worker, ingest.done, ingest.total):
                    work.cancel()
            return await _ended(pool, job, worker, ingest, work)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            await asyncio.shield(jobs.finish(pool, job, worker, "queued"))
            raise
        finally:  # what else goes wrong leaves the job to its lease, and to a count of its beginnings
            work.cancel()
            await asyncio.wait([work])


async def _ended(
    pool: asyncpg.Pool, job: Job, worker: str, ingest: Ingest, work: asyncio.Task[Any]
) -> jobs.Status:
    results: dict[str, Any] = {}
    failures: list[dict[str, str]] = []
    if work.cancelled():
        status: jobs.Status = "cancelled"
    elif isinstance(error := _first(work.exception()), _AWAY):
        raise error
    elif isinstance(error, asyncpg.ForeignKeyViolationError):
        status = "cancelled"  # its source was deleted meanwhile
    elif error is not None:
        _log.error("a job failed", exc_info=error, extra={"job": str(job.job_id)})
        status, failures = (
            "failed",
            [{"url": "", "reason": f"a fault inside the server ({type(error).__name__})"}],
        )
    else:
        results, failures = work.result()
        async with pool.acquire() as connection:
            await terms.refresh(connection)
        status = "failed" if failures and not results["pages"] else "completed"
    await jobs.finish(
        pool, job, worker, status, results=results, failures=failures, done=ingest.done, total=ingest.total
    )
    return status


def _first(error: BaseException | None) -> BaseException | None:
    """The first of what a group of tasks raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_jobs(
    pool: asyncpg.Pool, worker: str, *, embedder: Embedder | None = None, poll: float = 1.0
) -> None:
    """Take jobs and do them, one after another, until cancelled."""
    readers = Readers()
    try:
        while True:
            try:
                job = await jobs.claim(pool, worker)
                if job is not None:
                    await run_job(pool, job, worker, readers, embedder=embedder)
                    continue
            except _AWAY as error:
                _log.warning("jobs cannot be taken now", extra={"reason": repr(error)})
            except Exception:
                _log.exception("a job could not be ended; it is begun again when its lease has run out")
            await asyncio.sleep(poll)
    finally:
        readers.close()
