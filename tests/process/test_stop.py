"""Stopping a real process: the order of the steps, and what a second and a third signal do."""

import signal
import socket
import threading

import pytest

from archon_transport.process.run import SHUTDOWN_TIMEOUT
from tests.process.served import Running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order_and_exits_with_zero(number):
    """A signal drains, shuts the application down, then closes, and prints the closing line."""
    with Running("--port", "0") as running:
        running.wait_for_banner().signal(number)
        code, out, err, _ = running.ended()
    assert code == 0, err
    assert out == "stopped; 7 sessions kept\n"
    steps = [line.removeprefix("step: ") for line in err.splitlines() if line.startswith("step: ")]
    assert steps == ["build", "drain", "drained", "on_shutdown", "on_cleanup", "close"]
    assert "INFO archon_transport.process.run: stopped; 7 sessions kept" in err


def test_while_it_drains_running_calls_finish_and_new_ones_are_told_to_come_back():
    """The socket listens until the drain is over: nobody is refused, nobody is cut off."""
    answers: list[tuple[int, str]] = []
    with Running("--port", "0") as running:
        running.wait_for_banner()
        caller = threading.Thread(target=lambda: answers.append(running.get("/call")))
        caller.start()
        running.wait_for_step("call")
        running.signal()
        running.wait_for_step("drain")
        assert running.get("/call")[0] == 503
        assert running.get("/release")[0] == 200
        caller.join(20)
        assert answers == [(200, "answered")]
        assert running.ended()[0] == 0


def test_an_open_stream_is_ended_by_the_application_and_costs_no_time():
    """`on_shutdown` runs before handlers are waited for: a stream gets its last words at once."""
    with Running("--port", "0") as running, running.wait_for_banner().connection() as connection:
        connection.request("GET", "/stream")
        stream = connection.getresponse()
        assert stream.readline() == b"open\n"
        running.signal()
        assert stream.read() == b"bye\n"
        code, _, _, seconds = running.ended()
    assert code == 0
    assert seconds < SHUTDOWN_TIMEOUT


def test_a_second_signal_ends_the_drain_and_still_closes():
    """Whoever asks twice does not wait for calls, but nothing is left unwritten."""
    with Running("--port", "0", "--drain", "30", environ={"SERVED_HANG": "drain"}) as running:
        running.wait_for_banner().signal()
        running.wait_for_step("hanging in drain")
        running.signal()
        code, out, err, seconds = running.ended()
    assert (code, out) == (0, "stopped; 7 sessions kept\n")
    assert "could not drain: cut short" in err
    assert seconds < 5


def test_a_drain_that_keeps_no_limit_is_given_up():
    """A program whose drain never ends is stopped all the same."""
    with Running("--port", "0", "--drain", "0", environ={"SERVED_HANG": "drain"}) as running:
        running.wait_for_banner().signal()
        code, out, _, seconds = running.ended()
    assert (code, out) == (0, "stopped; 7 sessions kept\n")
    assert seconds < 10


def test_a_third_signal_ends_the_process_at_once():
    """A close that hangs can be ended from the keyboard."""
    with Running("--port", "0", environ={"SERVED_HANG": "close"}) as running:
        running.wait_for_banner().signal(signal.SIGINT)
        running.wait_for_step("hanging in close")
        running.signal(signal.SIGINT)
        running.signal(signal.SIGTERM)
        code, _, _, seconds = running.ended()
    assert code in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert seconds < 5


def test_a_signal_during_the_start_undoes_the_start():
    """A start that takes long can be broken off; what it had begun is taken back."""
    with Running("--port", "0", environ={"SERVED_HANG": "build"}) as running:
        running.wait_for_step("hanging in build")
        running.signal()
        code, out, err, _ = running.ended()
    assert (code, out) == (0, "stopped before it had started\n")
    assert "step: build undone" in err


@pytest.mark.parametrize("where", ["drain", "close"])
def test_an_error_while_stopping_is_logged_and_the_rest_is_still_done(where):
    """What fails does not keep the next step from being done; only a failed close is a failed exit."""
    with Running("--port", "0", environ={"SERVED_FAIL": where}) as running:
        running.wait_for_banner().signal()
        code, out, err, _ = running.ended()
    assert f"could not {where}" in err
    assert f"{where} was told to fail" in err
    assert "step: close" in err
    assert code == (1 if where == "close" else 0)
    assert out.startswith("stopped")


def test_a_request_that_cannot_be_read_is_logged_without_a_traceback():
    """Anybody can send bytes that are no HTTP; each is a line of the log and not thirty."""
    with Running("--port", "0") as running:
        running.wait_for_banner()
        with socket.create_connection(("127.0.0.1", running.port), 10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert connection.recv(100).split()[1] == b"400"
        running.signal()
        _, _, err, _ = running.ended()
    assert "a request could not be read as HTTP" in err
    assert "Traceback" not in err
