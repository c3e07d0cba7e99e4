"""What a scenario's checks come to, more strictly than the suite itself counts them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Check = Mapping[str, Any]

EVERYWHERE: Final = "wire-schema"
"""Checks of this name are made on every message of every scenario, so they prove none of them."""

_FOLDER: Final = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """One scenario's end: why it failed, nothing where it passed; and what the suite only warns of."""

    scenario: str
    failures: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether a check of its own succeeded and none failed."""
        return not self.failures

    @property
    def reason(self) -> str:
        """Why it failed, in one line: the first check in full, the others by name."""
        first, *others = self.failures
        more = ", ".join(other.partition(":")[0] for other in others)
        return f"{first} (and {more})" if more else first


def judge(scenario: str, checks: Iterable[Check] | None) -> Verdict:
    """The verdict on a scenario with these checks, None where the suite left no result."""
    if checks is None:
        return Verdict(scenario, ("no result: the suite crashed or ran out of time",))
    by_status: dict[str, list[Check]] = {}
    for check in checks:
        by_status.setdefault(check["status"], []).append(check)
    failures = tuple(_line(check) for check in by_status.get("FAILURE", ()))
    warnings = tuple(_line(check) for check in by_status.get("WARNING", ()))
    if not failures and not any(_is_own(check) for check in by_status.get("SUCCESS", ())):
        skipped = next((_line(check) for check in by_status.get("SKIPPED", ())), "nothing was checked")
        failures = (f"no check of its own succeeded: {warnings[0] if warnings else skipped}",)
    return Verdict(scenario, failures, warnings)


def read(results: Path, scenarios: Iterable[str]) -> list[Verdict]:
    """The verdicts on all of these scenarios, by what the suite wrote below `results`."""
    written: dict[str, list[Check]] = {}
    for path in sorted(results.glob("*/checks.json")):
        folder = _FOLDER.fullmatch(path.parent.name)
        if folder is not None:
            written[folder["scenario"]] = json.loads(path.read_text())
    return [judge(scenario, written.get(scenario)) for scenario in scenarios]


def _is_own(check: Check) -> bool:
    return not str(check["id"]).startswith(EVERYWHERE)


def _line(check: Check) -> str:
    details = check.get("details") or {}
    message = str(check.get("errorMessage") or details.get("message") or check.get("description") or "")
    return f"{check['id']}: {' '.join(message.split())[:_LENGTH]}"
