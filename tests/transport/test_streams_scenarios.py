"""Scenarios over a real server on a real socket, each at every revision it is about and over both stores."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import pytest

from tests.transport.scenarios import calls, faults, listening, posts, questions, resuming
from tests.transport.scenarios.clauses import CLAUSES

SCENARIOS = tuple(
    scenario
    for table in (posts, listening, resuming, calls, questions, faults)
    for scenario in table.SCENARIOS
)
RUNS = [(scenario, *run) for scenario in SCENARIOS for run in scenario.runs()]


@pytest.fixture(scope="module")
def database(postgres):
    """One database for all scenarios, each of which has sessions of its own."""
    name = f"scenarios_{uuid.uuid4().hex[:12]}"

    async def execute(statement):
        connection = await asyncpg.connect(postgres)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    yield postgres.replace("/postgres?", f"/{name}?")
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def place(request):
    """The DSN of a run over Postgres, None over memory."""
    return request.getfixturevalue("database") if request.param == "postgres" else None


@pytest.mark.parametrize(
    ("scenario", "revision", "place", "host_cancels"),
    [
        pytest.param(*run, id="-".join([run[0].name, run[1], run[2], *(["cancelling"] if run[3] else [])]))
        for run in RUNS
    ],
    indirect=["place"],
)
async def test_scenario(scenario, revision, place, host_cancels, monkeypatch):
    """What the scenario's rule says."""
    await scenario.play(revision, place, monkeypatch, host_cancels=host_cancels)


def table():
    """Which scenarios show each clause."""
    return {clause: [s.name for s in SCENARIOS if clause in s.clauses] for clause in CLAUSES}


def test_every_clause_is_shown():
    """No clause is without a scenario, no scenario names what is not a clause, and names are unique."""
    assert [clause for clause, names in table().items() if not names] == []
    assert {clause for scenario in SCENARIOS for clause in scenario.clauses} <= set(CLAUSES)
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_no_section_is_cut_short():
    """The clauses of a section are numbered without a gap, so that none can be forgotten in the list."""
    sections = ((10, 22), (25, 31), (35, 42), (90, 102))
    numbers = {f"H-{number}" for first, last in sections for number in range(first, last + 1)}
    assert numbers <= set(CLAUSES)
