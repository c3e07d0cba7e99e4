"""The command line as a person meets it: real processes, their output and exit codes."""

import re
import socket
import subprocess
import sys

import pytest

from archon_transport import __version__
from archon_transport.settings import options
from tests.needs import needs_module
from tests.process.served import ROOT, Running, clean_environment

SECRET = "hunter2"


def archon(*argv, environ=None):
    """Run `python -m archon_transport` to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "archon_transport", *argv],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(environ),
        cwd=ROOT,
        check=False,
    )


def flattened(text):
    return re.sub(r"\s+", " ", text)


def test_version_is_the_packages():
    """`--version` says the program and its version."""
    result = archon("--version")
    assert (result.returncode, result.stdout) == (0, f"archon-transport {__version__}\n")


@pytest.mark.parametrize("argv", [["--help"], ["serve", "--help"]])
def test_help_teaches_every_option(argv):
    """Each setting is there with its flag, its variable and its default, and so is how to begin."""
    result = archon(*argv)
    assert result.returncode == 0
    text = flattened(result.stdout)
    for setting in options():
        assert f"{setting.flag}" in text
        assert f"[{setting.variable}; default: {setting.default}]" in text
        assert setting.option.help in text
    assert "claude mcp add --transport http archon http://127.0.0.1:8051/mcp" in text
    assert "Everything lives in Postgres" in text


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--port", "none"], "--port must be a whole number from 0 to 65535, not 'none'"),
        (["serve", "--port", "none"], "--port must be a whole number from 0 to 65535, not 'none'"),
        (["--prot", "1"], "unrecognized arguments: --prot; see archon-transport --help"),
        (["--port"], "argument --port: expected one argument; see archon-transport --help"),
        (["--allow-h", "x"], "unrecognized arguments: --allow-h; see archon-transport --help"),
        (
            ["dance"],
            "there is no command 'dance'; the commands are: serve, tokens, sessions, requests, stats, tail, "
            "print-config, ingest, evaluate, migrate",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(argv, complaint):
    """What was wrong and what is allowed, without a page of usage."""
    result = archon(*argv)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"archon-transport: {complaint}\n"


def test_a_bad_variable_is_named():
    """A value from the environment is complained about by the variable's name."""
    result = archon(environ={"ARCHON_LOG_FORMAT": "xml"})
    assert result.returncode == 2
    assert result.stderr == "archon-transport: ARCHON_LOG_FORMAT must be text or json, not 'xml'\n"


def test_a_bad_database_url_is_not_printed():
    """The password of a URL that cannot be used reaches neither stream."""
    result = archon(environ={"DATABASE_URL": f"mysql://archon:{SECRET}@db/archon"})
    assert result.returncode == 2
    assert result.stderr.startswith("archon-transport: DATABASE_URL must be a URL such as postgresql://")
    assert SECRET not in result.stdout + result.stderr


def test_listening_to_other_machines_needs_the_two_options():
    """The error comes before anything is started and names what is missing."""
    result = archon("--host", "0.0.0.0")
    assert result.returncode == 2
    assert "--allow-host" in result.stderr
    assert "--allow-unauthenticated" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_taken_port_is_told_at_once_and_exits_with_1():
    """Before a database is looked for: which port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = archon("--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"archon-transport: port {port} is taken; stop the other server, choose another with --port, or "
        "start all that shall share it with --reuse-port\n"
    )


def test_the_start_says_where_it_listens_its_database_and_how_to_connect():
    """Three lines, true and complete: the endpoint, the database, the command for a client."""
    with Running("--port", "0", "--path", "/other") as running:
        port = running.wait_for_banner().port
        assert running.banner == [
            f"Archon listens at http://127.0.0.1:{port}/other",
            "Database: none, this is a test",
            f"Add it to a client: claude mcp add --transport http archon http://127.0.0.1:{port}/other",
        ]


@pytest.mark.parametrize(
    ("argv", "where"),
    [
        (["--host", "::1"], r"http://\[::1\]:\d+/mcp"),
        (["--host", "localhost"], r"http://localhost:\d+/mcp"),
        (["--host", "0.0.0.0", "--allow-host", "a.example.com:*"], r"http://a\.example\.com:\d+/mcp"),
        (["--host", "0.0.0.0", "--allow-host", "a.example.com:80"], r"http://a\.example\.com:80/mcp"),
    ],
)
def test_the_url_is_one_that_clients_can_use(argv, where):
    """Never 0.0.0.0: the first allowed name where other machines are served."""
    if argv[1] == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")
    with Running("--port", "0", "--allow-unauthenticated", *argv) as running:
        assert re.fullmatch(f"Archon listens at {where}", running.wait_for_banner().banner[0])


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_what_keeps_it_from_starting_is_one_line_and_exit_code_1():
    """A start that fails for a known reason says it without a traceback."""
    with Running("--port", "0", environ={"SERVED_FAIL": "start"}) as running:
        code, out, err, _ = running.ended()
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        "archon-transport: the database does not answer; start it, or name another with --database-url"
    )
    assert "Traceback" not in err


def test_a_flag_switches_a_variable_off():
    """Flags go before variables, for switches too."""
    environ = {"ARCHON_ALLOW_UNAUTHENTICATED": "1", "ARCHON_ALLOW_HOST": "a", "ARCHON_HOST": "0.0.0.0"}
    result = archon("--no-allow-unauthenticated", environ=environ)
    assert result.returncode == 2
    assert "which needs --auth tokens" in result.stderr


def test_it_goes_on_when_nobody_reads_its_output():
    """A closed pipe on stdout, as under `| head -1`, neither stops the server nor spoils its exit."""
    with Running("--port", "0") as running:
        running.process.stdout.close()
        running.process.stdout = None
        running.wait_for_step("build")
        running.signal()
        code, _, err, _ = running.ended()
    assert code == 0, err
    assert "BrokenPipe" not in err


def test_json_is_the_form_of_every_log_line_when_asked_for():
    """The option reaches the log."""
    with Running("--port", "0", "--log-format", "json") as running:
        running.wait_for_banner().signal()
        _, _, err, _ = running.ended()
    assert '"message": "stopped; 7 sessions kept"' in err


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=pytest.mark.long)])
def test_the_faster_event_loop_is_used_where_it_is_installed(loop, tmp_path):
    """uvloop if it can be imported, asyncio's own if not; both start and stop."""
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('hidden by a test')\n")
    else:
        needs_module("uvloop", 'pip install -e ".[fast]"')
    environ = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with Running("--port", "0", environ=environ) as running:
        running.wait_for_banner()
        status, name = running.get("/loop")
        assert (status, name.partition(".")[0]) == (200, loop)
        running.signal()
        assert running.ended()[0] == 0
