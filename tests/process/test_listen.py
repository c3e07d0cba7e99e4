"""The listening sockets: what is said when the port cannot be had, and when."""

import asyncio
import errno
import socket

import pytest

from archon_transport.process import Listener, StartError, serve
from archon_transport.process.listen import refusal
from tests.process.served import Served


def test_a_taken_port_says_what_to_do():
    """The message names the port and the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"port {port} is taken; .* --port"):
            Listener.bind("127.0.0.1", port)


def test_port_0_is_one_free_port_for_every_address_of_the_name():
    """`localhost` may be two addresses; a client must find the same port on both."""
    with Listener.bind("localhost", 0) as listener:
        assert listener.port > 0
        assert {bound.getsockname()[1] for bound in listener.sockets} == {listener.port}


def test_a_bound_port_refuses_until_it_is_served():
    """A client that comes while the program is being built is refused at once instead of left waiting."""
    with Listener.bind("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", listener.port), timeout=5)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_names_the_option(host):
    """An address that this machine has not is refused with the name of the option."""
    with pytest.raises(StartError, match=f"cannot listen on {host} port 0: .*--host"):
        Listener.bind(host, 0)


def test_a_forbidden_port_says_which_are_allowed():
    """A low port without the right to it leads to a higher one."""
    assert "choose one above 1023 with --port" in str(refusal(OSError(errno.EACCES, "denied"), "::", 80))


async def test_a_port_that_another_took_during_the_build_is_told_and_the_program_closed():
    """Two servers may bind in the same instant; the one that listens second stops cleanly."""
    closed = asyncio.Event()

    class Late(Served):
        async def close(self) -> str:
            closed.set()
            return "closed"

    async def build() -> Late:
        first.sockets[0].listen()
        return Late()

    with (
        Listener.bind("127.0.0.1", 0) as first,
        Listener.bind("127.0.0.1", first.port) as second,
        pytest.raises(StartError, match="is taken"),
    ):
        await serve(second, build, lambda _: pytest.fail("it must not say that it started"), drain=0)
    assert closed.is_set()
