"""Bodies: which JSON texts are read, and which JSON values are messages."""

import json
import math

import pytest

from archon_transport.protocol.messages import (
    MAX_DEPTH,
    BodyError,
    Error,
    Invalid,
    Notification,
    Request,
    Response,
    encode,
    error_of,
    internal_error,
    is_request_id,
    read_json,
    read_message,
    result_of,
)

GOOD = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"cursor": "x"}}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.spec("J-01", "E-01")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 1} {"b": 2}',
        b'{"a": 01}',
        b'{"a": +1}',
        b'{"a": .5}',
        b'{"a": 0x10}',
        b'{"a": "\x01"}',
        b'{"a": "line\nbreak"}',
        b'{"a": "\\q"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": 1.7976931348623159e308}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"deep": [{"a": 1, "a": 2}]}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\uD800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\udfff": 1}',
        nested(MAX_DEPTH + 1),
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        nested(100_000),
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_text_that_two_readers_could_read_differently_is_refused(body):
    """A body that is not UTF-8, not JSON, ambiguous or too deep is a parse error, whatever is wrong with
    it.
    """
    with pytest.raises(BodyError) as refusal:
        read_json(body)
    assert refusal.value.code == -32700
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 100, "a refusal quotes nothing of a body"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b" [1, 2] \n", [1, 2]),
        ('{"a": "ä€😀"}'.encode(), {"a": "ä€😀"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": "\\\\ud800"}', {"a": "\\ud800"}),
        (b'{"a": "[[[[{{{{"}', {"a": "[[[[{{{{"}),
        (b'{"a": "' + b"{[" * 100 + b'"}', {"a": "{[" * 100}),
        (b'{"a": ' + b"9" * 4000 + b"}", {"a": int("9" * 4000)}),
        (b"1e-999", 0.0),
        (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        (b"[" + b"{}," * 200 + b"{}]", [{}] * 201),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_plain_text_is_read(body, value):
    """What is JSON in UTF-8 is read, also where it looks dangerous."""
    assert read_json(body) == value


@pytest.mark.spec("S-14")
def test_the_deepest_nesting_that_is_read():
    """A body may be nested 64 deep and no deeper, counting objects and arrays alike."""
    assert read_json(nested(MAX_DEPTH)) is not None
    mixed = b'{"a":[' * (MAX_DEPTH // 2)
    ends = b"]}" * (MAX_DEPTH // 2)
    assert read_json(mixed + ends) is not None
    with pytest.raises(BodyError):
        read_json(b"[" + mixed + ends + b"]")


def test_the_good_request_is_read():
    """The message from which every spoiled one below is made is a request."""
    assert read_message(GOOD) == Request(7, "tools/list", {"cursor": "x"})


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "text", [], [GOOD]])
def test_only_an_object_is_a_message(value):
    """A message is a JSON object."""
    assert isinstance(read_message(value), Invalid)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"jsonrpc": None},
        {"jsonrpc": "1.0"},
        {"jsonrpc": 2.0},
        {"jsonrpc": ["2.0"]},
        {"method": None},
        {"method": 5},
        {"method": ["tools/list"]},
        {"params": []},
        {"params": "x"},
        {"params": 0},
        {"params": False},
    ],
    ids=str,
)
def test_a_request_with_one_thing_spoiled_is_refused_under_its_id(spoiled):
    """A request that is invalid elsewhere is refused with the id that it has."""
    message = read_message(GOOD | spoiled)
    assert isinstance(message, Invalid)
    assert message.id == 7


@pytest.mark.spec("J-01")
def test_a_message_without_the_version_is_refused():
    """`jsonrpc` may not be left out."""
    assert isinstance(read_message({"id": 7, "method": "ping"}), Invalid)


@pytest.mark.spec("J-02", "C-13")
@pytest.mark.parametrize("bad", [None, True, False, 1.0, 1.5, [], {}, [1]], ids=repr)
def test_an_id_is_a_string_or_an_integer(bad):
    """null, booleans, floats and containers are no ids, and such a message is not a notification either."""
    message = read_message(GOOD | {"id": bad})
    assert isinstance(message, Invalid)
    assert message.id is None


@pytest.mark.spec("J-02", "J-05")
@pytest.mark.parametrize(
    "good", [0, -1, 2**53, 10**300, "", "1", "ä", "x" * 1000], ids=lambda v: repr(v)[:12]
)
def test_an_id_is_kept_as_it_came(good):
    """An id keeps its type and its value: 1 is not "1"."""
    message = read_message(GOOD | {"id": good})
    assert isinstance(message, Request)
    assert (type(message.id), message.id) == (type(good), good)
    assert json.loads(encode(result_of(message.id, {})))["id"] == good


def test_a_request_may_go_without_params():
    """Params that are absent or null are None."""
    absent = {key: value for key, value in GOOD.items() if key != "params"}
    assert read_message(absent) == Request(7, "tools/list", None)
    assert read_message(GOOD | {"params": None}) == Request(7, "tools/list", None)


@pytest.mark.spec("J-09")
def test_a_message_without_an_id_is_a_notification():
    """Only an absent id makes a notification."""
    message = read_message({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert message == Notification("notifications/initialized", None)


@pytest.mark.parametrize(
    "answer",
    [
        {"id": 1, "result": {}},
        {"id": "a", "result": None},
        {"id": 1, "error": {"code": -1, "message": "no"}},
        {"id": None, "error": {"code": -32700, "message": "no"}},
        {"error": {"code": -32700, "message": "no"}},
    ],
    ids=str,
)
def test_an_answer_is_read(answer):
    """A response has one of result and error; an error may go without an id, where none could be read."""
    message = read_message({"jsonrpc": "2.0", **answer})
    assert isinstance(message, Response)
    assert message.id == answer.get("id")


@pytest.mark.spec("J-06")
@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"id": 1},
        {"result": {}},
        {"id": None, "result": {}},
        {"id": 1.0, "result": {}},
        {"id": True, "error": {"code": 1, "message": "no"}},
        {"id": 1, "result": {}, "error": {"code": 1, "message": "no"}},
        {"id": 1, "error": None},
        {"id": 1, "error": "no"},
        {"id": 1, "error": {"code": "1", "message": "no"}},
        {"id": 1, "error": {"code": True, "message": "no"}},
        {"id": 1, "error": {"code": 1.0, "message": "no"}},
        {"id": 1, "error": {"code": 1, "message": None}},
        {"id": 1, "error": {"code": 1}},
    ],
    ids=str,
)
def test_a_spoiled_answer_is_refused(answer):
    """A response has exactly one of result and error, a usable id, and an error that is one."""
    assert isinstance(read_message({"jsonrpc": "2.0", **answer}), Invalid)


@pytest.mark.spec("J-07")
def test_an_error_without_an_id_leaves_it_out_or_says_null():
    """Newer schemas leave an unknown id out, older ones and JSON-RPC itself want null."""
    error = Error(-32600, "No.")
    assert "id" not in error_of(None, error)
    assert error_of(None, error, null_id=True)["id"] is None
    assert error_of(3, error, null_id=True)["id"] == 3
    assert error_of(0, error)["id"] == 0


def test_an_error_says_its_data_where_it_has_any():
    """`data` is left out where it is None, and kept where it is merely falsy."""
    assert "data" not in error_of(1, Error(-1, "No."))["error"]
    assert error_of(1, Error(-1, "No.", data=""))["error"]["data"] == ""


@pytest.mark.spec("S-16", "E-05")
def test_a_crash_tells_nothing():
    """The error of a crash is -32603 and a fixed sentence."""
    assert internal_error().code == -32603
    assert internal_error() == internal_error()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_sent_is_json(number):
    """A number that JSON does not have is sent as null: a reader that is strict must be able to read it."""
    sent = encode(result_of(1, {"structuredContent": {"score": number}}))
    assert json.loads(sent, parse_constant=pytest.fail)["result"] == {"structuredContent": {"score": None}}


@pytest.mark.spec("H-22")
def test_what_is_sent_is_one_line():
    """A message has no raw newline, so that it fits an event's data line."""
    assert b"\n" not in encode(result_of(1, {"text": "one\ntwo\r"}))


def test_a_bool_is_no_request_id():
    """Python counts True as an integer; the protocol does not."""
    assert is_request_id(1)
    assert not is_request_id(True)
