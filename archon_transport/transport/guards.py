"""Who may knock: the Host and Origin headers, against DNS rebinding and foreign pages.

A page on the web can make a browser send requests to a server on this machine; its Origin, and after
rebinding its Host, give it away (2025-11-25 transports, Security Warning).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from ..protocol.messages import Refused, invalid_request

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""The names under which this machine is itself."""


class Guards:
    """Allowed Hosts and Origins.

    A host is a name (any port; `name:*` says the same) or `name:port`; an origin is `scheme://host` likewise.
    Loopback names are always among them, and so is the page that an allowed host itself serves.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().removesuffix(":*") for host in (*LOOPBACK, *hosts))
        loopback = (f"{scheme}://{host}" for scheme in ("http", "https") for host in LOOPBACK)
        self._origins = frozenset(o.lower().rstrip("/").removesuffix(":*") for o in (*loopback, *origins))

    def check(self, http: web.Request) -> Refused | None:
        """The refusal of an HTTP request, None where it may pass."""
        return self.refuse(http.headers.get("Host"), http.headers.get("Origin"))

    def refuse(self, host: str | None, origin: str | None) -> Refused | None:
        """The refusal of a request with these headers: 421 for its Host, 403 for its Origin."""
        if host is None or not _is_listed(host.lower(), self._hosts):
            name = shown(host)
            text = f"Host {name} is not allowed here; start the server with --allow-host {name}."
            return Refused(421, invalid_request(text), "host")
        if origin is None or _is_listed(origin.lower(), self._origins):
            return None
        if origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return None
        name = shown(origin)
        text = f"Origin {name} is not allowed here; start the server with --allow-origin {name}."
        return Refused(403, invalid_request(text), "origin")


def _is_listed(value: str, allowed: frozenset[str]) -> bool:
    if value in allowed:
        return True
    name, _, port = value.rpartition(":")
    return port.isdecimal() and name in allowed


def shown(value: str | None) -> str:
    """A client's own words, cut and without control characters, fit for an error text."""
    return "".join(c for c in (value or "(none)")[:100] if c.isprintable())
