"""Settings as the command line and the environment give them, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import ValidationError

from .record import Settings
from .values import Option, SettingsError

FALLBACK_VARIABLES = {"database_url": "DATABASE_URL"}
"""Variables of others that are honoured after our own."""

_SECRET_PARAMETERS = {"password", "sslpassword"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One option with every name it has and its default as a user writes it."""

    name: str
    flag: str
    variable: str
    default: str
    option: Option
    switch: bool
    repeatable: bool


def options() -> tuple[Setting, ...]:
    """Every setting in the order of `Settings`, which is the order of the help text."""
    return tuple(_setting(name) for name in Settings.model_fields)


def _setting(name: str) -> Setting:
    field = Settings.model_fields[name]
    option = next(item for item in field.metadata if isinstance(item, Option))
    return Setting(
        name=name,
        flag="--" + name.replace("_", "-"),
        variable="ARCHON_" + name.upper(),
        default=_shown(field.default, option),
        option=option,
        switch=isinstance(field.default, bool),
        repeatable=isinstance(field.default, tuple),
    )


def _shown(default: object, option: Option) -> str:
    if default is None or default == ():
        return option.unset
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default / 86400:g}d" if default >= 86400 else f"{default:g}"
    return str(default)


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """The settings that apply: `flags` (by field name, None where not given), then `environ`, then defaults.

    Raises:
        SettingsError: a value is not allowed; the text names the flag or variable it came from.
    """
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in options():
        for origin, value in _sources(setting, flags, environ):
            if value not in (None, "", []):
                given[setting.name], origins[setting.name] = value, origin
                break
    try:
        return Settings(**given)
    except ValidationError as error:
        name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        raise SettingsError(_complaint(name, origins[name], given[name])) from None


def _sources(setting: Setting, flags: Mapping[str, Any], environ: Mapping[str, str]) -> list[tuple[str, Any]]:
    found = [(setting.flag, flags.get(setting.name)), (setting.variable, environ.get(setting.variable))]
    if fallback := FALLBACK_VARIABLES.get(setting.name):
        found.append((fallback, environ.get(fallback)))
    return found


def _complaint(name: str, origin: str, value: object) -> str:
    option = _setting(name).option
    was = "" if option.secret else f", not {', '.join(value) if isinstance(value, list) else value!r}"
    return f"{origin} must be {option.allowed}{was}"


def redact(url: str) -> str:
    """A database URL that may be shown: the password in its user part or its query is three stars."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "postgresql://***"
    if "@" in parts.path + parts.query + parts.fragment:  # perhaps a password with an unescaped / ? or #
        return "postgresql://***"
    who, at, where = parts.netloc.rpartition("@")
    user, colon, _ = who.partition(":")
    shown = [(key, "***" if key.lower() in _SECRET_PARAMETERS else value) for key, value in query]
    options = "?" + urlencode(shown, safe="*/", quote_via=quote) if shown else ""
    return f"{parts.scheme}://{user}{colon and ':***'}{at}{where}{parts.path}{options}"
