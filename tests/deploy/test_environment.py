"""The example of an environment file: every variable, with its default, and nothing that is not read."""

import re
from pathlib import Path

from archon_transport.settings import Settings, load, options

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "deploy" / "environment.example").read_text()
LINE = re.compile(r"(?m)^#(ARCHON_[A-Z_]+)=(.*)$")


def test_every_setting_is_there_with_its_help_and_its_default():
    """A new setting that is missing here, or a default that moved, fails."""
    lines = dict(LINE.findall(EXAMPLE))
    prose = re.sub(r"\s*\n# ", " ", EXAMPLE)
    for setting in options():
        default = "" if setting.default == setting.option.unset else setting.default
        assert lines.get(setting.variable) == default, setting.variable
        assert setting.option.help in prose, setting.variable


def test_nothing_is_set_and_everything_is_a_comment():
    """Copied as it is, the file changes nothing."""
    assert all(line.startswith("#") for line in EXAMPLE.splitlines() if line)


def test_the_defaults_may_be_uncommented():
    """Each line is one that the program accepts, and means what happens without it."""
    assert load({}, dict(LINE.findall(EXAMPLE))) == Settings()


def test_every_variable_of_the_package_is_there_and_no_other():
    """What the code reads from ARCHON_* is what the file lists."""
    sources = "\n".join(path.read_text() for path in (ROOT / "archon_transport").rglob("*.py"))
    read = set(re.findall(r"""["'](ARCHON_[A-Z_]+)["']""", sources)) - {"ARCHON_"}
    assert set(dict(LINE.findall(EXAMPLE))) == read | {setting.variable for setting in options()}
