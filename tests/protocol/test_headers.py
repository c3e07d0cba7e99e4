"""The protocol's headers: one value each, whatever their case."""

import pytest

from archon_transport.protocol.headers import ProtocolHeaders

ONCE = (
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Last-Event-ID",
    "Content-Type",
    "Authorization",
)


def accept(*values: str) -> ProtocolHeaders:
    return ProtocolHeaders.read([("Accept", value) for value in values])


def test_names_have_no_case_and_values_no_padding():
    """Header names compare without case; space and tab around a value are not part of it."""
    headers = ProtocolHeaders.read([("MCP-SESSION-ID", " \tabc "), ("mcp-protocol-version", "2025-06-18")])
    assert (headers.session_id, headers.revision) == ("abc", "2025-06-18")


def test_other_headers_are_nobodys_business():
    """What is not the protocol's is not read, and may stand as often as it likes."""
    assert ProtocolHeaders.read([("X-A", "1"), ("X-A", "2"), ("Cookie", "c")]) == ProtocolHeaders()


@pytest.mark.spec("C-27")
@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize("second", ["same", "other", ""])
def test_a_header_that_stands_twice_is_named(name, second):
    """Two lines of one protocol header are noticed in any case, also with the same value and an empty one."""
    headers = ProtocolHeaders.read([(name, "same"), ("X", "between"), (name.upper(), second)])
    assert headers.duplicate is not None
    assert headers.duplicate.lower() == name.lower()


def test_an_empty_first_line_counts_as_one():
    """An empty value is a value: a second line beside it is a second line."""
    assert ProtocolHeaders.read([("Mcp-Session-Id", ""), ("Mcp-Session-Id", "abc")]).duplicate is not None


def test_accept_may_stand_twice():
    """Accept is a list; its lines are joined."""
    headers = accept("application/json", "text/event-stream")
    assert headers.duplicate is None
    assert headers.accepts("application/json")
    assert headers.accepts("text/event-stream")


@pytest.mark.spec("C-09")
@pytest.mark.parametrize(
    ("value", "takes"),
    [
        ("application/json", True),
        ("APPLICATION/JSON", True),
        ("application/json; charset=utf-8", True),
        ("application/json;q=0.1", True),
        ("text/html, application/json", True),
        ("text/html,application/json;q=1", True),
        ("*/*", True),
        ("application/*", True),
        ("*/*;q=0.001", True),
        ("application/json;q=0", False),
        ("application/json; q=0.000", False),
        ("application/json;Q=0", False),
        ("application/json;q=0, */*", False),
        ("*/*, application/json;q=0", False),
        ("application/*;q=0, */*", False),
        ("application/json, */*;q=0", True),
        ("application/json, application/*;q=0", True),
        ("text/event-stream", False),
        ("text/*", False),
        ("application/jsonx", False),
        ("application/json-seq", False),
        ("json", False),
        ("*", False),
        ("", False),
        (",,", False),
    ],
)
def test_accept(value, takes):
    """The most specific range that fits decides, and q=0 says no."""
    assert accept(value).accepts("application/json") is takes


@pytest.mark.spec("C-09")
def test_no_accept_means_anything():
    """A client that sends no Accept takes what it gets."""
    headers = ProtocolHeaders.read([])
    assert headers.accepts("application/json")
    assert headers.accepts("text/event-stream")


@pytest.mark.spec("C-10")
@pytest.mark.parametrize(
    ("value", "is_json"),
    [
        ("application/json", True),
        ("APPLICATION/JSON; charset=utf-8", True),
        ("application/json;", True),
        ("application/json ; x=y", True),
        ("application/jsonx", False),
        ("application/json-rpc", False),
        ("application/json, text/plain", False),
        ("text/plain", False),
        ("text/json", False),
        ("", False),
    ],
)
def test_content_type(value, is_json):
    """The body's type is application/json exactly, in any case and with any parameters."""
    assert ProtocolHeaders.read([("Content-Type", value)]).is_json is is_json


def test_no_content_type_is_not_json():
    """A body that does not say what it is is not taken: that is what a foreign page's form sends."""
    assert ProtocolHeaders.read([]).is_json is False
