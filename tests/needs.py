"""Programs and packages that some tests need and a machine may lack.

A test says `needs("node", "apt-get install nodejs")`; without it the test is skipped by name, with the line
that installs it. Where every test has to run (CI), it fails instead.
"""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest


def needs(program: str, install: str) -> str:
    """The path of `program`; without it the test ends here."""
    found = shutil.which(program)
    if found is None:
        _missing(program, install)
    return str(found)


def needs_module(name: str, install: str) -> None:
    """Go on only where the module `name` can be imported."""
    if importlib.util.find_spec(name) is None:
        _missing(name, install)


def needs_path(path: str, package: str) -> Path:
    """`path`, which a Debian package brings; without it the test ends here."""
    if not Path(path).exists():
        _missing(package, f"apt-get install {package}")
    return Path(path)


def _missing(name: str, install: str) -> None:
    reason = f"{name} is not installed: {install}"
    if os.environ.get("ARCHON_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
