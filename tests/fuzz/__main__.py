"""One run as told on the command line; 1 where the server did what it may not do."""

from __future__ import annotations

import argparse
import sys

from .run import run


def main() -> int:
    """Run and print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    report = run(chosen.requests, chosen.seed)
    print(report)
    return 1 if report.tally.faults or report.tracebacks or report.growth > 1.1 else 0


if __name__ == "__main__":
    sys.exit(main())
