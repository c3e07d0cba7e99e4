"""Which addresses may be fetched: public ones, unless the operator allows private ones.

The check is made where names become addresses, inside the connector, so that what was checked is what is
connected to and a name that resolves differently the second time gains nothing. aiohttp does not resolve a
literal address: `refusal` is asked about every URL, of redirects too, before it is requested.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(OSError):
    """A name or an address that leads into a private network."""


def is_public(address: str) -> bool:
    """Whether an address is on the internet; one that carries an IPv4 address is judged by that too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if carried := [each for each in inner if each is not None]:
            return all(is_public(str(each)) for each in carried)
    return ip.is_global and not ip.is_multicast


def refusal(url: str, *, allow_private: bool) -> str | None:
    """Why a URL is not requested, if there is a reason; names are judged when they are resolved."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "not an http or https URL"
    if parts.username or parts.password:
        return "a URL with a user or a password in it"
    try:
        public = is_public(host)
    except ValueError:
        return None  # a name
    return None if public or allow_private else f"{host} is a private address"


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those of which any address is private."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            PrivateAddress: one of them is private.
        """
        found = await self._inner.resolve(host, port, family)
        if not all(is_public(each["host"]) for each in found):
            raise PrivateAddress(f"{host} is a name of a private address")
        return found

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()
