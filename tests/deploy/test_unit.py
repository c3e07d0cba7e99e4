"""The systemd unit: it is understood, hardened, and fits the program that it starts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from archon_transport.process.run import CLOSE_TIMEOUT, DRAIN_MARGIN
from archon_transport.settings import Settings
from tests.needs import needs

UNIT = Path(__file__).parents[2] / "deploy" / "archon-transport.service"
INSTALL = "apt-get install systemd"


def checked(path, *arguments):
    """Run systemd-analyze over a copy whose program exists on this machine."""
    analyze = needs("systemd-analyze", INSTALL)
    result = subprocess.run(
        [analyze, *arguments, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture
def unit(tmp_path):
    """Write the unit, changed by the given substitutions, with a program that exists."""

    def write(*changes):
        text = UNIT.read_text()
        for pattern, replacement in ((r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}"), *changes):
            text, count = re.subn(pattern, replacement, text)
            assert count == 1, f"{pattern} is in the unit {count} times"
        copy = tmp_path / UNIT.name
        copy.write_text(text)
        return copy

    return write


def test_systemd_understands_every_line(unit):
    """`verify` ends well and prints nothing: a misspelt value is only printed."""
    code, output = checked(unit(), "verify")
    assert (code, mentions(output)) == (0, [])


@pytest.mark.parametrize(
    "change", [("Type=notify", "Type=notifi"), ("KillMode=mixed", "KillMode=mixt"), ("UMask=", "Umask=")]
)
def test_a_misspelt_line_is_noticed(unit, change):
    """The check above finds what it is for."""
    _, output = checked(unit(change), "verify")
    assert mentions(output)


def mentions(output):
    """What is said about our unit; those of the machine are not ours to mend."""
    return [line for line in output.splitlines() if UNIT.name in line]


def test_the_sandbox_is_tight(unit):
    """systemd's own measure of exposure stays at 2.0 of 10 or below."""
    code, output = checked(unit(), "security", "--offline=yes", "--threshold=20")
    assert code == 0, output


def value(name):
    """What the unit sets `name` to."""
    (found,) = re.findall(rf"(?m)^{name}=(.*)$", UNIT.read_text())
    return found


def test_the_unit_fits_the_program():
    """It waits for READY=1, signals the server alone, and starts what the package installs."""
    assert value("Type") == "notify"
    assert value("KillMode") == "mixed"
    assert value("ExecStart").split()[0].endswith("/bin/archon-transport")
    assert value("Environment") == f"ARCHON_DATA_DIR=%S/{value('StateDirectory')}"


def test_the_unit_waits_longer_than_stopping_takes():
    """Drain, connections and database each have a limit; systemd kills only after all of them."""
    assert float(value("TimeoutStopSec")) > Settings().drain + DRAIN_MARGIN + 2 * CLOSE_TIMEOUT


def test_the_unit_of_many_nodes_differs_in_what_it_is_for():
    """Line for line the same unit, but for its name and the shared port: one is not forgotten for the other."""
    one, many = (
        path.read_text().partition("[Unit]")[2].splitlines()
        for path in (UNIT, UNIT.with_name("archon-transport@.service"))
    )
    assert [(a, b) for a, b in zip(one, many, strict=True) if a != b] == [
        ("Description=Archon MCP server", "Description=Archon MCP server, node %i"),
        (
            "ExecStart=/opt/archon-transport/bin/archon-transport serve",
            "ExecStart=/opt/archon-transport/bin/archon-transport serve --reuse-port",
        ),
    ]
