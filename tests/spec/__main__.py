"""`python -m tests.spec`: takes out of unclaimed.txt what a test claims by now, and says what is left."""

from __future__ import annotations

import re
from collections import Counter

from tests.spec import HERE, claims, clauses, unclaimed


def main() -> None:
    """Only ever makes the list shorter; a clause that lost its test is for a person to write down."""
    path = HERE / "unclaimed.txt"
    claimed = {claim.clause for claim in claims()}
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.partition(" ")[0] not in claimed]
    text = "\n".join([re.sub(r"^\d+", str(sum(map(bool, kept))), first), *kept]) + "\n"
    path.write_text(re.sub(r"\n{3,}", "\n\n", text), encoding="utf-8")
    number, left = unclaimed()
    print(f"{len(clauses())} clauses, {len(claimed)} claimed, {number} not:")
    for reason, count in Counter(each.reason for each in left).most_common():
        print(f"{count:4} {reason}")


if __name__ == "__main__":
    main()
