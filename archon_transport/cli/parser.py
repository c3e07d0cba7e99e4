"""Options and help text, made from the table of settings so that neither can miss one.

A parser only collects what was typed; whether it is allowed is decided by `settings.load`, which treats
flags and variables alike.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..settings import Setting, Settings, SettingsError, load, options

PROGRAM = "archon-transport"
EMBEDDER = ("embedder", "embedder_model", "embedder_key")
"""The settings of a command that makes vectors."""

CANNOT = 1
USAGE_ERROR = 2


def fail(message: str, code: int) -> int:
    """Say in one line on stderr what went wrong; `code` is handed back to be returned."""
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """End with the usage code."""
        raise SystemExit(fail(f"{message}; see {PROGRAM} --help", USAGE_ERROR))


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps names such as archon-transport in one piece, so that they can be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def settings_parser(description: str, epilog: str) -> Parser:
    """A parser with every setting, in the groups of the table."""
    parser = Parser(
        prog=PROGRAM,
        usage="%(prog)s [serve [MODULE:NAME]] [options]",
        description=description,
        epilog=epilog,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,  # an abbreviation would break when a setting is added
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in options():
        title = setting.option.group
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(groups[title], setting)
    return parser


DATABASE = ("database_url", "direct_database_url", "data_dir")


def command_parser(command: str, description: str, names: Sequence[str] = DATABASE) -> Parser:
    """A parser for a command that does one thing and ends: with the settings of these names."""
    parser = Parser(
        prog=f"{PROGRAM} {command}",
        description=description,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in options():
        if setting.name in names:
            title = setting.option.group
            if title not in groups:
                groups[title] = parser.add_argument_group(title)
            _add(groups[title], setting)
    return parser


def read_command(parser: Parser, argv: Sequence[str]) -> tuple[Settings, argparse.Namespace]:
    """The settings, and what was typed, of a command.

    Raises:
        SystemExit: something is not allowed; one line on stderr has said what.
    """
    typed = parser.parse_args(argv)
    try:
        return load(vars(typed), os.environ), typed
    except SettingsError as error:
        raise SystemExit(fail(str(error), USAGE_ERROR)) from None


def _add(group: argparse._ArgumentGroup, setting: Setting) -> None:
    text = f"{setting.option.help} [{setting.variable}; default: {setting.default}]".replace("%", "%%")
    metavar = setting.option.metavar or setting.name.upper()
    if setting.switch:
        group.add_argument(
            setting.flag, dest=setting.name, help=text, default=None, action=argparse.BooleanOptionalAction
        )
    elif setting.repeatable:
        group.add_argument(setting.flag, dest=setting.name, help=text, metavar=metavar, action="append")
    else:
        group.add_argument(setting.flag, dest=setting.name, help=text, metavar=metavar)
