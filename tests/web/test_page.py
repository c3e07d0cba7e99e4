"""The page's views, by HTTP: what they show, to whom, and what they never let through."""

import asyncio
import hashlib
import html
import importlib.resources
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from yarl import URL

from tests.process.served import ROOT, clean_environment

VIEWS = ["/", "/requests", "/tools", "/problems", "/system", "/connect", "/projects", "/login"]

VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\x07\u202egnp.exe\" onclick='x' `&amp; {{7777*7777}}"


class Marks(HTMLParser):
    """The names of a page's elements and attributes, but for the scripts of its head."""

    @classmethod
    def of(cls, page):
        marks = cls()
        marks.names = set()
        marks.feed(page)
        return marks.names

    def handle_starttag(self, tag, attrs):
        if tag != "script" or not str(dict(attrs).get("src")).startswith("/static/"):
            self.names |= {tag, *(name for name, _ in attrs)}


def plain(page):
    """A page's words."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


async def test_every_view_says_what_is_there_and_what_is_not(site):
    """Empty views tell what to do; with rows they show them; every answer has the strict headers."""
    for path in VIEWS:
        async with site.client.get(path) as response:
            assert response.status == 200
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy
            assert "unsafe" not in policy
            assert response.headers["Cache-Control"] == "no-store"
            text = await response.text()
            assert not re.search(r"(src|href|action)=\"(https?:)?//", text), "nothing comes from other hosts"
            assert not re.search(r"<script(?! src=\"/static/)|style=| on[a-z]+=", text)
    assert "claude mcp add --transport http archon http://127.0.0.1" in plain(await site.text("/"))
    session = await site.rows.session("survivor", owner="ada")
    await site.rows.request(session, "find_tasks", ms=1234)
    await site.rows.request(session, "manage_task", outcome="tool_error", error="There is no task")
    await site.rows.refusal(
        "host", "Host example.com is not allowed here; start the server with --allow-host x"
    )
    page = plain(await site.text("/?fresh=1"))
    for words in ("survivor 7.1", "active", "ada", "1.2 s", "tool error", "There is no task"):
        assert words in page
    assert "Host example.com is not allowed; start with --allow-host example.com." in page
    page = plain(await site.text(f"/sessions/{session}"))
    assert "2025-11-25" in page and session in page and "estimated" in page
    page = plain(await site.text(f"/sessions/{session}?outcome=failed"))
    assert "There is no task" in page and "find_tasks" not in page
    assert "manage_task" in plain(await site.text("/problems?fresh=1"))
    assert "find_tasks 1 0 1.2 s" in plain(await site.text("/tools?fresh=1"))


async def test_what_a_client_sent_is_text_and_nothing_else(site):
    """Names, tools, errors and searches of a hostile client change nothing on any view."""
    session = await site.rows.session(HOSTILE.replace("\0", ""), owner=HOSTILE)
    await site.rows.request(session, HOSTILE[:90], outcome="error", error="\u202e" + "<b>" * 300_000)
    await site.rows.refusal("host", f"Host {HOSTILE} is not allowed", client=HOSTILE)
    await site.rows.refusal("other", HOSTILE, client="x")
    project = (await site.call("manage_project", action="create", title=HOSTILE, description=HOSTILE))[
        "project_id"
    ]
    await site.call("manage_task", action="create", project_id=project, title=HOSTILE, assignee=HOSTILE)
    for path in [
        *VIEWS,
        f"/sessions/{session}",
        f"/projects/{project}",
        str(URL("/requests").with_query(q=HOSTILE)),
    ]:
        page = await site.text(path)
        assert len(page) < 100_000, path
        assert "\x1b" not in page and "\x07" not in page, path
        assert not Marks.of(page) & {"script", "img", "b", "onclick", "onerror", "style"}, path
        assert "60481729" not in page, path


async def test_a_session_is_ended_by_its_button(site):
    """The form of its page ends it; afterwards the page says so and has no button."""
    session = await site.rows.session()
    assert "Yes, end it" in await site.text(f"/sessions/{session}")
    async with site.client.post(f"/sessions/{session}/end") as response:
        assert response.status == 200
        page = await response.text()
    assert site.ended == [session]
    assert "by an operator" in page and "Yes, end it" not in page
    async with site.client.get("/sessions/none") as response:
        assert (response.status, "There is no such session." in await response.text()) == (404, True)


async def test_the_guards_stand_before_every_view(site):
    """A Host or an Origin that is not allowed gets no view, and is told which option would allow it."""
    for path in (*VIEWS, "/static/page.css", "/events", "/sessions/x"):
        async with site.client.get(path, headers={"Host": "evil.example"}) as response:
            assert response.status == 421, path
            assert "--allow-host evil.example" in plain(await response.text())
    session = await site.rows.session()
    for origin in ("https://evil.example", "null"):
        async with site.client.post(f"/sessions/{session}/end", headers={"Origin": origin}) as response:
            assert response.status == 403
    assert site.ended == []


@pytest.mark.parametrize("asks", [True])
async def test_a_token_logs_in_and_its_scopes_decide(site):
    """Without a token every view leads to the login; reading, changing and ending need a scope each."""
    session = await site.rows.session()
    async with site.client.get("/requests?q=x", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/login?next=/requests?q%3Dx")
    async with site.client.get("/events", allow_redirects=False) as response:
        assert response.status == 401 and response.headers["WWW-Authenticate"] == "Bearer"
    async with site.client.post("/login", data={"token": "wrong"}) as response:
        assert (response.status, "wrong" in response.cookies) == (401, False)
        assert "not valid" in await response.text()
    for place, leads in (
        ("/tools", "/tools"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\x", "/"),
    ):
        form = {"token": "reader", "next": place}
        async with site.client.post("/login", data=form, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, leads)
            cookie = response.headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
    assert "Yes, end it" not in await site.text(f"/sessions/{session}")
    async with site.client.post(f"/sessions/{session}/end") as response:
        assert response.status == 403 and "admin" in await response.text()
    async with site.client.post("/logout", allow_redirects=False):
        pass
    async with site.client.get("/", allow_redirects=False) as response:
        assert response.status == 303
    async with site.client.get("/", headers={"Authorization": "Bearer stranger"}) as response:
        assert response.status == 403
    boss = {"Authorization": "Bearer boss"}
    assert "Yes, end it" in await site.text(f"/sessions/{session}", headers=boss)
    async with site.client.post(f"/sessions/{session}/end", headers=boss, allow_redirects=False) as response:
        assert response.status == 303
    assert site.ended == [session]


async def test_a_database_that_is_away_is_a_state_of_the_page(site):
    """Every view says it in words with 503, and so does the event stream's first look."""
    await site.store.close()
    for path in ("/", "/requests", "/tools", "/projects"):
        async with site.client.get(path) as response:
            assert (response.status, "database" in await response.text()) == (503, True), path


async def test_viewers_hear_what_changed_by_one_look_a_second(site):
    """Three open pages hear of a request within two seconds, and together cost one look at a time."""
    session = await site.rows.session()
    streams = [await site.client.get("/events") for _ in range(3)]
    for stream in streams:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert await stream.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
    changed = b""
    while b"requests" not in changed:
        await site.rows.request(session)
        changed = await streams[0].content.readuntil(b"\n\n")
    for stream in streams[1:]:
        assert b'"requests"' in await stream.content.readuntil(b"\n\n")
        stream.close()
    streams[0].close()


async def test_a_server_that_stops_waits_for_no_viewer(site):
    """An open page's stream ends with the server, at once."""
    stream = await site.client.get("/events")
    await stream.content.readuntil(b"\n\n")
    async with asyncio.timeout(5):
        await site.client.server.close()
        assert await stream.content.read() == b""


async def test_a_board_is_changed_through_the_tools(site):
    """Add, edit, move and assign; what the tool refuses is told in its words."""
    project = (await site.call("manage_project", action="create", title="Kitchen"))["project_id"]
    tasks = f"/projects/{project}/tasks"
    async with site.client.post(tasks, data={"title": "Order the oven", "status": "todo"}) as response:
        assert "Order the oven" in await response.text()
    (task,) = (await site.call("find_tasks", project_id=project))["tasks"]
    form = {"task_id": task["id"], "status": "doing", "assignee": "ada", "title": "Order the small oven"}
    async with site.client.post(tasks, data=form) as response:
        assert "Order the small oven" in await response.text()
    (task,) = (await site.call("find_tasks", project_id=project))["tasks"]
    assert (task["status"], task["assignee"], task["title"]) == ("doing", "ada", "Order the small oven")
    async with site.client.post(tasks, data={"title": "x", "status": "eaten"}) as response:
        assert response.status == 400 and "status" in await response.text()
    async with site.client.get("/projects/00000000-0000-0000-0000-000000000000") as response:
        assert response.status == 404
    assert "Kitchen" in await site.text("/projects?q=kitchen")


async def test_a_document_is_rendered(site):
    """Markdown and JSON become markup, markup in them does not."""
    project = (await site.call("manage_project", action="create", title="P"))["project_id"]
    document = '[{"id": "d1", "title": "Plan", "content": {"markdown": "# Goal\\n\\n- one <b>two</b>"}}]'
    await site.store.pool.execute("UPDATE archon_projects SET docs = $1::jsonb", document)
    page = await site.text(f"/projects/{project}/documents/d1")
    assert "<h2>Goal</h2>" in page and "<li>one &lt;b&gt;two&lt;/b&gt;</li>" in page
    assert "Plan" in await site.text(f"/projects/{project}")


def test_vendored_files_are_those_that_were_published():
    """The plots' library is shipped byte for byte, with its licence."""
    folder = importlib.resources.files("archon_transport.web") / "static"
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in VENDORED} == VENDORED


@pytest.mark.long
def test_without_jinja_the_page_says_what_to_install():
    """The library runs without the extra; only the page is missing, and says so."""
    source = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from aiohttp import web; from archon_transport.web import site\n"
        "app = web.Application(); from unittest.mock import MagicMock\n"
        "site.attach(app, MagicMock())\n"
        "print([r.resource.canonical for r in app.router.routes()], site.MISSING)"
    )
    run = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        env=clean_environment(),
        cwd=ROOT,
        check=True,
    )
    assert "archon-transport[server]" in run.stdout and "/tools" not in run.stdout
