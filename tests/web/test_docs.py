"""`/docs`: the reference of the tools, as a browser gets it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from archon_transport.archon import reference
from archon_transport.archon.reference import page
from archon_transport.archon.server import TOOLS
from archon_transport.transport import Guards
from archon_transport.web import Docs


class Seen(HTMLParser):
    """What a page has: its tags, its anchors and its links to them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        given = dict(attributes)
        self.ids |= {given["id"]} if "id" in given else set()
        self.links |= {given["href"]} if "href" in given else set()


@pytest.fixture
async def client():
    application = web.Application()
    Docs(reference(), Guards().refuse).attach(application)
    async with TestClient(TestServer(application)) as client:
        yield client


async def test_the_page_has_every_tool(client):
    """Each tool, its parameters and former names, the prompts and the resources are on the page."""
    answer = await client.get("/docs")
    html = await answer.text()
    assert (answer.status, answer.content_type) == (200, "text/html")
    seen = Seen(html)
    assert seen.ids == {tool.name for tool in TOOLS} | {"prompts", "resources"}
    assert seen.links == {f"#{name}" for name in seen.ids}
    for tool in TOOLS:
        section = html.partition(f'<section id="{tool.name}">')[2].partition("</section>")[0]
        for name in (*tool.published().input_schema["properties"], *tool.replaces):
            assert f"<code>{name}</code>" in section
    assert "archon://documents/{project_id}/{document_id}" in html
    assert "plan_feature" in html


async def test_nothing_runs_in_it(client):
    """The policy lets nothing load or run but the page's own style, whose digest it names."""
    answer = await client.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", await answer.text(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "script" not in Seen(await answer.text()).tags
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_only_for_whoever_names_the_server_right(client):
    """A foreign Host or Origin is refused here as everywhere."""
    assert (await client.get("/docs", headers={"Host": "evil.example"})).status == 421
    assert (await client.get("/docs", headers={"Origin": "http://evil.example"})).status == 403


def test_everything_is_escaped():
    """Whatever a tool says of itself stays text."""
    evil = "<script>alert(1)</script>&\"'"
    tool = replace(TOOLS[0], name=evil, description=evil, replaces={evil: evil})
    assert "<script>" not in page([tool])
    assert "script" not in Seen(page([tool])).tags
