"""Which requests without a session go together, as far as can be told: for the records, never for a decision.

A record's id is made of what its requests say of themselves, so that nodes agree on it without asking. A
caller that keeps inventing names fills its own places and then shares one record; nobody else notices.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from .record import Inferred, InferredEra, Owner

CONVERSATION: Final = "dev.archon/conversation"
"""The `_meta` key in which a client names its conversation."""

OPEN: Final = 32
"""Open records of one principal or address bucket on one node; what comes beyond shares one."""

IDLE: Final = 1800.0
"""Seconds without a request after which a record is closed."""

CALLERS: Final = 10_000

_NAMESPACE: Final = uuid.UUID("8e0d4c0b-6c0f-5f0e-9b38-1f5d2a7c4e61")

_Key = tuple[str, ...]


@lru_cache(maxsize=1024)
def bucket(address: str | None) -> str:
    """The network that an address counts as: its /24 or /64; "local" where there is none (a Unix socket)."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "local"
    found = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 64), strict=False))


def client(info: Any, user_agent: str | None) -> tuple[str, str]:
    """A client's name and major version, cleaned; by its User-Agent where it does not introduce itself."""
    if isinstance(info, dict):
        name, version = str(info.get("name", "")), str(info.get("version", ""))
    else:
        name, _, version = (user_agent or "").partition(" ")[0].partition("/")
    return printable(name, 200) or "Unknown", printable(version.partition(".")[0], 50)


def printable(text: str, length: int) -> str:
    """The first characters of what a client said, those of them that show."""
    return "".join(character for character in text[:length] if character.isprintable()).strip()


def conversation(meta: Any, header: str | None) -> str:
    """A hash of the conversation that a request names in `_meta` or baggage; empty where it names none."""
    given = meta if isinstance(meta, dict) else {}
    named = given.get(CONVERSATION)
    if not isinstance(named, str):
        named = _session_in(given.get("baggage")) or _session_in(header)
    return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest() if named else ""


def _session_in(baggage: Any) -> str:
    members = baggage.split(",") if isinstance(baggage, str) else ()
    pairs = (member.partition(";")[0].partition("=") for member in members)
    return next((value.strip() for name, _, value in pairs if name.strip() == "session.id"), "")


class Groups:
    """The open records of this node, by caller."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[Owner | str, OrderedDict[_Key, float]] = OrderedDict()

    def find(
        self, who: Owner | str, era: InferredEra, revision: str, named: tuple[str, str], conversed: str
    ) -> Inferred:
        """The record of a request by `who`: a principal or an address bucket."""
        key: _Key = (era, *named, conversed)
        if not self._has_place(who, key):
            key, named, conversed = (era,), ("other", ""), ""
        owner = None if isinstance(who, str) else who
        return Inferred(_identity(who, key), era, owner, revision, *named, told_apart=bool(conversed))

    def _has_place(self, who: Owner | str, key: _Key) -> bool:
        now = self._clock()
        places = self._open.setdefault(who, OrderedDict())
        self._open.move_to_end(who)
        if len(self._open) > CALLERS:
            self._open.popitem(last=False)
        while places and next(iter(places.values())) < now - IDLE:
            places.popitem(last=False)
        if key not in places and len(places) >= OPEN:
            return False
        places[key] = now
        places.move_to_end(key)
        return True


@lru_cache(maxsize=4096)
def _identity(who: Owner | str, key: _Key) -> str:
    digest = hashlib.sha256(json.dumps([who, key]).encode()).hexdigest()
    return str(uuid.uuid5(_NAMESPACE, digest))
