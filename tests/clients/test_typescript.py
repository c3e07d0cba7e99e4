"""The TypeScript SDK's client against the real program: `typescript/client.mjs`, run by node."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs
from tests.program import Program

SOURCE = Path(__file__).with_name("typescript")
INSTALL = "apt-get install nodejs npm (node 20 or newer)"


@pytest.fixture(scope="module")
def installed() -> Path:
    """The script beside its packages: installed once, as long as the lock file stays what it is."""
    npm = needs("npm", INSTALL)
    digest = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archon-transport-tests"
    place = caches / f"typescript-{digest}"
    if not place.exists():
        caches.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=caches))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(SOURCE / name, unfinished)
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        result = subprocess.run(command, cwd=unfinished, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        unfinished.rename(place)
    shutil.copy(SOURCE / "client.mjs", place)
    return place / "client.mjs"


@pytest.fixture
def client(program: Program, installed: Path) -> Iterator[subprocess.Popen[str]]:
    """The client's process, connected to the program."""
    command = [needs("node", INSTALL), str(installed), program.url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def line(client: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON that the client prints."""
    assert client.stdout is not None
    assert client.stderr is not None
    text = client.stdout.readline()
    assert text, client.stderr.read()
    printed: dict[str, Any] = json.loads(text)
    return printed


@pytest.mark.long
@pytest.mark.timeout(300)
def test_it_works_and_goes_on_after_kill_9(program: Program, client: subprocess.Popen[str]) -> None:
    """It creates and finds a project and a task, and after kill -9 it goes on in the same session."""
    first = line(client)
    assert {"find_projects", "manage_project", "find_tasks", "manage_task"} <= set(first["tools"])
    assert first["found"] == {"project": "From TypeScript", "task": "First"}
    row = program.row(first["session"].partition(".")[0])
    assert (row["client_name"], row["client_version"]) == ("typescript", "2.7.1")
    assert row["ended_at"] is None

    program.kill().start()
    assert client.stdin is not None
    client.stdin.write("go on\n")
    client.stdin.flush()

    second = line(client)
    assert second == {"session": first["session"], "tasks": ["First"]}
    assert client.wait(20) == 0
    row = program.row(first["session"].partition(".")[0])
    assert row["ended_reason"] == "deleted"  # the client says goodbye, and is believed


def test_the_lock_file_names_no_registry() -> None:
    """Packages come from wherever the machine's npm is told to get them: the lock has their hashes only."""
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    packages = [package for place, package in lock["packages"].items() if place]
    assert packages
    assert all("integrity" in package and "resolved" not in package for package in packages)
