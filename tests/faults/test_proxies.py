"""Through nginx, as deploy/nginx.conf has it: one address, two nodes, and each of them stopped and started in turn."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client

from tests.faults.fleet import Fleet, fleet
from tests.history.process import until
from tests.needs import needs
from tests.process.served import ROOT
from tests.program import free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

WRAPPED = """
{user}
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
{conf}
}}
"""


@contextmanager
def nginx(ports: list[int]) -> Iterator[int]:
    """nginx with the configuration that we give away, its ports and name changed; the port it listens on."""
    program, port = needs("nginx", "apt-get install nginx"), free_port()
    conf = (ROOT / "deploy" / "nginx.conf").read_text()
    for pattern, replacement in (
        (r"127\.0\.0\.1:8051", f"127.0.0.1:{ports[0]}"),
        (r"127\.0\.0\.1:8052", f"127.0.0.1:{ports[1]}"),
        (r"listen 8080", f"listen 127.0.0.1:{port}"),
    ):
        conf, count = re.subn(pattern, replacement, conf)
        assert count == 1, pattern
    with tempfile.TemporaryDirectory() as home:
        user = "user root;" if os.geteuid() == 0 else ""
        (Path(home) / "nginx.conf").write_text(WRAPPED.format(user=user, home=home, conf=conf))
        command = [program, "-p", home, "-c", f"{home}/nginx.conf", "-e", f"{home}/error.log"]
        subprocess.run([*command, "-t"], check=True, capture_output=True)
        process = subprocess.Popen([*command, "-g", "daemon off;"])
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


class Talk:
    """One client script: it calls, is told and is asked, over and over; what went wrong fails the test."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.stop = asyncio.Event()
        self.rounds = 0
        self.told = 0

    async def run(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            async with Client(self.url, mode="legacy", elicitation_callback=self.elicit) as client:
                while not self.stop.is_set():
                    await self.round(client)
                    self.rounds += 1

    async def round(self, client: Client) -> None:
        counted = await client.call_tool("count", {"n": 4, "pause_ms": 50}, progress_callback=self.tell)
        assert len(said(counted)) == 4, counted
        answers = await client.call_tool("ask", {"k": 2})
        assert said(answers) == ["question 0", "question 1"]

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        self.told += 1

    async def elicit(self, context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"word": params.message})


def said(result: Any) -> Any:
    """What a tool of the servers says."""
    return json.loads(result.content[0].text)


async def test_each_node_is_restarted_in_turn(dsn: str) -> None:
    """A client that streams and answers questions goes on through two rolling restarts without one error."""
    async with fleet(dsn, dsn) as nodes:
        with nginx(nodes.ports()) as port:
            talks = [Talk(port) for _ in range(3)]
            async with asyncio.TaskGroup() as group:
                for talk in talks:
                    group.create_task(talk.run())
                await rolled(nodes, talks)
                for talk in talks:
                    talk.stop.set()
    assert min(talk.told for talk in talks) > 4


async def rolled(nodes: Fleet, talks: list[Talk]) -> None:
    """Stop and start one node after the other, twice, with rounds between."""
    for node in [*nodes.nodes, *nodes.nodes]:
        before = [talk.rounds for talk in talks]
        node.terminate()
        assert await node.ended() == 0
        await until(lambda before=before: all(t.rounds > b for t, b in zip(talks, before, strict=True)))
        await node.start()
        again = [talk.rounds for talk in talks]
        await until(lambda again=again: all(t.rounds > b for t, b in zip(talks, again, strict=True)))
