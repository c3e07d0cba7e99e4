"""A scenario passes only by what it checked itself: the rule that makes a full run worth something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.verdicts import judge, read

GOOD = {"id": "tool-answers", "status": "SUCCESS"}
BAD = {"id": "tool-is-listed", "status": "FAILURE", "errorMessage": "no such\ntool"}
WORSE = {"id": "tool-has-name", "status": "FAILURE", "errorMessage": "none"}
WARNING = {"id": "tool-is-nice", "status": "WARNING", "errorMessage": "could be nicer"}
SKIPPED = {"id": "tool-changes", "status": "SKIPPED", "details": {"message": "not declared"}}
INFO = {"id": "incoming-response", "status": "INFO", "description": "Received 200"}
WIRE = {"id": "wire-schema-valid", "status": "SUCCESS"}


@pytest.mark.parametrize(
    ("checks", "reason"),
    [
        ([GOOD], None),
        ([GOOD, WARNING, SKIPPED, INFO], None),
        ([GOOD, BAD], "tool-is-listed: no such tool"),
        ([GOOD, BAD, WORSE], "tool-is-listed: no such tool (and tool-has-name)"),
        ([], "no check of its own succeeded: nothing was checked"),
        ([INFO, WIRE], "no check of its own succeeded: nothing was checked"),
        ([WIRE, SKIPPED], "no check of its own succeeded: tool-changes: not declared"),
        ([WARNING, SKIPPED], "no check of its own succeeded: tool-is-nice: could be nicer"),
        (None, "no result: the suite crashed or ran out of time"),
    ],
)
def test_a_scenario_passes_by_a_check_of_its_own(checks, reason) -> None:
    """It passes where a check of its own succeeded and none failed; skips, warnings and the wire's shape prove nothing."""
    verdict = judge("tools-call", checks)
    assert verdict.passed is (reason is None)
    if reason is not None:
        assert verdict.reason == reason


def test_the_suites_files_are_read(tmp_path: Path) -> None:
    """Each scenario is judged by its own file and its last run; one without a file has failed."""
    for folder, checks in (
        ("server-tools-list-2026-11-22T11-00-33-623Z", [BAD]),
        ("server-tools-list-2026-11-22T11-00-34-000Z", [GOOD]),
        ("server-tools-list-changed-2026-11-22T11-00-33-700Z", [BAD]),
        ("something-else", [GOOD]),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "checks.json").write_text(json.dumps(checks))
    (tmp_path / "server-ping-2026-11-22T11-00-33-623Z").mkdir()
    verdicts = {
        each.scenario: each.passed for each in read(tmp_path, ["tools-list", "tools-list-changed", "ping"])
    }
    assert verdicts == {"tools-list": True, "tools-list-changed": False, "ping": False}
