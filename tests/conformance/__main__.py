"""The runner: every leg that is asked for, one line for each scenario that failed, and the sum.

Exits with 0 where nothing failed, 1 where something did, 2 where the suite cannot be run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.everything.running import NotStarted, running

from . import legs, packages
from .packages import CannotRun


def main(argv: list[str] | None = None) -> int:
    """Run as told on the command line; the exit code."""
    chosen = _arguments().parse_args(argv)
    folder = Path(chosen.out or tempfile.mkdtemp(prefix="conformance-"))
    try:
        passed, failed = _run(chosen, folder)
    except (CannotRun, NotStarted) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    print(f"results: {folder}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--suite", choices=[*legs.LEGS, "all"], default="all")
    parser.add_argument("--url", help="a server on this machine; without it tests.everything is started")
    parser.add_argument("--database-url", help="a Postgres for the server that is started; memory without it")
    parser.add_argument("--scenario", help="only this one")
    parser.add_argument("--out", help="a folder for what the suite writes, a new one without it")
    return parser


def _run(chosen: argparse.Namespace, folder: Path) -> tuple[int, int]:
    node = str(packages.node())
    passed = failed = 0
    with ExitStack() as stack:
        log = folder / "server.log"
        folder.mkdir(parents=True, exist_ok=True)
        url = chosen.url or stack.enter_context(running(log, chosen.database_url))
        for name in legs.LEGS if chosen.suite == "all" else [chosen.suite]:
            leg = legs.LEGS[name]
            command = [node, str(packages.suite(leg.version))]
            verdicts = legs.run(leg, command, url, folder / name, chosen.scenario)
            for verdict in verdicts:
                for warning in verdict.warnings:
                    print(f"warning {name} {verdict.scenario}: {warning}")
                if not verdict.passed:
                    print(f"failed  {name} {verdict.scenario}: {verdict.reason}")
            good = sum(verdict.passed for verdict in verdicts)
            print(f"{name}: {good} of {len(verdicts)} passed", flush=True)
            passed, failed = passed + good, failed + len(verdicts) - good
    if chosen.url is None and "Traceback" in log.read_text():
        print(f"failed  the server: a traceback in {log}")
        failed += 1
    return passed, failed


if __name__ == "__main__":
    sys.exit(main())
