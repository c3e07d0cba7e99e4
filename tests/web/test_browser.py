"""The page in Chromium: live, usable, and by its own strict rules."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
import uuid
from pathlib import Path

import asyncpg
import pytest

from tests.needs import needs
from tests.program import Caller, Program, data_directory

from .browser import browsing
from .house import opened
from .screenshots import fill

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

AXE = "axe-core@4.14.1"


@pytest.fixture
async def browser():
    async with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe, fetched once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archon-transport-tests"
    place = cache / f"{AXE.replace('@', '-')}.js"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            npm = [needs("npm", "apt-get install npm"), "pack", AXE, "--pack-destination", folder]
            subprocess.run(npm, check=True, capture_output=True, cwd=folder)
            (package,) = Path(folder).glob("*.tgz")
            with tarfile.open(package) as archive:
                archive.extract("package/axe.min.js", folder, filter="data")
            (Path(folder) / "package" / "axe.min.js").rename(place)
    return place.read_text(encoding="utf-8")


@pytest.fixture
def program():
    with data_directory() as home, Program(home) as program:
        yield program.start()


REQUEST = """
INSERT INTO archon_mcp_requests (request_id, session_id, method, tool_name, duration_ms, status, outcome, error_message)
VALUES ($1, $2, 'tools/call', 'find_tasks', 7, 'error', 'tool_error', 'There is no task with this id')"""


async def test_a_client_is_seen_live_filtered_opened_and_ended(program, browser):
    """A real client connects, calls and fails; the page shows it without a reload; ended there, it gets 404."""
    page = await browser.page(viewport={"width": 1280, "height": 800})
    root = program.url.removesuffix("/mcp")
    await page.goto(root)
    await page.wait_for_selector("text=Nobody is connected yet")
    await page.wait_for_selector("#state[data-state=live]")
    caller, other = Caller(program).open(), Caller(program).open()
    await page.wait_for_selector("#clients >> text=survivor", timeout=5000)
    assert caller.call("find_tasks", task_id=str(uuid.uuid4())).tool["success"] is False
    connection = await asyncpg.connect(program.dsn)
    await connection.execute(REQUEST, uuid.uuid4(), uuid.UUID(caller.public_id))
    await connection.close()
    await page.wait_for_selector("#requests >> text=There is no task", timeout=5000)
    await page.fill("input[name=q]", caller.public_id)
    await page.press("input[name=q]", "Enter")
    await page.wait_for_url("**/?q=*")
    assert await page.locator("#clients tbody tr").count() == 1
    await page.click("#clients a.client")
    await page.wait_for_selector("#requests >> text=tool error")
    await page.click("text=End this session")
    assert caller.call("health_check").status == 200, "it asks first"
    await page.click("text=Yes, end it")
    await page.wait_for_selector("text=by an operator")
    assert caller.call("health_check").status == 404
    assert other.call("health_check").status == 200
    assert browser.complaints == []


async def test_a_page_that_is_open_outlives_its_database(program, browser):
    """It says that the database is away and keeps what it showed; when it is back, the page is live again."""
    page = await browser.page()
    await page.goto(program.url.removesuffix("/mcp"))
    await page.wait_for_selector("#state[data-state=live]")
    connection = await asyncpg.connect(program.dsn)
    await connection.execute("BEGIN; LOCK TABLE archon_mcp_usage IN ACCESS EXCLUSIVE MODE")
    await page.wait_for_selector("#state[data-state=away]", timeout=30_000)
    assert await page.locator("h1").inner_text() == "Now"
    await connection.close()
    await page.wait_for_selector("#state[data-state=live]", timeout=30_000)


async def test_every_view_keeps_the_rules(dsn, browser, axe):
    """Light and dark, narrow and wide: nothing is too wide, nothing is stopped by the policy, axe finds nothing."""
    async with opened(dsn) as site:
        paths = [
            "/",
            "/requests",
            "/tools",
            "/problems",
            "/system",
            "/connect",
            "/projects",
            "/sessions/none",
        ]
        ids = await fill(site)
        project = f"/projects/{ids['project']}"
        paths += [
            f"/sessions/{ids['session']}",
            project,
            f"{project}/documents/d1",
            "/login",
            "/requests?q=nothing",
        ]
        for width, scheme in ((1280, "light"), (360, "dark"), (360, "light"), (1280, "dark")):
            page = await browser.page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            for path in paths:
                await page.goto(str(site.client.make_url(path)))
                where = f"{path} at {width} px, {scheme}"
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
                await page.evaluate(axe)
                found = await page.evaluate("axe.run()")
                wrong = [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]]
                assert wrong == [], f"{where}: {json.dumps(wrong, indent=1)}"
            await page.context.close()
        complaints = [text for text in browser.complaints if "404" not in text]
        assert complaints == []


async def test_a_person_without_a_mouse_comes_everywhere(dsn, browser):
    """The first Tab skips to the content; filters, a session and its end are reached by the keyboard alone."""
    async with opened(dsn) as site:
        session = await site.rows.session("by-keyboard")
        page = await browser.page()
        await page.goto(str(site.client.make_url("/")))
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await page.keyboard.press("Enter")
        for _ in range(12):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == "by-keyboard":
                break
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/sessions/{session}")
        await page.focus("summary")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=by an operator")
        assert site.ended == [session]
