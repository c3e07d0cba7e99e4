"""Whom a mounted transport answers: the SDK's `TransportSecuritySettings`, with the SDK's meaning.

None means the names of this machine, for what arrives on this machine. An aiohttp application is not told
what it will be bound to, so a request that arrives at another address is refused, and the log says at the
first one what is missing.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from mcp.server.transport_security import TransportSecuritySettings

from ..protocol.messages import Refused, invalid_request
from ..transport import Guards
from ..transport.guards import LOOPBACK, shown

_log = logging.getLogger(__name__)

_SECURITY = "security_settings=TransportSecuritySettings({}=[...])"
_ELSEWHERE = (
    "This server listens on an address that other machines reach, and nobody has said by which names: "
    f"give StreamableHTTP {_SECURITY.format('allowed_hosts')}."
)


class NamedHosts(Guards):
    """Allowed Hosts and Origins, exact or with `:*` for any port; None for this machine's own."""

    def __init__(self, settings: TransportSecuritySettings | None) -> None:
        super().__init__()
        self._only_here = settings is None
        self._told = False
        here = [form for name in LOOPBACK for form in (name, f"{name}:*")]
        origins = [f"{scheme}://{form}" for scheme in ("http", "https") for form in here]
        self._settings = settings or TransportSecuritySettings(allowed_hosts=here, allowed_origins=origins)

    def check(self, http: web.Request) -> Refused | None:
        """421 for a Host, 403 for an Origin; with nothing set also 421 for an address open to others."""
        if self._only_here and not _is_here(http.transport and http.transport.get_extra_info("sockname")):
            if not self._told:
                _log.error(_ELSEWHERE)
            self._told = True
            return Refused(421, invalid_request(_ELSEWHERE), "bound-elsewhere")
        return super().check(http)

    def refuse(self, host: str | None, origin: str | None) -> Refused | None:
        """The refusal of a request with these headers, None where both may pass."""
        if not self._settings.enable_dns_rebinding_protection:
            return None
        if not host or not _is_allowed(host, self._settings.allowed_hosts):
            return _refused(421, "Host", host, "allowed_hosts")
        if origin and not _is_allowed(origin, self._settings.allowed_origins):
            return _refused(403, "Origin", origin, "allowed_origins")
        return None


def _is_here(sockname: Any) -> bool:
    """Whether a socket's own address is this machine's alone: loopback, or a file."""
    if not isinstance(sockname, tuple):
        return True
    address = ipaddress.ip_address(str(sockname[0]).partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_allowed(value: str, allowed: Sequence[str]) -> bool:
    anywhere = (entry.removesuffix("*") for entry in allowed if entry.endswith(":*"))
    return value in allowed or value.startswith(tuple(anywhere))


def _refused(status: int, header: str, value: str | None, argument: str) -> Refused:
    text = f"{header} {shown(value)} is not allowed here; list it in {_SECURITY.format(argument)}."
    return Refused(status, invalid_request(text), header.lower())
