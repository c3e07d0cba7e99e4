"""The listening sockets: bound before anything slow is done, so that a taken port is told at once.

Between `Listener.bind` and the start of the server a connection is refused, not left hanging.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class StartError(Exception):
    """The program cannot start; the text says why and what to do about it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One socket for each address that the host's name stands for, all with the same port."""

    host: str
    port: int
    sockets: tuple[socket.socket, ...]
    shared: bool = False

    @classmethod
    def bind(cls, host: str, port: int, *, shared: bool = False) -> Listener:
        """Take the port, without answering on it yet; port 0 takes a free one.

        A `shared` port may be taken by several processes of one user; the kernel spreads connections.

        Raises:
            StartError: it is taken, forbidden, or no address of this machine.
        """
        sockets: list[socket.socket] = []
        try:
            for family, address in _addresses(host, port):
                bound = _bound(family, address, port, shared)
                if bound is not None:
                    sockets.append(bound)
                    port = bound.getsockname()[1]
            if not sockets:
                raise OSError(errno.EADDRNOTAVAIL, "no address of this machine")
        except OSError as error:
            for bound in sockets:
                bound.close()
            raise refusal(error, host, port) from error
        return cls(host=host, port=port, sockets=tuple(sockets), shared=shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bound in self.sockets:
            bound.close()


def refusal(error: OSError, host: str, port: int) -> StartError:
    """The sentence for a socket that could not be had."""
    match error.errno:
        case errno.EADDRINUSE:
            return StartError(
                f"port {port} is taken; stop the other server, choose another with --port, "
                "or start all that shall share it with --reuse-port"
            )
        case errno.EACCES:
            return StartError(f"port {port} is not allowed for this user; choose one above 1023 with --port")
        case _:
            return StartError(
                f"cannot listen on {host} port {port}: {error.strerror}; "
                "--host takes an address of this machine, such as 127.0.0.1"
            )


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, _Address]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(family: socket.AddressFamily, address: _Address, port: int, shared: bool) -> socket.socket | None:
    """A bound socket, or None where this machine has not that kind of address (no IPv6, say)."""
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in _NO_SUCH_ADDRESS:
            return None
        raise
    try:
        # A port that only lingers from the server before may be taken again at once.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address[0], port, *address[2:]))
    except OSError as error:
        made.close()
        if error.errno in _NO_SUCH_ADDRESS:
            return None
        raise
    made.setblocking(False)
    return made
