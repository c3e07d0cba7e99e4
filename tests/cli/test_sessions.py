"""`sessions`, `requests` and `print-config` as a person meets them, on a database with rows."""

import json
import signal
import subprocess
import sys
import tomllib
from functools import partial

import asyncpg
import pytest

from archon_transport import cli
from archon_transport.store import PostgresStore
from archon_transport.web.clients import CLIENTS
from tests.conftest import run
from tests.process.served import ROOT, clean_environment
from tests.reports.rows import Rows


@pytest.fixture
def typed(capsys):
    """Type a command: its exit code and what it printed."""

    def typed(*words):
        code = cli.main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return typed


@pytest.fixture
def session(dsn, monkeypatch):
    """A session with a request that failed."""

    monkeypatch.setenv("ARCHON_DATABASE_URL", dsn)

    async def fill():
        store = PostgresStore(dsn, sets=("transport",))
        await store.start()
        rows = Rows(store.pool)
        session = await rows.session("evil\x1b[31m name", owner="ada")
        await rows.request(session, "find_tasks", outcome="tool_error", error="no such\ntask")
        await rows.request(session, "find_tasks", bytes_out=4000)
        await store.close()
        return session

    return run(fill())


def test_sessions_are_listed_shown_and_ended(typed, session):
    """For people and for machines; what a terminal would obey is not printed; an end is for good."""
    code, out, _ = typed("sessions", "list")
    assert code == 0 and session in out and "ada" in out and "\x1b" not in out
    assert [each["session_id"] for each in json.loads(typed("sessions", "list", "--json")[1])] == [session]
    code, out, _ = typed("sessions", "show", session)
    assert code == 0 and "tool_error" in out and "no such task" in out
    shown = json.loads(typed("sessions", "show", session, "--json")[1])
    assert shown["session"]["owner"] == "ada" and len(shown["requests"]) == 2
    out = typed("requests", "--failed")[1]
    assert len(out.splitlines()) == 2
    assert len(json.loads(typed("requests", "--session", session, "--limit", "1", "--json")[1])) == 1
    out = typed("stats")[1]
    assert "2 requests in 24 h, 1 failed" in out and "find_tasks" in out
    assert json.loads(typed("stats", "--json")[1])["tools"][0]["requests"] == 2
    assert typed("sessions", "end", session) == (0, f"ended {session}\n", "")
    code, _, err = typed("sessions", "end", session)
    assert code == 1 and "no live session" in err
    assert typed("sessions", "list") == (0, "nobody is connected\n", "")
    assert typed("sessions", "show", "none")[0] == 1


@pytest.mark.long
def test_what_comes_is_printed_until_the_interrupt(dsn, session):
    """Each request once, as it is written, by a process that ends without an error."""
    command = [sys.executable, "-W", "error", "-m", "archon_transport", "tail", "--json"]
    environ = clean_environment({"ARCHON_DATABASE_URL": dsn})
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's job ignores it
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        env=environ,
        cwd=ROOT,
        preexec_fn=heard,  # noqa: PLW1509 - it only sets a signal
    ) as process:
        first = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert {line["session_id"] for line in first} == {session}

        async def come():
            async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool:
                return await Rows(pool).request(session, "late", ago=0)

        come = run(come())
        assert json.loads(process.stdout.readline())["request_id"] == come
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_command_that_lacks_its_session_says_so(typed):
    """Asked wrongly is exit code 2 and one line."""
    code, _, err = typed("sessions", "end")
    assert code == 2 and len(err.splitlines()) == 1


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("token", [(), ("--with-token",)])
def test_the_configuration_of_every_client_names_the_address(typed, client, token):
    """What is printed is what the client reads, with the settings' own address."""
    code, out, _ = typed("print-config", client, "--port", "9000", "--path", "/x", *token)
    assert code == 0 and "http://127.0.0.1:9000/x" in out
    assert ("ARCHON_TOKEN" in out) is bool(token)
    if client == "codex":
        assert tomllib.loads(out)["mcp_servers"]["archon"]["url"] == "http://127.0.0.1:9000/x"
    elif client != "claude-code":
        assert json.loads(out)
    assert json.loads(typed("print-config", client, "--json")[1])["client"] == client
