"""One record of settings, from flags, then `ARCHON_*` variables, then defaults.

The fields of `Settings` are the single source: flag, variable, help text, default and the sentence that
an error quotes are all read from them (`options()`). The command line hands in what was typed, as text;
nothing else in the package reads an option from the environment. An empty variable counts as not set.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

FALLBACK_VARIABLES = {"database_url": "DATABASE_URL"}
"""Variables of others that are honoured after our own."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SECRET_PARAMETERS = {"password", "sslpassword"}


class SettingsError(Exception):
    """A setting that cannot be used; the text is one line that names it and says what is allowed."""


@dataclass(frozen=True, slots=True)
class Option:
    """What a user is told about one field; `allowed` completes the sentence "must be ..."."""

    group: str
    help: str
    allowed: str
    metavar: str | None = None
    unset: str = "none"
    secret: bool = False


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


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip().lower())
    if found is None:
        raise ValueError("not a duration")
    return float(found[1]) * _UNITS[found[2]]


def _seconds_or_never(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() in ("none", "never"):
        return None
    return _seconds(value) or None


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _names(value: object) -> object:
    """Split what was typed: each text may hold several names, separated by commas."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence):
        return value
    return tuple(part.strip() for text in texts for part in str(text).split(",") if part.strip())


def _each(pattern: str) -> AfterValidator:
    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(pattern, name) for name in names):
            raise ValueError("not such a name")
        return names

    return AfterValidator(check)


def _bindable(host: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise ValueError("not an address")
    return host


def _endpoint(path: str) -> str:
    trimmed = path.rstrip("/")
    if not re.fullmatch(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+", trimmed) or trimmed in ("/health", "/ready"):
        raise ValueError("not a path for the endpoint")
    return trimmed


def _postgres(url: str | None) -> str | None:
    """Check the shape only, as far as it takes to know where the password ends."""
    if url is None:
        return None
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if parts.scheme not in ("postgres", "postgresql") or "@" in parts.path or parts.fragment:
        raise ValueError("not a Postgres URL")
    if not all(re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]*)(:\d+)?", host) for host in hosts):
        raise ValueError("not a host and a port")
    return url


def _absolute(path: Path | None) -> Path | None:
    try:
        return None if path is None else path.expanduser().absolute()
    except RuntimeError as error:  # ~name of a user who does not exist
        raise ValueError(str(error)) from None


_HOST_NAME = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(\d{1,5}|\*))?"
_Seconds = Annotated[float, BeforeValidator(_seconds), Field(allow_inf_nan=False)]

_LISTEN = "where it listens"
_GUARDS = "who may connect"
_DATA = "where data lives"
_SESSIONS = "sessions"
_PROCESS = "the process"


class Settings(BaseModel):
    """Everything that can be set, checked. Durations are seconds."""

    # Errors and representations of this record never show what was put in: a database URL has a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Annotated[
        str,
        AfterValidator(_bindable),
        Option(_LISTEN, "address to listen on", "an address or a host name"),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Field(ge=0, le=65535),
        Option(_LISTEN, "port to listen on; 0 takes a free one", "a whole number from 0 to 65535"),
    ] = 8051
    path: Annotated[
        str,
        AfterValidator(_endpoint),
        Option(
            _LISTEN,
            "path of the MCP endpoint",
            'a path such as /mcp, made of letters, digits and "._~-", other than /health and /ready',
        ),
    ] = "/mcp"

    allow_host: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        _each(_HOST_NAME),
        Option(
            _GUARDS,
            "Host header to accept beside the loopback names, as NAME, NAME:PORT or NAME:*; may be repeated",
            "host names without a scheme, such as archon.example.com or archon.example.com:8051",
            metavar="NAME",
        ),
    ] = ()
    allow_origin: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        _each(r"[a-z][a-z0-9+.-]*://" + _HOST_NAME),
        Option(
            _GUARDS,
            "Origin to accept beside the loopback ones, for clients in a browser; may be repeated",
            "origins without a path, such as https://app.example.com",
            metavar="ORIGIN",
        ),
    ] = ()
    allow_unauthenticated: Annotated[
        bool,
        BeforeValidator(_lower),
        Option(_GUARDS, "serve other machines although nobody has to log in", "true or false"),
    ] = False

    database_url: Annotated[
        str | None,
        AfterValidator(_postgres),
        Field(repr=False),
        Option(
            _DATA,
            "Postgres to use instead of the embedded one; better as the variable (DATABASE_URL is read too), "
            "because flags show in the list of processes",
            "a URL such as postgresql://user:password@host:5432/database (special characters written as %40)",
            metavar="URL",
            unset="an embedded Postgres in the data directory",
            secret=True,
        ),
    ] = None
    data_dir: Annotated[
        Path | None,
        AfterValidator(_absolute),
        Option(
            _DATA,
            "directory of the embedded Postgres",
            "a path",
            metavar="PATH",
            unset="/var/lib/archon-transport for root, else ~/.local/share/archon-transport",
        ),
    ] = None

    session_idle_timeout: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False),
        BeforeValidator(_seconds_or_never),
        Option(
            _SESSIONS,
            "end a session after this long without traffic; 0 or none for never",
            "a duration such as 30d, 12h or 3600, or none",
            metavar="DURATION",
        ),
    ] = 30 * 86400.0
    session_sleep_after: Annotated[
        _Seconds,
        Field(gt=0),
        Option(
            _SESSIONS,
            "drop a session from memory after this long without traffic; the next request wakes it",
            "a duration above 0 such as 300, 5m or 1h",
            metavar="DURATION",
        ),
    ] = 300.0
    max_sessions: Annotated[
        int,
        Field(ge=1),
        Option(_SESSIONS, "live sessions in the database", "a whole number from 1", metavar="N"),
    ] = 1_000_000
    max_cached_sessions: Annotated[
        int,
        Field(ge=1),
        Option(_SESSIONS, "sessions kept in memory", "a whole number from 1", metavar="N"),
    ] = 20_000
    sweep_grace: Annotated[
        _Seconds,
        Field(ge=0),
        Option(
            _SESSIONS,
            "end no session for this long after a start, an outage of the database or a jump of its clock",
            "a duration such as 600 or 10m",
            metavar="DURATION",
        ),
    ] = 600.0

    drain: Annotated[
        _Seconds,
        Field(ge=0, le=3600),
        Option(
            _PROCESS,
            "how long running calls may go on after a signal to stop",
            "a duration up to 1h such as 4 or 30s",
            metavar="DURATION",
        ),
    ] = 4.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(_lower),
        Option(
            _PROCESS,
            "least severe message to log: debug, info, warning or error",
            "debug, info, warning or error",
            metavar="LEVEL",
        ),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        BeforeValidator(_lower),
        Option(_PROCESS, "shape of a log line: text or json", "text or json", metavar="FORMAT"),
    ] = "text"

    @property
    def data_directory(self) -> Path:
        """`data_dir`, or where it is when nobody says: the system's place for root, else the user's.

        Raises:
            SettingsError: nobody says, and this user has no home.
        """
        if self.data_dir is not None:
            return self.data_dir
        if os.geteuid() == 0:
            return Path("/var/lib/archon-transport")
        named = Path(os.environ.get("XDG_DATA_HOME", ""))
        try:
            return (named if named.is_absolute() else Path.home() / ".local/share") / "archon-transport"
        except RuntimeError:
            raise SettingsError("this user has no home directory; name one with --data-dir") from None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address that is listened on."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host.lower().rstrip(".") == "localhost"

    def exposure(self) -> str | None:
        """What must be said before other machines may connect; None where nothing is missing."""
        if self.loopback:
            return None
        missing = []
        if not self.allow_host:
            missing.append("--allow-host NAME (what clients call this machine)")
        if not self.allow_unauthenticated:
            missing.append("--allow-unauthenticated (nobody has to log in)")
        if not missing:
            return None
        return f"--host {self.host} is open to other machines, which needs {' and '.join(missing)}"


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
