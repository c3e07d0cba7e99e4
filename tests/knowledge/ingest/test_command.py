"""`archon-transport ingest` as a process: what it says, what it returns, and that it can be killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from archon_transport.cli import main
from tests.needs import needs_path
from tests.process.served import ROOT, clean_environment
from tests.program import until

PYTHON_DOC = "/usr/share/doc/python3.11/html"
KNOWN_ITEMS = ROOT / "tests" / "knowledge" / "evaluation" / "known_items.jsonl"
WORDS = "Words of a page that is long enough to be one. " * 10


def begin(dsn: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "archon_transport", "ingest", *arguments],
        cwd=ROOT,
        env=clean_environment() | {"ARCHON_DATABASE_URL": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ingest(dsn: str, *arguments: str) -> tuple[int, str, str]:
    process = begin(dsn, *arguments)
    told, complained = process.communicate(timeout=600)
    return process.returncode, told, complained


def evaluated(dsn: str) -> dict[str, Any]:
    """What `evaluate` says of the 300 known items."""
    command = [sys.executable, "-m", "archon_transport", "evaluate", "--json", str(KNOWN_ITEMS)]
    environ = clean_environment() | {"ARCHON_DATABASE_URL": dsn}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


async def killed_half_way(dsn: str, pool, *arguments: str, documents: int) -> None:
    """Run it until so many documents are done, then kill it where it is."""
    process = begin(dsn, *arguments)
    try:
        async with asyncio.timeout(300):
            while True:
                done = await pool.fetchval(
                    "SELECT count(*) FROM archon_knowledge_documents WHERE to_regclass('archon_sources') IS NOT NULL"
                )
                if done >= documents:
                    break
                assert process.poll() is None, process.communicate()
                await asyncio.sleep(0.02)
    finally:
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")  # each thread has its own
        children = " ".join(path.read_text() for path in tasks)
        process.kill()
        process.communicate()
    for pid in map(int, children.split()):
        await asyncio.to_thread(until, lambda pid=pid: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_it_takes_in_what_is_named_and_says_what_came_of_it(dsn, pool, tmp_path):
    """What came in, what was passed by and what failed; the exit code says that something did."""
    (tmp_path / "a.md").write_text(f"# A\n\n{WORDS}")
    (tmp_path / "b.png").write_bytes(b"png")
    (tmp_path / "c.md").write_bytes(b"\x00\x01\x02")
    code, told, complained = await asyncio.to_thread(
        ingest, dsn, str(tmp_path), "--source", "Notes", "--tags", "x, y"
    )
    assert code == 1
    source = await pool.fetchrow("SELECT source_id, title, metadata::text FROM archon_sources")
    assert told.splitlines() == [
        f"Notes (source {source['source_id']}): 1 new or changed, 0 unchanged, 0 removed",
        "  now 1 pages, 1 chunks, 0 code examples",
        "  1 skipped: no text is taken from this kind of file (png)",
        "  1 failed",
    ]
    assert f"archon-transport: {(tmp_path / 'c.md').as_uri()}: not text: it looks binary" in complained
    assert source["title"] == "Notes" and '"tags": ["x", "y"]' in source["metadata"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/at/all"], "there is no file or folder /nowhere/at/all"),
        (["http://127.0.0.1/"], "http://127.0.0.1/: 127.0.0.1 is a private address; see --allow-private"),
        (["/tmp", "--depth", "11"], "--depth must be from 0 to 10 and --max-pages from 1 to 50000"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, capsys):
    """What was typed wrongly is said before anything is begun."""
    assert main(["ingest", *arguments]) == 2
    assert capsys.readouterr() == ("", f"archon-transport: {said}\n")


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_killed_half_way_and_run_again_it_ends_the_same(dsn, pool, stored, tmp_path):
    """A kill -9 costs time and nothing else, and leaves no process behind."""
    for number in range(150):
        (tmp_path / f"{number:03}.html").write_text(f"<h1>Page {number}</h1><p>{WORDS * 20}</p>")
    await killed_half_way(dsn, pool, str(tmp_path), documents=20)
    assert await pool.fetchval("SELECT count(*) FROM archon_page_metadata") < 150
    code, told, _ = await asyncio.to_thread(ingest, dsn, str(tmp_path))
    assert (code, "150 pages" in told) == (0, True)
    resumed = await stored()
    await pool.execute("DELETE FROM archon_sources")
    assert (await asyncio.to_thread(ingest, dsn, str(tmp_path)))[0] == 0
    assert await stored() == resumed


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_pythons_documentation(dsn, pool, stored):
    """Debian's python3.11-doc goes in by one command, survives a kill, and a second run changes nothing."""
    needs_path(PYTHON_DOC, "python3.11-doc")
    await killed_half_way(dsn, pool, PYTHON_DOC, documents=200)
    began = time.monotonic()
    code, told, complained = await asyncio.to_thread(ingest, dsn, PYTHON_DOC)
    print(f"{told}{time.monotonic() - began:.0f} s after the kill")
    assert (code, "34 skipped: an index or a search page" in told) == (0, True), complained
    before = await stored()
    pages = {
        row["url"].rpartition("/")[2] for row in await pool.fetch("SELECT url FROM archon_page_metadata")
    }
    assert not [name for name in pages if name.startswith(("genindex", "search", "py-modindex", "contents"))]
    symbols = "SELECT metadata ->> 'breadcrumb' FROM archon_crawled_pages WHERE metadata -> 'symbols' ? $1"
    (crumb,) = await pool.fetchrow(symbols, "asyncio.TaskGroup.create_task")
    assert crumb.endswith("Task Groups > asyncio.TaskGroup > asyncio.TaskGroup.create_task")
    code, told, _ = await asyncio.to_thread(ingest, dsn, PYTHON_DOC)
    assert (code, "nothing has changed" in told) == (0, True)
    assert await stored() == before
    found = await asyncio.to_thread(evaluated, dsn)
    assert found["full text"]["hit_at_1"] >= 0.65, found
    assert found["full text"]["hit_at_5"] >= 0.93, found
