"""Node and the suite's packages, installed by npm into a cache folder: once per version, whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

NODE_NEEDED: Final = 22
"""The suite's own code uses what older ones lack."""

NODE_PACKAGE: Final = "node@24"
SUITE_PACKAGE: Final = "@modelcontextprotocol/conformance"
INSTALL_SECONDS: Final = 600


class CannotRun(Exception):
    """The suite cannot be run here; the text says what is missing."""


def cache() -> Path:
    """Where packages are kept from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archon-transport-tests"


def node() -> Path:
    """A node that is new enough: the machine's own, else one that npm installs.

    Raises:
        CannotRun: there is none and none can be had.
    """
    own = shutil.which("node")
    if own is not None and _major(Path(own)) >= NODE_NEEDED:
        return Path(own)
    found = installed(NODE_PACKAGE) / "node_modules" / ".bin" / "node"
    if _major(found) < NODE_NEEDED:
        raise CannotRun(f"{NODE_PACKAGE} brought no node of version {NODE_NEEDED} or newer")
    return found


def suite(version: str) -> Path:
    """The suite's program at exactly that version.

    Raises:
        CannotRun: it cannot be installed.
    """
    package = installed(f"{SUITE_PACKAGE}@{version}")
    program = package / "node_modules" / SUITE_PACKAGE / "dist" / "index.js"
    if not program.is_file():
        raise CannotRun(f"{SUITE_PACKAGE} {version} has no {program.name}")
    return program


def installed(package: str) -> Path:
    """The folder that has an npm package and what it needs.

    Raises:
        CannotRun: there is no npm, or it fails.
    """
    place = cache() / f"npm-{package.strip('@').replace('/', '-').replace('@', '-')}"
    if place.exists():
        return place
    npm = shutil.which("npm")
    if npm is None:
        raise CannotRun(f"npm is needed to install {package}: apt-get install npm")
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        (unfinished / "package.json").write_text('{"private": true}')
        _install(npm, package, unfinished)
        if not place.exists():  # another run may have been faster
            unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _install(npm: str, package: str, where: Path) -> None:
    command = [npm, "install", "--no-audit", "--no-fund", package]
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(f"npm did not install {package} in {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        raise CannotRun(f"npm cannot install {package}: {done.stderr.strip()[-300:]}")


def _major(program: Path) -> int:
    """A node's version, 0 where it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    major = done.stdout.strip().removeprefix("v").partition(".")[0]
    return int(major) if done.returncode == 0 and major.isdecimal() else 0
