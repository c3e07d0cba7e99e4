"""The real program that the clients of this folder talk to, each with sessions of its own."""

from collections.abc import Iterator

import pytest

from tests.program import Program, data_directory


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """A server on a data directory that was empty before."""
    with data_directory() as home, Program(home) as program:
        yield program.start()
