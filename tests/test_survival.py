"""What a session survives and what ends it, on real processes.

Servers and databases are killed, put to sleep and moved in time; the same session id must answer 200
after all of it, and its row must say that nothing ended it. Four things end a session, and the two that
a client meets every day (DELETE, a month of silence) are the counterparts that show these tests can fail.
Times asleep are made by moving timestamps back with SQL, jumps of the clock with libfaketime.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.needs import needs
from tests.program import CLIENT, Answer, Caller, Program, closing_numbers, data_directory, ready, until

JUMP_DAYS = 40
GRACE = 3.0
"""Seconds of grace: long enough to call in, short enough to wait for its end."""

SWEEPING = ("--sweep-grace", str(GRACE))

FAKETIME = "usr/lib/*/faketime/libfaketime.so.1"

RENAME = "UPDATE archon_mcp_sessions SET client_name = 'renamed' WHERE session_id = $1"

Start = Callable[..., Program]


class House:
    """One data directory for all tests, whose sessions do not see each other, and the programs on it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.programs: list[Program] = []

    def start(self, *options: str, environ: dict[str, str] | None = None) -> Program:
        """Another program on the directory."""
        self.programs.append(Program(self.home, *options, environ=environ))
        return self.programs[-1].start()

    def empty(self) -> None:
        """Kill every program."""
        while self.programs:
            self.programs.pop().close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """An empty data directory, used by one test after the other."""
    with data_directory() as home:
        house = House(home)
        try:
            yield house
        finally:
            house.empty()


@pytest.fixture
def start(house: House) -> Iterator[Start]:
    """Start a program; the test's first one may be what the last test left, a second one stands beside it."""
    used = False

    def start(*options: str, environ: dict[str, str] | None = None) -> Program:
        nonlocal used
        first, used = not used, True
        if first and len(house.programs) == 1 and house.programs[0].serves(options, environ):
            return house.programs[0]
        if first:
            house.empty()
        return house.start(*options, environ=environ)

    yield start
    for program in house.programs:
        print(f"--- {program.url} printed:\n{program.printed()}")
    if len(house.programs) > 1:
        house.empty()


def lives(program: Program, caller: Caller) -> bool:
    """Whether nothing has ended the session: what its row says, whatever memory says."""
    row = program.row(caller.public_id)
    assert (row["ended_at"] is None) is (row["ended_reason"] is None)
    return row["ended_at"] is None


def written(program: Program, caller: Caller) -> None:
    """Wait until the row has all that the session did: from here on nothing touches it by itself."""

    def is_written() -> bool:
        row = program.row(caller.public_id)
        return bool(row["initialized"]) and row["requests"] == caller.requests

    until(is_written)


def asleep(program: Program, caller: Caller, days: int) -> None:
    """Move the session's times so far back that it is that many days idle."""
    written(program, caller)
    program.sql(
        "UPDATE archon_mcp_sessions SET connected_at = connected_at - make_interval(days => $2),"
        " last_activity = last_activity - make_interval(days => $2) WHERE session_id = $1",
        caller.public_id,
        days,
    )


def remember(caller: Caller) -> str:
    """Make a project in the session; its id."""
    project_id: str = caller.call("manage_project", action="create", title="Kept").tool["project_id"]
    return project_id


def goes_on(caller: Caller, project_id: str) -> None:
    """The session is the one it was, and what was made in it is there."""
    session = caller.call("session_info").tool["session"]
    assert session["session_id"] == caller.public_id
    assert (session["client_name"], session["client_version"]) == CLIENT
    assert caller.call("find_projects", project_id=project_id).tool["project"]["title"] == "Kept"


def comes_back(caller: Caller, project_id: str, *, allowed: set[int]) -> None:
    """Call until the project is found; on the way every answer's status must be one of `allowed`."""

    def found() -> bool:
        answer = caller.call("find_projects", project_id=project_id)
        assert answer.status in allowed, answer
        return answer.status == 200 and answer.tool["success"]

    until(found)


def goes_through(
    caller: Caller, project_id: str, *, program: Program, killed: int, allowed: set[int]
) -> None:
    """Call until another Postgres than the killed one serves, and then until the project is found.

    A call is not enough to tell: what is left of a killed Postgres may answer for a moment more.
    """

    def is_back() -> bool:
        answer = caller.call("session_info")
        assert answer.status in allowed, answer
        return program.postgres_is_back(killed)

    until(is_back)
    comes_back(caller, project_id, allowed=allowed)
    goes_on(caller, project_id)


def is_refused(answer: Answer) -> None:
    """The 404 that tells a client to begin anew."""
    assert answer.status == 404
    assert "initialize" in answer.body["error"]["message"]


def test_kill_9_of_the_server(start: Start) -> None:
    """After kill -9 of the server and a restart the same session id answers 200."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    project_id = remember(caller)
    program.kill().start()
    goes_on(caller, project_id)
    assert lives(program, caller)


@pytest.mark.long
def test_kill_9_of_postgres(start: Start) -> None:
    """A session in memory answers 200 all the while that a killed Postgres comes back."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    project_id = remember(caller)
    killed = program.kill_postgres()
    goes_through(caller, project_id, program=program, killed=killed, allowed={200})
    assert lives(program, caller)


@pytest.mark.long
def test_kill_9_of_postgres_under_a_session_that_sleeps(start: Start) -> None:
    """A session that is only a row is told to come again (503, never 404) until Postgres is back."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    project_id = remember(caller)
    program.kill().start()
    killed = program.kill_postgres()
    goes_through(caller, project_id, program=program, killed=killed, allowed={200, 503})
    assert lives(program, caller)


@pytest.mark.long
def test_kill_9_of_both(start: Start) -> None:
    """After kill -9 of Postgres and of the server, in this order, a restart recovers the session."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    project_id = remember(caller)
    program.kill_postgres()
    program.kill().start()
    goes_on(caller, project_id)
    assert lives(program, caller)


@pytest.mark.long
def test_a_session_in_memory_is_not_read_again(start: Start) -> None:
    """The counterpart of passivation: the row of a session that is awake is not looked at."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    written(program, caller)
    program.sql(RENAME, caller.public_id)
    assert caller.call("session_info").tool["session"]["client_name"] == CLIENT[0]


@pytest.mark.long
@pytest.mark.parametrize("restarted", [False, True], ids=["in memory", "after a restart"])
def test_days_asleep(start: Start, restarted: bool) -> None:
    """After 3 and 29 days asleep a session answers 200; after 31 and the sweep's grace 404, reason idle."""
    program = start(*SWEEPING)
    callers = {days: Caller(program).open() for days in (3, 29, 31)}
    projects = {days: remember(caller) for days, caller in callers.items()}
    for days, caller in callers.items():
        asleep(program, caller, days)
    if restarted:
        program.kill().start()
    until(lambda: not lives(program, callers[31]))  # so the sweep has looked at all three
    for days in (3, 29):
        assert lives(program, callers[days])
        goes_on(callers[days], projects[days])
        assert lives(program, callers[days])
    is_refused(callers[31].call("session_info"))
    row = program.row(callers[31].public_id)
    assert row["ended_reason"] == "idle"


@pytest.mark.long
def test_back_within_the_grace(start: Start) -> None:
    """Who comes back after 31 days, but within the grace that follows a start, keeps the session."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    project_id = remember(caller)
    asleep(program, caller, 31)
    program.kill().start()
    goes_on(caller, project_id)
    witness = Caller(program).open()
    asleep(program, witness, 31)
    until(lambda: not lives(program, witness))  # the grace is over and the sweep has been
    goes_on(caller, project_id)
    assert lives(program, caller)


def test_delete(start: Start) -> None:
    """After DELETE the session is refused with 404, also after a restart; the session beside it goes on."""
    program = start(*SWEEPING)
    caller, other = Caller(program).open(), Caller(program).open()
    project_id = remember(caller)
    assert caller.delete() == 200
    is_refused(caller.call("session_info"))
    assert caller.delete() == 404
    program.kill().start()
    is_refused(caller.call("session_info"))
    row = program.row(caller.public_id)
    assert row["ended_reason"] == "deleted"
    goes_on(other, project_id)
    assert lives(program, other)


@pytest.mark.long
def test_takeover(start: Start) -> None:
    """A second process serves the same session, and takes Postgres over when the first is killed -9."""
    first = start(*SWEEPING)
    caller = Caller(first).open()
    project_id = remember(caller)
    second = start(*SWEEPING)
    elsewhere = caller.at(second)
    goes_on(elsewhere, project_id)
    killed = first.postmaster
    first.kill()
    goes_through(elsewhere, project_id, program=second, killed=killed, allowed={200, 503})
    assert lives(second, caller)
    first.start()
    goes_on(caller, project_id)
    assert elsewhere.delete() == 200
    until(lambda: caller.call("session_info").status == 404, limit=5)


def test_passivation(start: Start) -> None:
    """A session that slept is read from its row again and answers 200."""
    program = start("--session-sleep-after", "0.3")
    caller = Caller(program).open()
    project_id = remember(caller)
    written(program, caller)
    program.sql(RENAME, caller.public_id)  # memory does not look at the row: who knows this name has read it

    def was_read_anew() -> bool:
        return bool(caller.call("session_info").tool["session"]["client_name"] == "renamed")

    # Each look is traffic, so there is more between two of them than it takes to fall asleep.
    until(was_read_anew, pause=1.5)
    assert caller.call("find_projects", project_id=project_id).tool["project"]["title"] == "Kept"
    assert lives(program, caller)


@pytest.mark.long
def test_sigterm_lets_a_slow_call_finish(start: Start) -> None:
    """A call that ends within the drain is answered, new work is told to come back, and the exit is clean."""
    program = start("--drain", "20")
    caller, other = Caller(program).open(), Caller(program).open()
    project_id = remember(caller)
    with program.locked("archon_projects") as release, ThreadPoolExecutor() as pool:
        slow = pool.submit(caller.call, "find_projects", project_id=project_id)
        until(program.waits_for_a_lock)
        program.terminate()
        until(lambda: not ready(program))
        turned_away = other.call("session_info")
        release()
        assert slow.result(20).tool["project"]["title"] == "Kept"
    assert turned_away.status == 503
    assert int(turned_away.headers["retry-after"]) >= 1
    code, printed = program.ended()
    assert code == 0
    assert closing_numbers(printed) == {"calls served": 2, "cut off": 0, "sessions opened": 2}


@pytest.mark.long
def test_sigterm_cuts_off_a_call_that_takes_longer_than_the_drain(start: Start) -> None:
    """What does not end in time gets an error that says so; the exit is clean and the session stays."""
    program = start("--drain", "0.5")
    caller = Caller(program).open()
    project_id = remember(caller)
    with program.locked("archon_projects"), ThreadPoolExecutor() as pool:
        slow = pool.submit(caller.call, "find_projects")
        until(program.waits_for_a_lock)
        program.terminate()
        answer = slow.result(20)
        code, printed = program.ended()
    assert answer.status == 200
    assert "The server stopped while this call ran" in answer.body["error"]["message"]
    assert code == 0
    assert closing_numbers(printed) == {"calls served": 2, "cut off": 1, "sessions opened": 1}
    program.start()
    goes_on(caller, project_id)
    assert lives(program, caller)


@pytest.fixture
def clock() -> Iterator[tuple[Path, dict[str, str]]]:
    """A file whose text is added to the time of every process that gets the variables beside it."""
    needs("faketime", "apt-get install faketime")
    (library,) = Path("/").glob(FAKETIME)
    directory = Path(tempfile.mkdtemp(prefix="archon-test-clock-"))
    directory.chmod(0o711)  # Postgres's account reads it too
    file = directory / "offset"
    yield (
        file,
        {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        },
    )
    shutil.rmtree(directory)


def turn(file: Path, days: int) -> None:
    """Set the clock that many days ahead, for all processes in one instant."""
    new = file.with_name("new")
    new.write_text(f"+{days}d\n")
    new.chmod(0o644)
    new.rename(file)


@pytest.mark.long
@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "before a restart"])
def test_the_clock_jumps(start: Start, clock: tuple[Path, dict[str, str]], restarted: bool) -> None:
    """When every clock jumps by 40 days nobody is ended within the grace, and who called in it stays."""
    file, environ = clock
    turn(file, 0)
    program = start(*SWEEPING, environ=environ)
    returning, absent = Caller(program).open(), Caller(program).open()
    project_id = remember(returning)
    written(program, returning)
    written(program, absent)
    if restarted:
        program.kill()
    else:  # until a sweep has ended something: what follows is the grace of the jump, not that of the start
        witness = Caller(program).open()
        asleep(program, witness, 31)
        until(lambda: not lives(program, witness))
    turn(file, JUMP_DAYS)
    jumped = time.monotonic()
    if restarted:
        program.start()
    assert program.row(absent.public_id)["idle"].days == JUMP_DAYS
    goes_on(returning, project_id)
    until(lambda: not lives(program, absent))
    assert time.monotonic() - jumped >= GRACE
    assert program.row(absent.public_id)["ended_reason"] == "idle"
    is_refused(absent.call("session_info"))
    goes_on(returning, project_id)
    assert lives(program, returning)


@pytest.mark.long
def test_killed_again_and_again_under_work(start: Start) -> None:
    """Kills under constant calls: no answer is a 404, and what was answered with success is kept."""
    program = start(*SWEEPING)
    caller = Caller(program).open()
    kept: list[str] = []
    statuses: set[int] = set()
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                answer = caller.call("manage_project", action="create", title="Kept")
            except (OSError, HTTPException):  # there is no server at the moment
                continue
            statuses.add(answer.status)
            if answer.status == 200 and answer.body.get("result", {}).get("structuredContent", {}).get(
                "success"
            ):
                kept.append(answer.tool["project_id"])

    with ThreadPoolExecutor() as pool:
        working = pool.submit(work)
        try:
            for kill_postgres in (True, False, True, False, True):
                goal = len(kept) + 20
                until(lambda goal=goal: len(kept) > goal or working.done())
                killed = program.postmaster
                if kill_postgres:
                    program.kill_postgres()
                else:
                    program.kill().start()
                until(lambda killed=killed: program.postgres_is_back(killed))
        finally:
            done.set()
        working.result(30)
    assert statuses <= {200, 503}
    comes_back(caller, kept[0], allowed={200, 503})
    stored = {str(row["id"]) for row in program.sql("SELECT id FROM archon_projects")}
    assert set(kept) <= stored
    assert lives(program, caller)
