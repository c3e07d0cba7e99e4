"""Clauses and tests, in both directions: what is claimed is there, and what is there is claimed or excused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.spec import LEVELS, REVISIONS, TESTS, claims, clauses, marked, tabled, unclaimed
from tests.transport.scenarios.clauses import CLAUSES as SHOWN_BY_SCENARIOS

MODERN = "modern era: no test yet"
CLIENTS = "a client's duty"


def test_the_list_is_whole():
    """Each clause has a known level, revisions that exist, a sentence and a place."""
    for clause in clauses().values():
        assert re.fullmatch(r"[A-Z]-\d\d+", clause.id), clause.id
        assert clause.level in LEVELS, clause.id
        assert clause.who in ("server", "client"), clause.id
        assert REVISIONS.index(clause.first) <= REVISIONS.index(clause.last), clause.id
        assert clause.duty.endswith(".") and " " in clause.duty, clause.id
        assert clause.place, clause.id


def test_the_list_is_in_order():
    """Ids of one letter rise, so that one finds them; each sentence is about one thing and stands once."""
    places = {}
    for name in clauses():
        letter, _, number = name.partition("-")
        assert int(number) > places.get(letter, 0), name
        places[letter] = int(number)
    assert [duty for duty, count in Counter(c.duty for c in clauses().values()).items() if count > 1] == []


def test_every_clause_is_claimed_or_excused_and_never_both():
    """What no test shows stands in unclaimed.txt; what a test shows no longer does."""
    claimed = {claim.clause for claim in claims()}
    excused = {each.clause for each in unclaimed()[1]}
    assert sorted(set(clauses()) - claimed - excused) == [], "claimed by no test, and without a reason"
    assert sorted(claimed & excused) == [], "claimed by a test: take them out of unclaimed.txt"


def test_every_claim_is_about_a_clause():
    """A claimed or excused id is one of the list, and a test claims it once."""
    assert sorted({claim.clause for claim in claims()} - set(clauses())) == []
    assert sorted({each.clause for each in unclaimed()[1]} - set(clauses())) == []
    assert sorted(set(SHOWN_BY_SCENARIOS) - set(clauses())) == []
    assert [claim for claim, count in Counter(claims()).items() if count > 1] == []


def test_every_claiming_test_is_collected():
    """pytest finds each test and each scenario that claims something, the long ones among them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, str(TESTS)], cwd=TESTS.parent, capture_output=True, text=True, timeout=55, check=False
    )
    assert found.returncode == 0, found.stdout[-2000:]
    names = {line for line in found.stdout.splitlines() if "::" in line}
    names |= {name.partition("[")[0] for name in names}
    beginnings = {re.split(r"(?<=-)\d{4}-\d\d-\d\d", name)[0] for name in names if "test_scenario[" in name}
    missing = {claim.test for claim in claims()} - names - beginnings
    assert sorted(missing) == []


def test_the_unclaimed_may_only_become_fewer():
    """The number in the first line is that of the lines below, so a clause more is seen in any review."""
    number, listed = unclaimed()
    assert number == len(listed)
    assert len({each.clause for each in listed}) == number
    assert [each.clause for each in listed if len(each.reason) < 10] == []


def test_reasons_fit_their_clauses():
    """Only what binds clients is called a client's duty, and only what the modern era has is put off to it."""
    known = clauses()
    reasons = {known[each.clause]: each.reason for each in unclaimed()[1]}
    assert [
        clause.id for clause, reason in reasons.items() if reason == CLIENTS and clause.who != "client"
    ] == []
    assert [
        clause.id for clause, reason in reasons.items() if reason == MODERN and clause.last != REVISIONS[-1]
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        '@pytest.mark.spec("X-1", "X-2")\ndef test_a(): ...',
        '@pytest.mark.spec("X-1", "X-2")\nasync def test_a(): ...',
        '@pytest.mark.long\n@pytest.mark.spec("X-1")\n@pytest.mark.spec("X-2")\ndef test_a(): ...',
        '@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.spec("X-1", "X-2"))])\n'
        "def test_a(x): ...",
    ],
)
def test_a_marker_is_found(source):
    """Above a test of either kind, also beside other markers and at one row of a table."""
    assert [(c.clause, c.test) for c in marked(source, "f.py")] == [
        ("X-1", "f.py::test_a"),
        ("X-2", "f.py::test_a"),
    ]


@pytest.mark.parametrize(
    "source",
    [
        '@pytest.mark.spec("X-1")\ndef helper(): ...',
        '@pytest.fixture\n@pytest.mark.spec("X-1")\ndef house(): ...',
        'pytestmark = pytest.mark.spec("X-1")',
        'ROWS = [pytest.param(1, marks=pytest.mark.spec("X-1"))]',
        "@pytest.mark.spec(NAME)\ndef test_a(): ...",
        '@pytest.mark.spec(*["X-1"])\ndef test_a(): ...',
    ],
)
def test_a_marker_that_would_be_overlooked_is_an_error(source):
    """A claim that this reading does not understand is never silently lost."""
    with pytest.raises(ValueError, match="spec marker"):
        list(marked(source, "f.py"))


def test_a_scenario_claims_what_its_table_says():
    """The third place of a scenario has its clauses."""
    (claim,) = tabled('SCENARIOS = (Scenario("s", "A rule.", ("X-1",), (step(),), revisions=ALL),)')
    assert (claim.clause, claim.test.partition("::")[2]) == ("X-1", "test_scenario[s-")
