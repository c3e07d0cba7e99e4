"""Generated requests in bulk: no 5xx but 503, no traceback, no answer that is not JSON-RPC, no growing memory."""

from __future__ import annotations

import pytest

from tests.fuzz.run import run


def test_a_few():
    """2,000 generated requests leave the server whole."""
    report = run(2_000, seed=2)
    assert report.tally.faults == [], report
    assert report.tracebacks == 0, report
    assert report.tally.sent == 2_000
    assert report.tally.statuses["200"] > 300, "most of them must reach the server's inside"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_many():
    """200,000 requests: the memory at the end is at most 1.1 times that after a tenth of them."""
    report = run(200_000, seed=1)
    assert report.tally.faults == [], report
    assert report.tracebacks == 0, report
    assert report.growth <= 1.1, report
