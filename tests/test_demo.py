"""The demo that the README begins with, run word for word."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import needs
from tests.process.served import ROOT, clean_environment
from tests.program import data_directory, free_port

DEMO = ROOT / "deploy" / "demo.sh"

STORY = re.compile(
    r"""1\. Start .*
Archon listens at http://127\.0\.0\.1:\d+/mcp
.*
   session (?P<session>[0-9a-f-]{36})
2\. Make .*
   project [0-9a-f-]{36}
3\. kill -9 .*
Archon listens at .*
4\. The same client .*
"session_id":"(?P=session)"
"title":"Outlive the server"
The session and its work are still there\.
stopped: 2 calls served, 0 cut off, 0 sessions opened, .*""",
    re.DOTALL,
)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the demo makes its directory; Postgres's account can reach it."""
    with data_directory() as home:
        yield home.parent


def demo(scratch: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    needs("curl", "apt-get install curl")
    environ = clean_environment({"PYTHON": sys.executable, "PORT": str(port), "TMPDIR": str(scratch)})
    return subprocess.run(
        [str(DEMO)], capture_output=True, text=True, timeout=50, env=environ, cwd=ROOT, check=False
    )


def test_it_tells_its_story_in_forty_seconds(scratch: Path) -> None:
    """The task made before kill -9 is found after it, in the same session, and nothing is left behind."""
    began = time.monotonic()
    result = demo(scratch, free_port())
    took = time.monotonic() - began
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    assert STORY.fullmatch(result.stdout.strip()), result.stdout
    assert took < 40
    assert list(scratch.iterdir()) == []


def test_it_leaves_a_server_that_is_there_alone(scratch: Path) -> None:
    """Where the port is taken it says so and starts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = demo(scratch, port)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Port {port} is taken; choose another")
    assert list(scratch.iterdir()) == []
