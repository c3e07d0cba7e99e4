"""`archon-transport tokens`: what a person and a program see, and that a token is shown once."""

import json
from types import SimpleNamespace

import pytest

from archon_transport.cli import main
from archon_transport.signals import logs
from tests.cli.test_command_line import archon
from tests.program import Caller, Program, data_directory, until


@pytest.fixture
def tokens(dsn, capsys, monkeypatch):
    """Run `archon-transport tokens ...` on a database of its own, in this process and its log."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setenv("ARCHON_DATABASE_URL", dsn)

    def run(*words):
        code = main(["tokens", *words])
        return SimpleNamespace(returncode=code, stdout=(said := capsys.readouterr()).out, stderr=said.err)

    return run


def test_a_token_is_made_shown_once_listed_and_revoked(tokens):
    """Its bytes stand alone on stdout, once; the list has its name, scopes and times."""
    made = tokens("add", "laptop", "--scopes", "write, READ", "--expires", "90d")
    token = made.stdout.removesuffix("\n")
    assert (made.returncode, token[:7], len(token)) == (0, "archon_", 50)
    assert made.stderr.startswith("This is the token of laptop, good for read,write until 20")
    assert token not in made.stderr

    listed = tokens("list")
    assert listed.stdout.splitlines()[1].split()[:3] == ["laptop", "valid", "read,write"]
    again = json.loads(tokens("add", "laptop", "--json").stdout)
    assert (again["name"], again["scopes"], again["expires_at"]) == ("laptop", ["read", "write"], None)
    assert again["token"] != token

    assert tokens("revoke", "laptop").stdout.startswith("The token of laptop is revoked since 20")
    (fact,) = json.loads(tokens("list", "--json").stdout)
    assert fact["state"] == "revoked"
    assert "token" not in fact
    assert token not in listed.stdout + str(fact)


def test_what_is_not_there_is_said(tokens):
    """A name without a token is exit code 1, an empty list says how to begin."""
    missing = tokens("revoke", "laptop")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == (
        "archon-transport: there is no token of laptop; archon-transport tokens list shows all\n"
    )
    assert tokens("list").stdout == "No tokens; make one with: archon-transport tokens add NAME\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "the following arguments are required: action"),
        (["add"], "tokens add takes the NAME of a token"),
        (["list", "laptop"], "tokens list takes no name"),
        (["revoke", "laptop", "--scopes", "read"], "--scopes and --expires are for tokens add"),
        (["add", "laptop", "--scopes", "all"], "must be some of read, write, admin, with commas, not 'all'"),
        (["add", "laptop", "--scopes", ""], "must be some of read, write, admin, with commas, not ''"),
        (["add", "laptop", "--expires", "soon"], "must be a duration such as 90d, 12h or 3600, not 'soon'"),
        (["add", "laptop", "--expires", "0"], "must be a duration such as 90d, 12h or 3600, not '0'"),
        (["add", "lap top"], "must be 1 to 64 letters, digits and ._@- (not first)"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, complaint, capsys):
    """What was wrong and what is allowed, before a database is looked for."""
    assert main(["tokens", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{complaint}; see archon-transport --help\n" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.long
def test_a_running_server_takes_and_refuses_tokens_and_writes_none():
    """Made, rotated and revoked beside the running server; its whole log and output have no token in them."""
    with data_directory() as home, Program(home, "--auth", "tokens", "--log-level", "debug") as program:
        program.start()
        place = ["--data-dir", str(home)]
        assert "nobody can connect yet" in program.printed()
        assert '--header "Authorization: Bearer TOKEN"' in program.printed()
        caller = Caller(program)
        caller.token = archon("tokens", "add", "laptop", *place).stdout.strip()
        caller.open()
        assert caller.call("manage_project", action="create", title="x").tool["success"]

        old, caller.token = caller.token, archon("tokens", "add", "laptop", *place).stdout.strip()
        assert len(caller.call("find_projects").tool["projects"]) == 1
        stale = Caller(program)
        stale.token = old
        until(lambda: stale.call("find_projects").status == 401, limit=5)

        first_log = program.printed()
        program.kill().start()
        assert "nobody can connect yet" not in program.printed()
        assert caller.call("find_projects").status == 200
        assert archon("tokens", "revoke", "laptop", *place).returncode == 0
        until(lambda: caller.call("find_projects").status == 401, limit=5)
        program.terminate()
        code, printed = program.ended()
        assert code == 0
        assert "rule=token" in printed
        assert "session opened" in first_log
        for token in (old, caller.token):
            assert token not in first_log + printed
