"""A database with Archon's tables, web sites on real sockets, and a job from its row to its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from archon_transport.knowledge import ingest, jobs
from archon_transport.knowledge.jobs import Progress, Request
from archon_transport.knowledge.readers import Readers

SQL = Path(__file__).parents[3] / "archon_transport" / "store" / "sql"

TakeIn = Callable[..., Awaitable[Progress]]


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=8, command_timeout=20) as pool:
        async with pool.acquire() as connection, connection.transaction():
            for name in ("archon", "knowledge"):
                for path in sorted((SQL / name).glob("*.sql")):
                    await connection.execute(path.read_text())
        yield pool


@pytest.fixture(scope="session")
def processes() -> Iterator[Readers]:
    readers = Readers(1)
    yield readers
    readers.close()


@pytest.fixture
def readers(processes: Readers) -> Readers:
    """The session's reader, waited for in the loop of this test."""
    processes._free = asyncio.Queue()
    for reader in processes._all:
        processes._free.put_nowait(reader)
    return processes


@pytest.fixture
def take_in(pool: asyncpg.Pool, readers: Readers) -> TakeIn:
    """Do a job for these roots, and give its row at the end."""

    async def take_in(*roots: str | Path, name: str = "S", patience: float = 5.0, **more: Any) -> Progress:
        urls = tuple(root.as_uri() if isinstance(root, Path) else root for root in roots)
        request = Request(title=name, roots=urls, allow_private=True, **more)
        job_id = await jobs.enqueue(pool, jobs.source_id_of(name), request, created_by="test")
        job = await jobs.claim(pool, "tester", job_id)
        assert job is not None
        await ingest.run_job(pool, job, "tester", readers, patience=patience)
        ended = await jobs.progress(pool, job_id)
        assert ended is not None and ended.ended
        return ended

    return take_in


class Site:
    """Pages by path, each with an ETag; what is no text is a handler or a redirect's target."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        page = self.pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound
        if callable(page):
            return await page(request)
        etag = f'"{hash(page)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        self.served[request.path] += 1
        kind = {"xml": "application/xml", "txt": "text/plain", "png": "image/png"}
        content_type = kind.get(request.path.rpartition(".")[2], "text/html")
        return web.Response(text=page, content_type=content_type, headers={"ETag": etag})


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    application = web.Application()
    application.router.add_get("/{path:.*}", site.answer)
    async with TestServer(application) as server:
        site.url = str(server.make_url("")).rstrip("/")
        yield site


@pytest.fixture
def stored(pool: asyncpg.Pool) -> Callable[[], Awaitable[list[Any]]]:
    """Everything that can be found, without the numbers that differ from run to run."""

    async def stored() -> list[Any]:
        pages = "SELECT id::text, url, full_content, chunk_count, section_title FROM archon_page_metadata ORDER BY url"
        chunks = (
            "SELECT url, chunk_number, content, metadata - 'page_id' FROM archon_crawled_pages ORDER BY 1, 2"
        )
        code = "SELECT url, chunk_number, content, summary FROM archon_code_examples ORDER BY 1, 2"
        return [
            tuple(row)[skip:]
            for query, skip in ((pages, 1), (chunks, 0), (code, 0))
            for row in await pool.fetch(query)
        ]

    return stored
