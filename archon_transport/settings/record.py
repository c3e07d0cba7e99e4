"""The record of settings: every field with its names, its help, its default and what it may be."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from .values import (
    HOST_NAME,
    Option,
    SettingsError,
    absolute,
    bindable,
    each,
    embedder_name,
    endpoint,
    lower,
    names_of,
    postgres,
    seconds,
    seconds_or_never,
)

_Seconds = Annotated[float, BeforeValidator(seconds), Field(allow_inf_nan=False)]

_LISTEN = "where it listens"
_GUARDS = "who may connect"
_DATA = "where data lives"
_KNOWLEDGE = "knowledge"
_SESSIONS = "sessions"
_PROCESS = "the process"

_Kept = Annotated[float | None, Field(gt=0, allow_inf_nan=False), BeforeValidator(seconds_or_never)]


def _kept(what: str) -> Option:
    return Option(
        _DATA,
        f"forget {what} after this long; 0 or none for never",
        "a duration such as 30d, 12h or 3600, or none",
        metavar="DURATION",
    )


class Settings(BaseModel):
    """Everything that can be set, checked. Durations are seconds."""

    # Errors and representations of this record never show what was put in: a database URL has a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Annotated[
        str,
        AfterValidator(bindable),
        Option(_LISTEN, "address to listen on", "an address or a host name"),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Field(ge=0, le=65535),
        Option(_LISTEN, "port to listen on; 0 takes a free one", "a whole number from 0 to 65535"),
    ] = 8051
    path: Annotated[
        str,
        AfterValidator(endpoint),
        Option(
            _LISTEN,
            "path of the MCP endpoint",
            'a path such as /mcp, made of letters, digits and "._~-", other than /health and /ready',
        ),
    ] = "/mcp"

    reuse_port: Annotated[
        bool,
        BeforeValidator(lower),
        Option(
            _LISTEN, "share the port with other servers of this user, each with this option", "true or false"
        ),
    ] = False

    allow_host: Annotated[
        tuple[str, ...],
        BeforeValidator(names_of),
        each(HOST_NAME),
        Option(
            _GUARDS,
            "Host header to accept beside the loopback names, as NAME, NAME:PORT or NAME:*; may be repeated",
            "host names without a scheme, such as archon.example.com or archon.example.com:8051",
            metavar="NAME",
        ),
    ] = ()
    allow_origin: Annotated[
        tuple[str, ...],
        BeforeValidator(names_of),
        each(r"[a-z][a-z0-9+.-]*://" + HOST_NAME),
        Option(
            _GUARDS,
            "Origin to accept beside the loopback ones, for clients in a browser; may be repeated",
            "origins without a path, such as https://app.example.com",
            metavar="ORIGIN",
        ),
    ] = ()
    auth: Annotated[
        Literal["none", "tokens"],
        BeforeValidator(lower),
        Option(
            _GUARDS,
            "what clients have to show: none, or tokens, which `archon-transport tokens add` makes",
            "none or tokens",
            metavar="WHAT",
            unset="",
        ),
    ] = "none"
    allow_unauthenticated: Annotated[
        bool,
        BeforeValidator(lower),
        Option(_GUARDS, "serve other machines although nobody has to log in", "true or false"),
    ] = False

    database_url: Annotated[
        str | None,
        AfterValidator(postgres),
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
    direct_database_url: Annotated[
        str | None,
        AfterValidator(postgres),
        Field(repr=False),
        Option(
            _DATA,
            "the same database past a pooler: needed where the other URL leads through PgBouncer in "
            "transaction mode, which can neither listen nor keep prepared statements",
            "a URL such as postgresql://user:password@host:5432/database (special characters written as %40)",
            metavar="URL",
            unset="the database is asked without a pooler",
            secret=True,
        ),
    ] = None
    data_dir: Annotated[
        Path | None,
        AfterValidator(absolute),
        Option(
            _DATA,
            "directory of the embedded Postgres",
            "a path",
            metavar="PATH",
            unset="/var/lib/archon-transport for root, else ~/.local/share/archon-transport",
        ),
    ] = None
    keep_requests: Annotated[_Kept, _kept("a request's row")] = 30 * 86400.0
    keep_refusals: Annotated[_Kept, _kept("what was refused")] = 30 * 86400.0
    keep_sessions: Annotated[_Kept, _kept("an ended session and its requests")] = 90 * 86400.0
    max_request_rows: Annotated[
        int,
        Field(ge=1000),
        Option(
            _DATA,
            "request rows to keep, the newest; older ones are forgotten before their time",
            "a whole number from 1000",
            metavar="N",
        ),
    ] = 10_000_000

    embedder: Annotated[
        str,
        AfterValidator(embedder_name),
        Option(
            _KNOWLEDGE,
            "what makes vectors, so that a search finds by meaning too: none, local (the extra embeddings), "
            "or the URL of an endpoint that speaks OpenAI's API, such as http://127.0.0.1:11434/v1",
            "none, local or a URL that begins with http:// or https://",
            metavar="NAME",
            unset="",
        ),
    ] = "none"
    embedder_model: Annotated[
        str | None,
        Option(
            _KNOWLEDGE,
            "model to ask the embedder's endpoint for",
            "a name",
            metavar="MODEL",
            unset="text-embedding-3-small",
        ),
    ] = None
    embedder_key: Annotated[
        str | None,
        Field(repr=False),
        Option(
            _KNOWLEDGE,
            "key for the embedder's endpoint; better as the variable, because flags show in the list of "
            "processes",
            "a key",
            metavar="KEY",
            secret=True,
        ),
    ] = None

    session_idle_timeout: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False),
        BeforeValidator(seconds_or_never),
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
        BeforeValidator(lower),
        Option(
            _PROCESS,
            "least severe message to log: debug, info, warning or error",
            "debug, info, warning or error",
            metavar="LEVEL",
        ),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        BeforeValidator(lower),
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
        if self.auth == "none" and not self.allow_unauthenticated:
            missing.append(
                "--auth tokens (clients send a token) or --allow-unauthenticated (nobody has to log in)"
            )
        if not missing:
            return None
        return f"--host {self.host} is open to other machines, which needs {' and '.join(missing)}"
