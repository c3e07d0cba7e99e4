"""Servers that other people wrote, run as they were published: in an application, and by their names."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest
from aiohttp import web
from mcp.client import Client
from mcp_types import ElicitResult

from archon_transport import StreamableHTTP
from tests.face.mounted import served
from tests.program import Caller, Program, data_directory

PUBLISHED = Path(__file__).parent / "published"
CHRISTMAS = {"date": "2025-12-25", "party_size": 2}


def published(name):
    """A fresh copy of a published module."""
    spec = importlib.util.spec_from_file_location(f"published_{name}", PUBLISHED / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def another_day(context, params):
    return ElicitResult(action="accept", content={"accept_alternative": True, "date": "2025-12-27"})


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_two_of_them_in_one_application(handler_cancellation):
    """One asks its client in the middle of a call, the other has a lifespan; nothing of either was changed."""
    app = web.Application()
    for name in ("bistro", "bookshop"):
        StreamableHTTP(published(name).mcp).attach(app, f"/{name}")
    async with served(app, handler_cancellation=handler_cancellation) as (_, url):
        async with Client(f"{url}/bistro", mode="legacy", elicitation_callback=another_day) as client:
            assert (await client.call_tool("book_table", CHRISTMAS)).content[0].text == (
                "Booked a table for 2 on 2025-12-27."
            )
        async with Client(f"{url}/bookshop") as client:
            result = await client.call_tool("count_books", {"genre": "poetry"})
            assert result.content[0].text == "3 books in 'poetry'."


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_one_is_served_by_its_name_and_its_sessions_outlive_kill_9():
    """`serve module:name`: it asks its client before and after, in the same session; only session tables are made."""
    with data_directory() as home, Program(home, "tests.face.published.bistro:mcp") as program:
        program.start()
        assert "Bistro listens at" in program.printed()
        assert "claude mcp add --transport http bistro" in program.printed()
        kept = Caller(program).open()
        async with Client(program.url, mode="legacy", elicitation_callback=another_day) as client:
            for _ in range(2):
                result = await client.call_tool("book_table", CHRISTMAS)
                assert result.content[0].text == "Booked a table for 2 on 2025-12-27."
                program.kill().start()
        answer = kept.call("book_table", date="2025-12-26", party_size=3)
        assert (answer.status, answer.body["result"]["isError"]) == (200, False)
        tables = {
            row["tablename"]
            for row in await asyncio.to_thread(program.sql, "SELECT tablename FROM pg_tables")
        }
        assert "archon_mcp_sessions" in tables
        assert not {"archon_tasks", "archon_projects", "archon_sources"} & tables
        program.terminate()
        code, printed = program.ended()
        assert code == 0
        assert "all sessions kept" in printed


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_fastmcp_server_is_served_by_its_name(tmp_path):
    """Where fastmcp is installed; a request without a session is served too."""
    from tests.needs import needs_module
    from tests.process.served import ROOT

    needs_module("fastmcp", "pip install fastmcp")
    (tmp_path / "greeter.py").write_text(
        "import fastmcp\n"
        "server = fastmcp.FastMCP('Greeter')\n\n\n"
        "@server.tool\n"
        "def greet(name: str) -> str:\n"
        "    return f'Hello, {name}!'\n"
    )
    environ = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONWARNINGS": "default"}
    with data_directory() as home, Program(home, "greeter:server", environ=environ) as program:
        program.start()
        for caller in (Caller(program), Caller(program).open()):
            answer = caller.call("greet", name="Anna")
            assert answer.body["result"]["content"][0]["text"] == "Hello, Anna!"
