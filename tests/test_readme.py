"""The README tells the truth: its commands are those that CI runs, its demo is a script, its names exist.

Prose cannot be tested, but every command, flag, variable, link and room in it can. The long test is a
stranger: it copies the sources and runs the first command as it stands there.
"""

import configparser
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from archon_transport.settings import FALLBACK_VARIABLES, options
from tests.process.served import clean_environment
from tests.program import data_directory, free_port, until

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
DEMO = ROOT / "deploy" / "demo.sh"

MAX_LINES = 200
ENDING_LIMIT = 25.0
SERVES_WITHIN = 60.0
"""Seconds from the clone to the first answer, with everything that has to be downloaded."""


def blocks(language: str) -> list[str]:
    """The contents of the code blocks in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)


def commands() -> list[str]:
    """Every line of the shell blocks but the demo's."""
    return [line for block in blocks("sh") if block != demo() for line in block.splitlines()]


def demo() -> str:
    return DEMO.read_text(encoding="utf-8")


def the_command(ending: str) -> str:
    """The one command that ends in these words."""
    (found,) = [line for line in commands() if line.endswith(ending)]
    return found


RUN = the_command("-m archon_transport")
TEST = the_command("-m pytest -q")


def test_it_can_be_read_in_one_go():
    """Nobody reads more than 200 lines before trying something."""
    assert len(README.splitlines()) <= MAX_LINES


def test_the_demo_is_the_script_that_runs():
    """The README shows the whole of it word for word, before any other command, and says where it is."""
    assert blocks("sh")[0] == demo()
    assert f"`{DEMO.relative_to(ROOT)}`" in README.partition("```")[0]


def test_both_commands_prepare_the_machine_in_the_same_way():
    """They differ in the extras that they install and in the module that they run, in nothing else."""
    assert re.sub(r"\[server,test\]", "[server]", TEST).removesuffix("pytest -q") + "archon_transport" == RUN


def test_ci_runs_the_test_command_word_for_word():
    """CI reads its command out of the README, and finds the one that is meant."""
    function = re.search(r"(?ms)^readme_test_command\(\) \{.*?^\}$", CI)
    assert function is not None
    script = f"{function[0]}\nreadme_test_command"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout == TEST + "\n"
    assert re.search(r'(?m)^bash -euo pipefail -c "\$test_command"$', CI)


def test_what_tests_need_beside_python_is_named_and_installed():
    """The programs that tests ask for are those that the README names and that CI installs."""
    sentence = re.search(r"Those that need a program which is not there \((.*?)\)", README, re.DOTALL)
    block = re.search(r"(?ms)^NEEDED=\((.*?)^\)", CI)
    assert sentence is not None
    assert block is not None
    named = re.findall(r"`([\w-]+)`", sentence[1])
    assert re.findall(r'"([\w-]+) [\w.-]+"', block[1]) == named
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    asked = {name for source in sources for name in re.findall(r'\bneeds\(\s*"([\w-]+)"', source)}
    assert asked - {"no-such-program", "sh"} == set(named)


def test_every_flag_and_variable_exists():
    """In the prose, and in the shell blocks behind the name of our program; other flags are of others."""
    prose = re.sub(r"(?ms)^```sh\n.*?^```$", "", README)
    lines = re.findall(r"(?:-m archon_transport|bin/archon-transport)\b(.*)", README)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join([prose, *lines])))
    assert len(named) > 3
    commands = (ROOT / "archon_transport" / "cli").glob("*.py")
    theirs = {flag for path in commands for flag in re.findall(r'"(--[a-z-]+)"', path.read_text())}
    assert named <= {setting.flag for setting in options()} | theirs | {"--help"}
    variables = {setting.variable for setting in options()} | set(FALLBACK_VARIABLES.values())
    assert set(re.findall(r"\b(?:ARCHON|DATABASE)_[A-Z_]+\b", README)) <= variables


def test_a_table_row_names_the_flag_and_the_variable_of_one_setting():
    """Nobody is sent to the variable of another flag."""
    of_flag = {setting.flag: setting.variable for setting in options()}
    rows = re.findall(r"(?m)^\| (`--.*?) \| (.*?) \|", README)
    assert rows
    for flags, variables in rows:
        expected = [of_flag[flag] for flag in re.findall(r"`(.*?)`", flags)]
        assert re.findall(r"`(ARCHON_.*?)`", variables) == expected


def test_every_extra_and_every_module_exists():
    """What is installed with brackets is in setup.cfg, what is run with -m can be found."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = {extra for extras in re.findall(r"\.\[([\w,]+)\]", README) for extra in extras.split(",")}
    assert named
    assert named <= set(config["options.extras_require"])
    modules = set(re.findall(r"-m ([a-z_][\w.]+)", README)) - {"venv"}
    assert {module for module in modules if importlib.util.find_spec(module) is None} == set()


def test_every_link_and_path_leads_somewhere():
    """Files of the repository that are linked to or copied from are there."""
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(
        r"(?<=[ `])(?:deploy|tests)/[\w./-]+", README
    )
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_map_has_every_room_and_no_other():
    """A room that was added is on the map, and one that is gone is not."""
    mapped = re.findall(r"(?m)^\| `(archon_transport/\w+/|\w+/|archon_transport/\w+\.py)` \|", README)
    package = ROOT / "archon_transport"
    rooms = {f"archon_transport/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {f"archon_transport/{path.name}" for path in package.glob("[a-z]*.py")}
    assert sorted(mapped) == sorted(rooms | modules | {"deploy/", "tests/"})


def test_clients_are_shown_the_address_that_is_the_default():
    """Each snippet connects to where the first command listens, and the JSON is valid."""
    default = {setting.name: setting.default for setting in options()}
    address = f"http://{default['host']}:{default['port']}{default['path']}"
    section = README.partition("## Connect your client")[2].partition("\n## ")[0]
    assert set(re.findall(r"https?://[^\s\"'`]+", section)) == {address}
    for snippet in [*blocks("json"), *re.findall(r"--add-mcp '(.*)'", section)]:
        assert address in str(json.loads(snippet))


@pytest.fixture
def clone(tmp_path):
    """The sources as a clone has them, without anything that was built or installed."""
    ignored = [line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    copy = tmp_path / "clone"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", *filter(None, ignored)))
    return copy


@pytest.fixture
def home():
    with data_directory() as directory:
        yield directory


@contextlib.contextmanager
def running(command: str, folder: Path, environ: dict[str, str]):
    """A command line in a process group of its own, ended as by Ctrl-C; gives the file of its output."""
    output = folder.with_name("output")
    with output.open("wb") as sink:
        process = subprocess.Popen(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
    try:
        yield process, output
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(ENDING_LIMIT)


@pytest.mark.long
@pytest.mark.timeout(200)
def test_the_first_command_serves_a_stranger_within_a_minute(clone, home):
    """In a fresh copy, without a venv and without data: installed, started and answering."""
    port = free_port()
    environ = clean_environment({"ARCHON_PORT": str(port), "ARCHON_DATA_DIR": str(home)})
    del environ["PYTHONPATH"]  # the copy runs its own sources
    began = time.monotonic()
    with running(RUN, clone, environ) as (process, output):
        until(lambda: "Add it to a client" in output.read_text() or process.poll() is not None, limit=150)
        took = time.monotonic() - began
        assert process.poll() is None, output.read_text()
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/ready")
        assert connection.getresponse().status == 200
        connection.close()
    assert took < SERVES_WITHIN
    assert "all sessions kept" in output.read_text()
