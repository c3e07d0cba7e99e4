"""`python -m tests.web.screenshots DIRECTORY`: the page in every state, light, dark and narrow, to be looked at."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from archon_transport.embedded.cluster import Cluster

from .browser import Browser, browsing
from .house import Site, opened

SIZES = {
    "light": (1280, "light"),
    "dark": (1280, "dark"),
    "narrow": (360, "light"),
    "narrow-dark": (360, "dark"),
}

DOCUMENT = {
    "markdown": "# Why\n\nThe oven is *older* than the house.\n\n## Steps\n\n1. Measure\n2. Order from "
    "[the shop](https://shop.example/)\n3. Wait\n\n```\nwidth: 60 cm\n```\n\nAsk `ada` before **drilling**."
}


async def fill(site: Site) -> dict[str, str]:
    """What a busy afternoon leaves behind; ids of what a view shows."""
    chance = random.Random(7)
    clients = ("claude-code", "Cursor", "codex-mcp-client", "Visual Studio Code", "gemini-cli")
    sessions = [
        await site.rows.session(name, idle=chance.choice((2, 40, 900)), owner=chance.choice((None, "ada")))
        for name in clients
    ]
    await site.rows.session("\u202eevil<script>alert(1)</script>" + "long-name-" * 18, idle=70)
    await site.rows.session("no-session-client", inferred=True, idle=12)
    await site.rows.session("yesterday", ended="operator")
    tools = ("find_tasks", "manage_task", "find_projects", "rag_search_knowledge_base", "health_check")
    for _ in range(260):
        tool = chance.choice(tools)
        outcome = chance.choices(("ok", "tool_error", "error", "timeout", "cancelled"), (93, 4, 1, 1, 1))[0]
        error = {
            "tool_error": "There is no task with the id 7f. Check the id; find_tasks lists what there is.",
            "error": "Unknown tool: serch",
            "timeout": "it took too long",
        }.get(outcome)
        ago = chance.uniform(1, 90) ** 2.5 if chance.random() < 0.8 else chance.uniform(1, 90)
        await site.rows.request(
            chance.choice(sessions),
            tool,
            ago=ago,
            ms=int(chance.lognormvariate(3, 1.2)),
            outcome=outcome,
            error=error,
            code=-32602 if outcome == "error" else None,
            bytes_out=chance.randint(90, 40_000),
        )
    await site.rows.refusal(
        "host", "Host example.com is not allowed here; start the server with --allow-host example.com."
    )
    await site.rows.refusal("session", "no such session", client="old-client 1.2", status=404, count=37)
    await site.rows.refusal("token", "needs a token", client="curl/8.5", status=401, count=3)
    project = (
        await site.call(
            "manage_project",
            action="create",
            title="Kitchen rebuild",
            description="Everything that has to happen before the oven comes.",
        )
    )["project_id"]
    for title, status, who, priority in (
        ("Measure the wall behind the stove", "done", "ada", "medium"),
        ("Order the oven", "doing", "Archon", "high"),
        ("Choose tiles", "todo", "User", "medium"),
        (
            "Ask about the gas line before anybody drills into anything at all",
            "review",
            "claude-code",
            "critical",
        ),
        ("Paint", "todo", "User", "low"),
        ("Collect three offers", "done", "codex", "medium"),
    ):
        await site.call(
            "manage_task",
            action="create",
            project_id=project,
            title=title,
            status=status,
            assignee=who,
            priority=priority,
        )
    import json

    docs = json.dumps(
        [{"id": "d1", "title": "Plan", "document_type": "spec", "author": "ada", "content": DOCUMENT}]
    )
    await site.store.pool.execute("UPDATE archon_projects SET docs = $1::jsonb", docs)
    await site.store.pool.execute(
        "INSERT INTO archon_sources (source_id, title, source_url, total_word_count) VALUES ('a', 'Oven manual', 'https://oven.example/manual', 48211)"
    )
    await site.store.pool.execute(
        "INSERT INTO archon_mcp_incarnations (incarnation, node, boot_id, namespace, pid, started, dead_at) VALUES "
        "('i', 'here/1', 'b', 'n', 1, 1, NULL), ('j', 'here/0', 'b', 'n', 2, 1, now() - interval '1 hour')"
    )
    await site.store.pool.execute(
        "INSERT INTO archon_mcp_streams (session_id, stream_id, kind, incarnation, viewer_incarnation, tail) VALUES ($1, 's', 'call', 'i', 'i', 12)",
        sessions[0],
    )
    await site.store.pool.execute(
        "INSERT INTO archon_mcp_questions (session_id, question_id, stream_id, incarnation, method, deadline) VALUES ($1, 'q', 's', 'i', 'elicitation/create', now() + interval '1 hour')",
        sessions[0],
    )
    return {"session": sessions[0], "project": project}


class Camera:
    """Takes every view in every size and scheme."""

    def __init__(self, browser: Browser, site: Site, folder: Path) -> None:
        self._browser = browser
        self._site = site
        self._folder = folder

    async def take(
        self, name: str, path: str, act: Any = None, sizes: tuple[str, ...] = tuple(SIZES)
    ) -> None:
        """One view; `act(page)` does something before the picture is taken."""
        for size in sizes:
            width, scheme = SIZES[size]
            page = await self._browser.page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            await page.goto(str(self._site.client.make_url(path)))
            if act is not None:
                await act(page)
            await page.wait_for_timeout(300)
            beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if beyond > 0:
                print(f"{name}-{size} is {beyond} px too wide")
            await page.screenshot(path=self._folder / f"{name}-{size}.png", full_page=True)
            await page.context.close()


async def main(folder: Path) -> None:
    """Start a database, show the page empty, full and away, and take its picture."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="archon-test-"))
    cluster = Cluster(home)
    try:
        await cluster.start()
        dsn = cluster.layout.dsn("postgres")
        async with browsing() as browser, opened(dsn) as site:
            camera = Camera(browser, site, folder)
            for name in ("", "requests", "tools", "problems", "system", "projects"):
                await camera.take(f"empty-{name or 'now'}", f"/{name}", sizes=("light", "narrow-dark"))
            ids = await fill(site)
            for name in ("", "requests", "tools", "problems", "system", "projects", "connect"):
                await camera.take(name or "now", f"/{name}")
            await camera.take("nothing-fits", "/?q=nobody", sizes=("light",))
            await camera.take("session", f"/sessions/{ids['session']}")
            await camera.take(
                "session-end",
                f"/sessions/{ids['session']}",
                lambda page: page.click("summary"),
                ("light", "narrow"),
            )
            await camera.take("board", f"/projects/{ids['project']}")
            await camera.take(
                "board-edit",
                f"/projects/{ids['project']}",
                lambda page: page.click(".task summary"),
                ("light", "narrow"),
            )
            await camera.take(
                "document", f"/projects/{ids['project']}/documents/d1", sizes=("light", "narrow-dark")
            )
            await camera.take("not-found", "/sessions/none", sizes=("light", "narrow"))

            async def go_away(page: Any) -> None:
                await page.wait_for_selector("#state[data-state=live]")
                await site.store.close()
                await page.wait_for_selector("#state[data-state=away]")

            await camera.take("away-while-open", "/", go_away, ("light",))
            await camera.take("away", "/", sizes=("light", "narrow-dark"))
            complaints = [text for text in browser.complaints if "status of" not in text]
        async with browsing() as browser, opened(dsn, asks=True) as site:
            await Camera(browser, site, folder).take("login", "/", sizes=("light", "narrow-dark"))
        print(f"{len(list(folder.glob('*.png')))} pictures in {folder}", *complaints, sep="\n")
    finally:
        await cluster.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
