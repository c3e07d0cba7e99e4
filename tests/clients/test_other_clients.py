"""Clients that other people wrote, of either era, against one running server: each connects, lists and calls.

What they are made of is installed once into a cache folder; without the network they are skipped by name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import packages
from tests.everything.running import running
from tests.needs import _missing as missing

HERE = Path(__file__).parent
PYTHON_PACKAGE = "mcp<2"
TYPESCRIPT_PACKAGE = "@modelcontextprotocol/client@2.4.0"
INSPECTOR_PACKAGE = "@modelcontextprotocol/inspector@2.12.0"
LIMIT = 60
TOOLS = {"echo", "slow", "ask", "test_tool_with_progress"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of both eras; a traceback in its log fails the last test."""
    log = tmp_path_factory.mktemp("everything") / "log"
    with running(log) as url:
        yield url
    assert "Traceback" not in log.read_text()


def printed(command: list[str]) -> Any:
    """What a program printed, as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def npm_package(name: str) -> Path:
    """The folder of an installed package."""
    try:
        return packages.installed(name)
    except packages.CannotRun as error:
        missing(name, str(error))
        raise


def node() -> str:
    """A node that runs all of them."""
    try:
        return str(packages.node())
    except packages.CannotRun as error:
        missing("node", str(error))
        raise


@pytest.fixture(scope="module")
def python1() -> Path:
    """A Python that has the SDK 1.x: an environment of its own, made once, whole or not at all."""
    place = packages.cache() / f"python-{sys.version_info[0]}.{sys.version_info[1]}-mcp-1"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=place.parent))
        site = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(unfinished)]
        done = subprocess.run(
            [sys.executable, *site, PYTHON_PACKAGE], capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode != 0:
            shutil.rmtree(unfinished)
            missing(PYTHON_PACKAGE, f"pip cannot install it: {done.stderr.strip()[-300:]}")
        unfinished.rename(place)
    return place


def old_python(url: str, place: Path) -> Any:
    """What the client of the Python SDK 1.x got."""
    environment = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, str(HERE / "python1" / "client.py"), url]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def new_typescript(url: str, mode: str) -> Any:
    """What the client of the TypeScript SDK 2.x got."""
    script = shutil.copy(HERE / "typescript2" / "client.mjs", npm_package(TYPESCRIPT_PACKAGE))
    return printed([node(), str(script), url, mode])


def inspector(url: str, era: str, *words: str) -> Any:
    """What the inspector's command line printed."""
    package = npm_package(INSPECTOR_PACKAGE) / "node_modules" / "@modelcontextprotocol" / "inspector"
    launcher = package / "clients" / "launcher" / "build" / "index.js"
    return printed([node(), str(launcher), "--cli", url, "--protocol-era", era, *words])


def is_good(found: Any, revision: str) -> bool:
    """Whether a client got everything, in that revision."""
    assert set(found["tools"]) >= TOOLS
    assert found["said"] == "hällo"
    assert found["heard"] == [0, 50, 100]
    assert found["revision"] == revision
    assert found["session"] is (revision != "2026-07-28")
    return True


def test_python_1(url: str, python1: Path) -> None:
    """The Python SDK 1.x works in a session."""
    assert is_good(old_python(url, python1), "2025-11-25")


@pytest.mark.spec("D-05")
@pytest.mark.parametrize(
    ("mode", "revision"),
    [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")],
)
def test_typescript_2(url: str, mode: str, revision: str) -> None:
    """The TypeScript SDK 2.x works in the era that it is told, and in the modern one where it may choose."""
    assert is_good(new_typescript(url, mode), revision)


@pytest.mark.parametrize("era", ["legacy", "auto", "modern"])
def test_inspector(url: str, era: str) -> None:
    """The inspector's command line lists, calls and reads in every era that it has."""
    tools = inspector(url, era, "--method", "tools/list")["tools"]
    assert {tool["name"] for tool in tools} >= TOOLS
    said = inspector(url, era, "--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=hällo")
    assert said["content"] == [{"type": "text", "text": "hällo"}]
    assert inspector(url, era, "--method", "resources/list")["resources"]
    assert inspector(url, era, "--method", "prompts/list")["prompts"]


@pytest.mark.spec("D-01", "D-03")
def test_all_at_once(url: str, python1: Path) -> None:
    """Clients of both eras use one server at the same time."""
    with ThreadPoolExecutor(4) as pool:
        old = [pool.submit(old_python, url, python1) for _ in range(2)]
        new = [pool.submit(new_typescript, url, mode) for mode in ("auto", "legacy", "2026-07-28")]
        assert all(is_good(each.result(), "2025-11-25") for each in old)
        revisions = ["2026-07-28", "2025-11-25", "2026-07-28"]
        assert all(is_good(each.result(), revision) for each, revision in zip(new, revisions, strict=True))
