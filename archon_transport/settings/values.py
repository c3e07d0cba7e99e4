"""What one setting may be: an option as its user is told about it, and the checks of what was typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AfterValidator

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

HOST_NAME = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(\d{1,5}|\*))?"


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


def seconds(value: object) -> object:
    """What a duration is in seconds, where it is text as a person writes it: 90s, 5m, 12h, 30d or 3600.

    Raises:
        ValueError: it is other text.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value.strip().lower())
    if found is None:
        raise ValueError("not a duration")
    return float(found[1]) * UNITS[found[2]]


def seconds_or_never(value: object) -> object:
    """The same; None for never, which is also 0."""
    if isinstance(value, str) and value.strip().lower() in ("none", "never"):
        return None
    return seconds(value) or None


def lower(value: object) -> object:
    """Text without blanks around it and in lower case."""
    return value.strip().lower() if isinstance(value, str) else value


def names_of(value: object) -> object:
    """Split what was typed: each text may hold several names, separated by commas."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence):
        return value
    return tuple(part.strip() for text in texts for part in str(text).split(",") if part.strip())


def each(pattern: str) -> AfterValidator:
    """A check of every name in a list."""

    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(pattern, name) for name in names):
            raise ValueError("not such a name")
        return names

    return AfterValidator(check)


def bindable(host: str) -> str:
    """Something that can be an address to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise ValueError("not an address")
    return host


def endpoint(path: str) -> str:
    """A path for the endpoint, without a slash at its end."""
    trimmed = path.rstrip("/")
    if not re.fullmatch(r"(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+", trimmed) or trimmed in ("/health", "/ready"):
        raise ValueError("not a path for the endpoint")
    return trimmed


def postgres(url: str | None) -> str | None:
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


def absolute(path: Path | None) -> Path | None:
    """A path from the root, `~` replaced."""
    try:
        return None if path is None else path.expanduser().absolute()
    except RuntimeError as error:  # ~name of a user who does not exist
        raise ValueError(str(error)) from None


def embedder_name(name: str) -> str:
    """`none`, `local` or a URL."""
    parts = urlsplit(name)
    if name not in ("none", "local") and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("neither a known embedder nor a URL")
    return name
