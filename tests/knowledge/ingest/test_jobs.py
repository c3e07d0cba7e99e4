"""Jobs in the table: taken once, kept by a lease, gone on with, stopped; and the tools that make them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from mcp.client import Client

from archon_transport.archon import build, knowledge_sources
from archon_transport.knowledge import ingest, jobs
from archon_transport.knowledge.fetch import Fetched
from archon_transport.knowledge.jobs import Request
from archon_transport.knowledge.parse import Unreadable
from archon_transport.knowledge.readers import Readers

LIMIT = 10.0
WORDS = "Words of a page that is long enough to be one. " * 10


@pytest.fixture(autouse=True)
def often(monkeypatch) -> None:
    """Look more often than a server does, so that nobody waits for a beat."""
    monkeypatch.setattr(jobs, "BEAT", 0.05)
    monkeypatch.setattr(knowledge_sources, "LOOK", 0.02)


async def until(look) -> None:
    async with asyncio.timeout(LIMIT):
        while not await look():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def working(pool) -> AsyncIterator[None]:
    task = asyncio.create_task(ingest.run_jobs(pool, "worker", poll=0.02))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_job_is_taken_once_and_a_source_has_one_at_a_time(pool):
    """Workers that ask at the same moment get different jobs, of different sources."""
    for name in ("a", "a", "b", "c"):
        request = Request(title=name, text=str(time.monotonic_ns()))
        await jobs.enqueue(pool, jobs.source_id_of(name), request, created_by="test")
    taken = [job for job in await asyncio.gather(*(jobs.claim(pool, f"w{n}") for n in range(6))) if job]
    while job := await jobs.claim(pool, "late"):
        taken.append(job)
    assert sorted(job.request.title for job in taken) == ["a", "b", "c"]
    first = next(job for job in taken if job.request.title == "a")
    worker = await pool.fetchval("SELECT worker FROM archon_knowledge_jobs WHERE job_id = $1", first.job_id)
    await jobs.finish(pool, first, worker, "completed")
    second = await jobs.claim(pool, "next")
    assert second is not None and second.request.title == "a" and second.job_id != first.job_id


async def test_the_same_request_is_the_same_job_while_it_waits(pool):
    """A call that is repeated does not double the work."""
    request = Request(title="a", text="# A")
    ids = [await jobs.enqueue(pool, "s", request, created_by="test") for _ in range(2)]
    assert ids[0] == ids[1]
    other = request.model_copy(update={"project_id": ids[0]})
    with pytest.raises(jobs.UnknownProject):
        await jobs.enqueue(pool, "s", other, created_by="test")


async def test_another_worker_goes_on_where_a_killed_one_was(pool, readers, tmp_path, stored, take_in):
    """What the first had done is not read again; the end is the same as without the accident."""
    for number in range(6):
        (tmp_path / f"{number}.md").write_text(f"# Page {number}\n\n{WORDS}")
    root = tmp_path.as_uri()
    source_id = jobs.source_id_of("S")
    await jobs.enqueue(pool, source_id, Request(title="S", roots=(root,)), created_by="test")
    job = await jobs.claim(pool, "first")
    assert job is not None
    half = asyncio.Event()
    work = asyncio.create_task(
        ingest.run_job(
            pool, job, "first", readers, on_document=lambda done, total, url: done < 3 or half.set()
        )
    )
    await half.wait()
    assert await jobs.claim(pool, "second") is None, "its lease holds"
    work.cancel()
    await asyncio.wait([work])
    # Given back by the cancelled worker; a killed one is told by its lease.
    lost = "UPDATE archon_knowledge_jobs SET status = 'running', worker = 'first', lease_until = now() - interval '1 s'"
    await pool.execute(lost)
    done = await pool.fetchval("SELECT count(*) FROM archon_knowledge_documents")
    again = await jobs.claim(pool, "second")
    assert again is not None and again.job_id == job.job_id
    assert await jobs.renew(pool, job, "first", 0, 0) is False
    read: list[str] = []
    readers_read = readers.read
    readers.read = lambda fetched, title=None: read.append(fetched.url) or readers_read(fetched, title)
    await ingest.run_job(pool, again, "second", readers)
    del readers.read
    ended = await jobs.progress(pool, job.job_id)
    assert (ended.status, ended.results["ingested"], len(read)) == ("completed", 6, 6 - done)
    resumed = await stored()
    await pool.execute("DELETE FROM archon_sources")
    await take_in(tmp_path)
    assert await stored() == resumed


async def test_a_job_that_kills_its_workers_is_given_up(pool):
    """After a few beginnings it is failed, so that it does not go round for ever."""
    job_id = await jobs.enqueue(pool, "s", Request(title="a", text="x"), created_by="test")
    for _ in range(jobs.MAX_ATTEMPTS):
        assert await jobs.claim(pool, "w")
        await pool.execute("UPDATE archon_knowledge_jobs SET lease_until = now() - interval '1 s'")
    assert await jobs.claim(pool, "w") is None
    ended = await jobs.progress(pool, job_id)
    assert (ended.status, ended.failures[0]["reason"][:8]) == ("failed", "given up")


async def test_a_document_that_takes_too_long_is_given_up_alone():
    """The reader is killed and the next document has another."""
    readers = Readers(1)
    readers._all[0]._patience = 0.01
    try:
        slow = Fetched(url="http://h/p.html", body=b"<p><b>x" * 300_000, content_type="text/html")
        with pytest.raises(Unreadable) as error:
            await readers.read(slow)
        assert error.value.reason == "reading it took longer than 0.01 seconds"
        readers._all[0]._patience = 30
        (page,) = (await readers.read(Fetched(url="http://h/p.md", body=b"# T\n\nWords."))).pages
        assert page.title == "T"
    finally:
        readers.close()


async def test_the_tools_take_in_tell_and_delete(pool):
    """A text is added and waited for with progress; a file of the server is refused; delete leaves nothing."""
    server = build(pool, started_at=time.monotonic(), session_timeout=None)
    heard: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    async with working(pool), Client(server) as client:

        async def call(tool: str, **arguments):
            result = await client.call_tool(tool, arguments, progress_callback=progress)
            return result.structured_content

        text = f"# Notes\n\n{WORDS}"
        added = await call("manage_rag_source", action="add", title="Notes", text=text, tags=["a"], wait=True)
        assert (added["status"], added["progress"], added["results"]["pages"]) == ("completed", 100, 1)
        assert heard == sorted(set(heard)) and heard
        told = await call("rag_check_progress", progress_id=added["progress_id"])
        assert told["results"] == added["results"]
        again = await call("manage_rag_source", action="add", title="Notes", text=text, tags=["a"], wait=True)
        assert (again["source_id"], again["results"]["unchanged"]) == (added["source_id"], 1)
        for arguments, said in (
            ({"action": "add", "source_type": "file", "path": "/etc/passwd"}, "archon-transport ingest PATH"),
            ({"action": "add", "url": "http://127.0.0.1/"}, "127.0.0.1 is a private address"),
            ({"action": "add", "text": "x"}, "title: is required"),
            ({"action": "add"}, "either text or url"),
            ({"action": "sync"}, "source_id: is required"),
            ({"action": "sync", "source_id": added["source_id"]}, "add it again"),
            ({"action": "sync", "source_id": "none"}, "no source with the id none"),
        ):
            refused = await call("manage_rag_source", **arguments)
            assert refused["success"] is False and said in refused["error"]["message"]
        deleted = await call("manage_rag_source", action="delete", source_id=added["source_id"])
        assert deleted["success"]
        assert await pool.fetchval("SELECT count(*) FROM archon_crawled_pages") == 0


async def test_cancelling_the_call_cancels_the_job(pool, site):
    """A client that gives up on a call that waits stops the work; so does the action cancel."""
    server = build(pool, started_at=time.monotonic(), session_timeout=None)
    entered = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        entered.set()
        await asyncio.sleep(LIMIT)
        return web.Response()

    site.pages = {"/slow.html": slow}
    request = Request(title="S", roots=(f"{site.url}/slow.html",), allow_private=True)
    await jobs.enqueue(pool, jobs.source_id_of("S"), request, created_by="test")
    statuses = "SELECT array_agg(status ORDER BY created_at) FROM archon_knowledge_jobs"
    async with working(pool), Client(server) as client:
        await entered.wait()
        arguments = {"action": "add", "title": "T", "text": "# T\n\nWords.", "wait": True}
        waiting = asyncio.create_task(client.call_tool("manage_rag_source", arguments))
        await until(lambda: pool.fetchval("SELECT count(*) = 2 FROM archon_knowledge_jobs"))
        waiting.cancel()
        await asyncio.wait([waiting])

        async def cancelled() -> bool:
            return (await pool.fetchval(statuses))[1] == "cancelled"

        await until(cancelled)
        arguments = {"action": "cancel", "source_id": jobs.source_id_of("S")}
        assert (await client.call_tool("manage_rag_source", arguments)).structured_content["success"]

        async def both() -> bool:
            return await pool.fetchval(statuses) == ["cancelled", "cancelled"]

        await until(both)


async def test_a_server_that_stops_cancels_no_job(pool):
    """A call that is cut off by the end of its node leaves its job to the next one."""
    server = build(pool, started_at=time.monotonic(), session_timeout=None, stopping=lambda: True)
    async with Client(server) as client:
        arguments = {"action": "add", "title": "T", "text": "# T\n\nWords.", "wait": True}
        waiting = asyncio.create_task(client.call_tool("manage_rag_source", arguments))
        await until(lambda: pool.fetchval("SELECT count(*) = 1 FROM archon_knowledge_jobs"))
        waiting.cancel()
        await asyncio.wait([waiting])
    assert (
        await pool.fetchval("SELECT status || cancel_requested FROM archon_knowledge_jobs") == "queuedfalse"
    )
