"""The skip that names what is missing, and that CI turns into a failure."""

import pytest
from _pytest.outcomes import Failed, Skipped

from tests.needs import needs, needs_module

MISSING = [
    pytest.param(lambda: needs("no-such-program", "apt-get install it"), "no-such-program", id="program"),
    pytest.param(lambda: needs_module("no_such_module", "apt-get install it"), "no_such_module", id="module"),
]


@pytest.mark.parametrize(("need", "name"), MISSING)
@pytest.mark.parametrize(("required", "outcome"), [("", Skipped), ("1", Failed)])
def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch, need, name, required, outcome):
    """A person is told what to install; where everything has to run it is a failure."""
    monkeypatch.setenv("ARCHON_TESTS_REQUIRE_ALL", required)
    with pytest.raises(outcome, match=f"{name} is not installed: apt-get install it"):
        need()


def test_what_is_there_is_found():
    """A program comes back as its path, a module lets the test go on."""
    assert needs("sh", "unneeded").endswith("/sh")
    needs_module("pytest", "unneeded")
