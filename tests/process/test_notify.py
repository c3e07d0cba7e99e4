"""What systemd hears, on a socket that stands for its own."""

import os
import socket

import pytest

from archon_transport.process.notify import heartbeat_interval, notify
from tests.process.served import Running


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A listening datagram socket and the NOTIFY_SOCKET that names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@archon-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        receiver.settimeout(20)
        yield receiver, name


def received(receiver, until):
    """Every message up to and including the one that starts with `until`."""
    messages = []
    while not messages or not messages[-1].startswith(until):
        messages.append(receiver.recv(4096).decode())
    return messages


def test_a_service_says_ready_once_it_answers_and_stopping_at_the_signal(manager):
    """READY=1 comes after the port answers; STOPPING=1 comes with the signal, before the drain."""
    receiver, name = manager
    with Running("--port", "0", environ={"NOTIFY_SOCKET": name}) as running:
        assert received(receiver, "READY=1") == ["STATUS=starting", "READY=1\nSTATUS=serving"]
        assert running.wait_for_banner().get("/release")[0] == 200
        running.signal()
        assert received(receiver, "STATUS=closing") == ["STOPPING=1\nSTATUS=draining", "STATUS=closing"]
        assert running.ended()[0] == 0


def test_a_service_with_a_watchdog_is_heard_again_and_again(manager):
    """Where the manager asks for a heartbeat it gets one at half the time, through the drain too."""
    receiver, name = manager
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000", "SERVED_HANG": "drain"}
    with Running("--port", "0", "--drain", "30", environ=environ) as running:
        received(receiver, "READY=1")
        received(receiver, "WATCHDOG=1")
        running.wait_for_banner().signal()
        received(receiver, "STOPPING=1")
        received(receiver, "WATCHDOG=1")


@pytest.mark.parametrize("place", ["", "relative/path", "/nowhere/notify"])
def test_without_a_manager_nothing_is_sent_and_nothing_fails(place):
    """No socket, a strange one or a dead one is no reason to stop."""
    assert notify("READY=1", environ={"NOTIFY_SOCKET": place} if place else {}) is False


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_heartbeat_is_half_of_what_is_waited_for_and_only_for_its_own_process(environ, interval):
    """The watchdog's variables count only where they are numbers and meant for this process."""
    assert heartbeat_interval(environ) == interval
