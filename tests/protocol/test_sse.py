"""Frames and event ids: what goes on the wire, which ids are ours, and whose they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archon_transport.protocol.sse import (
    KEEP_ALIVE,
    Cursor,
    frame,
    goodbye,
    name_stream,
    priming,
    request_ids_of,
)

KEY = b"k" * 32
OTHER = b"o" * 32
NINE = bytes(range(9))

keys = st.binary(min_size=1, max_size=32)
randomness = st.binary(min_size=9, max_size=9)
request_ids = st.integers(-(2**53), 2**53) | st.text(max_size=60)
kinds = st.sampled_from(["call", "standing"])


@pytest.mark.spec("H-22")
@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (frame(b'{"a":1}', "x.1.2"), b'event: message\r\nid: x.1.2\r\ndata: {"a":1}\r\n\r\n'),
        (frame(b'{"a":1}'), b'event: message\r\ndata: {"a":1}\r\n\r\n'),
        (priming("x.1.0", 250), b"retry: 250\r\nid: x.1.0\r\ndata: \r\n\r\n"),
        (priming("x.1.0", None), b"id: x.1.0\r\ndata: \r\n\r\n"),
        (priming("x.1.0", 0), b"retry: 0\r\nid: x.1.0\r\ndata: \r\n\r\n"),
        (goodbye(1000), b"retry: 1000\r\n\r\n"),
        (KEEP_ALIVE, b": keep-alive\r\n\r\n"),
    ],
)
def test_frames(wire, expected):
    """Each kind of event is exactly these bytes, each ended by a blank line."""
    assert wire == expected


@pytest.mark.spec("H-37")
@given(kinds, request_ids, randomness, keys, st.integers(0, 999_999_999), st.integers(0, 10**15 - 1))
def test_an_id_comes_back_as_it_was_sent(kind, request_id, nine, key, epoch, n):
    """An id is parsed into the place it was made of, which knows its session, its kind and its request."""
    cursor = Cursor(name_stream(kind, (request_id,), nine, key), epoch, n)
    text = str(cursor)
    assert text.isascii() and text.isprintable() and " " not in text
    assert Cursor.parse(text) == cursor
    assert cursor.kind == kind
    assert cursor.belongs_to(key)
    carried = request_ids_of(cursor.stream_id)
    assert carried == [] or (carried == [request_id] and type(carried[0]) is type(request_id))


@pytest.mark.spec("H-39", "C-23")
@given(kinds, request_ids, randomness, keys, keys)
def test_an_id_is_its_own_sessions(kind, request_id, nine, key, other):
    """A name that another session's key made is not this session's."""
    cursor = Cursor(name_stream(kind, (request_id,), nine, other), 1, 1)
    assert cursor.belongs_to(key) is (key == other)


@pytest.mark.spec("H-39", "H-42")
@given(kinds, request_ids, randomness, st.data())
def test_no_character_of_a_name_can_be_exchanged(kind, request_id, nine, data):
    """Whoever changes one character of a stream's name no longer holds an id of the session."""
    name = name_stream(kind, (request_id,), nine, KEY)
    place = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from("csABCxyz019_-").filter(lambda letter: letter != name[place]))
    spoiled = Cursor.parse(f"{name[:place]}{letter}{name[place + 1 :]}.1.1")
    assert spoiled is None or not spoiled.belongs_to(KEY)


@given(kinds, request_ids, randomness, st.text(alphabet="AZ09_-", min_size=1, max_size=8))
def test_a_name_cannot_be_made_longer_or_shorter(kind, request_id, nine, more):
    """The request's id at the end of a name is under the seal too."""
    name = name_stream(kind, (request_id,), nine, KEY)
    for spoiled in (name + more, name[: -len(more)]):
        cursor = Cursor.parse(f"{spoiled}.1.1")
        assert cursor is None or not cursor.belongs_to(KEY)


@pytest.mark.spec("H-42")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "c.1.1",
        "c" * 23 + ".1.1",
        "x" * 24 + ".1.1",
        "c" * 24,
        "c" * 24 + ".1",
        "c" * 24 + ".1.",
        "c" * 24 + "..1",
        "c" * 24 + ".-1.1",
        "c" * 24 + ".1.1.1",
        "c" * 24 + ".1.1\n",
        " " + "c" * 24 + ".1.1",
        "c" * 24 + ".1.٣",
        "c" + "é" * 23 + ".1.1",
        "c" * 24 + ".1234567890.1",
        "c" * 24 + ".1.1234567890123456",
        "c" * 500 + ".1.1",
        "c" * 24 + "\x00.1.1",
    ],
)
def test_what_is_no_id_of_ours(text):
    """A text of any other shape names no place, and numbers stay within what a column takes."""
    assert Cursor.parse(text) is None


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_not(text):
    """No text raises; one that parses is spelled as it would be written."""
    cursor = Cursor.parse(text)
    assert cursor is None or cursor.stream_id == text.split(".")[0]


@pytest.mark.parametrize("request_id", [1, "1", -7, "", "a.b c\n", "ü", 2**53])
def test_a_name_carries_its_requests_id(request_id):
    """A lost call can be answered from its id alone, with the request's id in its own type."""
    (carried,) = request_ids_of(name_stream("call", (request_id,), NINE, KEY))
    assert carried == request_id and type(carried) is type(request_id)


def test_a_name_carries_the_ids_of_a_batch():
    """Each member of a lost batch can be answered."""
    assert request_ids_of(name_stream("call", (1, "1", "x"), NINE, KEY)) == [1, "1", "x"]


def test_a_long_request_id_is_not_carried():
    """An id that would make every event's id long is left out."""
    name = name_stream("call", ("x" * 500,), NINE, KEY)
    assert request_ids_of(name) == []
    assert len(name) < 200 and Cursor.parse(f"{name}.1.1") is not None


@pytest.mark.parametrize("name", ["c" * 24 + "!", "c" * 24 + "A", "c" * 24 + "____", "c" * 24, "", "s"])
def test_what_carries_nothing_readable(name):
    """A name whose end is not an id says nothing and does not raise."""
    assert request_ids_of(name) == []


@pytest.mark.spec("H-36")
@given(randomness, randomness)
def test_names_differ_by_their_randomness(one, two):
    """Two streams of one session have one name only if they have the same random bytes."""
    assert (name_stream("call", 1, one, KEY) == name_stream("call", 1, two, KEY)) is (one == two)


def test_kinds_have_names_of_their_own():
    """A call's stream is never taken for a standing one."""
    call, standing = (name_stream(kind, (), NINE, KEY) for kind in ("call", "standing"))
    assert call[0] == "c" and standing[0] == "s"
    assert not Cursor("s" + call[1:], 1, 1).belongs_to(KEY)
    assert not Cursor(call, 1, 1).belongs_to(OTHER)


def test_json_has_no_raw_newline():
    """What makes one line per event safe: JSON escapes what would end a line."""
    data = json.dumps({"a": "one\r\ntwo\u2028\x85"}).encode()
    assert frame(data).count(b"\r\n") == 3 and b"\n" not in data
