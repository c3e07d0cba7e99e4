"""The clauses of the specification, and which tests claim to show them.

A test claims clauses with `@pytest.mark.spec("H-05", "H-20")`, a scenario of `tests/transport/scenarios` by the ids
in its table. Both are read from the sources, so nothing has to run; what does not stand there as plain text is an
error. `unclaimed.txt` has the rest, each with its reason; `python -m tests.spec` takes out of it what is claimed by
now.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
TESTS: Final = HERE.parent
SCENARIOS: Final = TESTS / "transport" / "scenarios"
SCENARIO_TEST: Final = "tests/transport/test_streams_scenarios.py::test_scenario"

REVISIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
LEVELS: Final = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "duty", "note", "corner")


@dataclass(frozen=True, slots=True)
class Clause:
    """One duty: how binding it is, for whom, from which revision to which, and where it stands."""

    id: str
    first: str
    last: str
    level: str
    who: str
    duty: str
    place: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A test says that it shows a clause. `test` is the beginning of its name as pytest collects it."""

    clause: str
    test: str


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """A clause that no test shows, and why."""

    clause: str
    reason: str


def clauses() -> dict[str, Clause]:
    """Every clause by its id, in the order of the list."""
    listed = tomllib.loads((HERE / "clauses.toml").read_text(encoding="utf-8"))
    return {name: _clause(name, **facts) for name, facts in listed.items()}


def _clause(name: str, *, revisions: str, level: str, duty: str, place: str, who: str = "server") -> Clause:
    first, _, last = revisions.partition(" to ")
    return Clause(name, first, last or first, level, who, duty, place)


def claims() -> list[Claim]:
    """Every claim of every test and scenario."""
    found: list[Claim] = []
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS.parent).as_posix()
        found += marked(path.read_text(encoding="utf-8"), name)
    for path in sorted(SCENARIOS.glob("*.py")):
        found += tabled(path.read_text(encoding="utf-8"))
    return found


def marked(source: str, name: str) -> Iterator[Claim]:
    """The claims of the markers in one test file.

    Raises:
        ValueError: a marker that does not decorate a test, or whose ids are not plain texts.
    """
    tree = ast.parse(source)
    used = 0
    for test, function in _tests(tree):
        for decorator in function.decorator_list:
            for call in _markers(decorator):
                used += 1
                yield from (Claim(clause, f"{name}::{test}") for clause in _texts(call.args, name))
    if used != len(list(_markers(tree))):
        raise ValueError(f"{name}: a spec marker must decorate a test function")


def tabled(source: str) -> Iterator[Claim]:
    """The claims of the scenarios in one table: name, rule, clauses, steps."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Scenario":
            name, ids = ast.literal_eval(node.args[0]), ast.literal_eval(node.args[2])
            yield from (Claim(clause, f"{SCENARIO_TEST}[{name}-") for clause in ids)


def _tests(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, node


def _markers(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.spec":
            yield node


def _texts(args: list[ast.expr], name: str) -> Iterator[str]:
    for arg in args:
        if not isinstance(arg, ast.Constant) or not isinstance(arg.value, str):
            raise ValueError(f"{name}: the ids of a spec marker are plain texts, not {ast.unparse(arg)}")
        yield arg.value


def unclaimed() -> tuple[int, list[Unclaimed]]:
    """How many clauses the list says that it has, and those that it has."""
    first, *lines = (HERE / "unclaimed.txt").read_text(encoding="utf-8").splitlines()
    number = re.match(r"\d+", first)
    if number is None:
        raise ValueError("the first line of unclaimed.txt begins with the number of its clauses")
    listed = [line.partition(" ") for line in lines if line]
    return int(number[0]), [Unclaimed(clause, reason.strip()) for clause, _, reason in listed]
