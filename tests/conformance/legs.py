"""The legs of a full run, each one version of the suite at one revision of the protocol, and how one is run."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .packages import CannotRun
from .verdicts import Verdict, read

SECONDS: Final = 600
"""How long a leg may take; what has no result by then has failed."""

_LISTED: Final = re.compile(r"^\s*-\s*(?P<scenario>[a-z0-9][a-z0-9-]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Leg:
    """A version of the suite, and a revision where the suite can be told one."""

    version: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.version if self.revision is None else f"{self.version}/{self.revision}"

    @property
    def chosen(self) -> list[str]:
        """The suite's arguments that choose the revision."""
        return [] if self.revision is None else ["--spec-version", self.revision]


RELEASED: Final = Leg("0.1.16")
NEXT: Final = "0.2.0-alpha.12"
LEGS: Final = {
    str(leg): leg
    for leg in (
        RELEASED,
        Leg(NEXT, "2025-03-26"),
        Leg(NEXT, "2025-06-18"),
        Leg(NEXT, "2025-11-25"),
        Leg(NEXT, "2026-07-28"),
    )
}


def run(leg: Leg, command: list[str], url: str, folder: Path, scenario: str | None = None) -> list[Verdict]:
    """Run a leg (or one scenario of it) with the suite's `command`; its results go into `folder`.

    Raises:
        CannotRun: the suite knows no scenario for it, or the folder is used already.
    """
    wanted = _scenarios(leg, command) if scenario is None else [scenario]
    which = ["--suite", "all"] if scenario is None else ["--scenario", scenario]
    results = folder / "results"
    if results.exists():
        raise CannotRun(f"{results} has the results of an earlier run")
    results.mkdir(parents=True)
    with (folder / "suite.log").open("w") as log:
        try:
            subprocess.run(
                [*command, "server", "--url", url, "-o", str(results), *which, *leg.chosen],
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,  # its exit code counts warnings as failures and nothing at all as success
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            log.write(f"\nended after {SECONDS} s\n")
    return read(results, wanted)


def _scenarios(leg: Leg, command: list[str]) -> list[str]:
    listing = subprocess.run(
        [*command, "list", "--server", *leg.chosen], capture_output=True, text=True, check=False, timeout=60
    )
    found = [match["scenario"] for match in _LISTED.finditer(listing.stdout)]
    if listing.returncode != 0 or not found:
        raise CannotRun(f"the suite lists no scenario for {leg}: {listing.stderr.strip()[-300:]}")
    return found
