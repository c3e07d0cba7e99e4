"""The official suite against our transport, every leg, on both stores."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conformance import packages
from tests.conformance.__main__ import main
from tests.conformance.legs import LEGS
from tests.needs import needs


@pytest.fixture(scope="module")
def node() -> Path:
    """A node that is new enough: the machine's, or one that npm can bring."""
    if shutil.which("npm") is None:
        needs("node >= 22", "apt-get install npm, which brings it")
    return packages.node()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> list[str]:
    """The server's arguments for its store."""
    return [] if request.param == "memory" else ["--database-url", request.getfixturevalue("dsn")]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("leg", LEGS)
def test_the_official_suite_finds_nothing(leg, store, node, tmp_path: Path, capsys) -> None:
    """No scenario of this leg fails, and none passes without having checked anything."""
    exit_code = main(["--suite", leg, "--out", str(tmp_path / "results"), *store])
    printed = capsys.readouterr().out
    assert exit_code == 0, printed
    passed = re.search(r"^(\d+) passed, 0 failed$", printed, re.MULTILINE)
    assert passed is not None and int(passed[1]) > 0
