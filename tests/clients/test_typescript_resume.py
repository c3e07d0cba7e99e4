"""The TypeScript SDK's client, whose connections end before its calls do: it comes back for the rest by itself."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_typescript import INSTALL, SOURCE
from tests.clients.test_typescript import installed as installed  # a fixture
from tests.history.client import LOST
from tests.history.process import ServerProcess
from tests.needs import needs


async def printed(client: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of JSON that the client prints."""
    assert client.stdout is not None
    assert client.stderr is not None
    async with asyncio.timeout(30):
        text = await client.stdout.readline()
        assert text, (await client.stderr.read()).decode()
    line: dict[str, Any] = json.loads(text)
    return line


async def go_on(client: asyncio.subprocess.Process) -> None:
    assert client.stdin is not None
    client.stdin.write(b"go on\n")
    await client.stdin.drain()


@pytest.mark.spec("H-15", "H-38", "H-40")
@pytest.mark.long
@pytest.mark.timeout(300)
async def test_it_comes_back_for_the_rest(dsn: str, installed: Path) -> None:
    """A call whose POST the server closes has its result by GETs with Last-Event-ID; one that is lost, its error."""
    node, script = needs("node", INSTALL), shutil.copy(SOURCE / "resume.mjs", installed.parent)
    async with ServerProcess(dsn) as server:
        pipe = asyncio.subprocess.PIPE
        client = await asyncio.create_subprocess_exec(
            node, script, f"http://127.0.0.1:{server.port}/mcp", stdin=pipe, stdout=pipe, stderr=pipe
        )
        try:
            await assert_closed_and_resumed(await printed(client))
            await go_on(client)
            assert await printed(client) == {"begun": True}
            await server.restart()
            await assert_lost(client)
        finally:
            client.kill()
            await client.communicate()


async def assert_closed_and_resumed(first: dict[str, Any]) -> None:
    """The result came, each progress once, and on a GET that named what the POST had said last."""
    assert first["said"] == "done"
    assert first["progress"] == ["before", "between"]
    assert [get["status"] for get in first["gets"]] == [200]
    assert first["gets"][0]["from"] in first["tokens"]


async def assert_lost(client: asyncio.subprocess.Process) -> None:
    """It waited for the server and was told that the call may be repeated."""
    second = await printed(client)
    assert LOST in second["error"]["message"]
    assert second["progress"] == ["begun"]
    assert second["gets"][-1]["status"] == 200
    assert second["gets"][-1]["from"] in second["tokens"]
