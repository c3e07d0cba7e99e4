"""JSON-RPC messages: from bytes to one of four shapes, and from an outcome to bytes.

Reading is stricter than `json.loads`: a duplicate key, NaN, an infinite number, a lone surrogate and
nesting deeper than 64 are refused, because two readers of such a text would disagree about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR
from pydantic_core import to_json

MAX_DEPTH: Final = 64
"""Deepest nesting of a body; the SDK's own messages stay under ten."""

MAX_BATCH: Final = 100
"""Most members of one batch; no client in the field sends more than a handful."""

RequestId = int | str

Params = Mapping[str, Any] | None
"""The params of a message that is being made."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message that wants an answer."""

    id: RequestId
    method: str
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that is never answered (2025-11-25 basic, Notifications)."""

    method: str
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Response:
    """The peer's answer to a request of ours; exactly one of `result` and `error` is set."""

    id: RequestId | None
    result: Any = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Invalid:
    """JSON that is not one valid message, with the id where it could be read."""

    message: str
    id: RequestId | None = None


Message = Request | Notification | Response


@dataclass(frozen=True, slots=True)
class Error:
    """A JSON-RPC error object. `message` says what the reader can do."""

    code: int
    message: str
    data: Any = None


Outcome = dict[str, Any] | Error
"""A result, or the error in its place."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request goes no further: a status, a JSON-RPC error, and the rule's name for the count."""

    status: int
    error: Error
    rule: str
    id: RequestId | None = None
    allow: str | None = None
    retry_after: int | None = None
    challenge: str | None = None


class BodyError(ValueError):
    """The bytes are not a JSON text that one reads in one way only; the text says why."""

    code: Final = PARSE_ERROR


def read_json(body: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        BodyError: not UTF-8, not JSON, a duplicate key, a number JSON does not have, or too deep.
    """
    try:
        value = _decoder.decode(body.decode("utf-8"))
        if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_too_deep(value):
            raise BodyError(f"The body is nested deeper than {MAX_DEPTH}.")
        if b"\\ud" in body or b"\\uD" in body:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except BodyError:
        raise
    except UnicodeError:
        raise BodyError("The body is not valid UTF-8.") from None
    except (ValueError, RecursionError):
        raise BodyError("The body is not valid JSON.") from None
    return value


def read_message(value: Any) -> Message | Invalid:
    """One message from a JSON value (2025-11-25 basic, Messages)."""
    if not isinstance(value, dict):
        return Invalid("A message must be a JSON object.")
    request_id = value.get("id")
    known = request_id if is_request_id(request_id) else None
    if value.get("jsonrpc") != "2.0":
        return Invalid('A message must have "jsonrpc": "2.0".', known)
    if "method" in value:
        return _read_call(value, known)
    return _read_response(value, known)


def _read_call(value: dict[str, Any], known: RequestId | None) -> Request | Notification | Invalid:
    method, params = value["method"], value.get("params")
    if not isinstance(method, str):
        return Invalid("The method must be a string.", known)
    if params is not None and not isinstance(params, dict):
        return Invalid("The params must be an object.", known)
    if "id" not in value:
        return Notification(method, params)
    if known is None:
        return Invalid("A request id must be a string or an integer; leave it out for a notification.")
    return Request(known, method, params)


def _read_response(value: dict[str, Any], known: RequestId | None) -> Response | Invalid:
    if ("result" in value) == ("error" in value):
        return Invalid("A message needs a method, or exactly one of result and error.", known)
    if known is None and (value.get("id") is not None or "result" in value):
        return Invalid("A response needs the id of the request that it answers.")
    if "result" in value:
        return Response(known, result=value["result"])
    error = value["error"]  # one without an id answers a message whose id could not be read
    if not isinstance(error, dict) or not _is_error(error):
        return Invalid("An error needs an integer code and a message.", known)
    return Response(known, error=error)


def _is_error(error: dict[str, Any]) -> bool:
    code = error.get("code")
    return isinstance(code, int) and not isinstance(code, bool) and isinstance(error.get("message"), str)


def is_request_id(value: Any) -> bool:
    """Whether a value may be a request id: a string or an integer (a bool is neither here)."""
    return type(value) is str or type(value) is int


def result_of(request_id: RequestId, result: dict[str, Any]) -> dict[str, Any]:
    """The response that carries a result."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_of(
    request_id: RequestId | None, error: Error, *, null_id: bool = False, row_id: object = None
) -> dict[str, Any]:
    """The response that carries an error.

    Where no id could be read it is left out, as the schemas from 2025-11-25 on type it; `null_id`
    sends `"id": null`, as JSON-RPC itself and the older schemas want it. An internal error says in its data
    under which `row_id` the log and the request's row tell of it.
    """
    body: dict[str, Any] = {"jsonrpc": "2.0"}
    if request_id is not None or null_id:
        body["id"] = request_id
    detail: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        detail["data"] = error.data
    if row_id is not None and error.code == INTERNAL_ERROR and isinstance(error.data, dict | None):
        detail["data"] = {**(error.data or {}), "request_id": str(row_id)}
    body["error"] = detail
    return body


def encode(value: dict[str, Any] | Sequence[dict[str, Any]]) -> bytes:
    """A message or a batch of them as UTF-8 JSON without a raw newline; NaN and infinities become null."""
    return to_json(value, inf_nan_mode="null")


def invalid_request(message: str) -> Error:
    """The error of a message that is not a valid request."""
    return Error(INVALID_REQUEST, message)


def bad_request(message: str, rule: str, request_id: RequestId | None = None) -> Refused:
    """400 with -32600: the request is at fault."""
    return Refused(400, invalid_request(message), rule, request_id)


def internal_error() -> Error:
    """What a client learns of a crash in a handler: nothing but that it was not its fault."""
    return Error(INTERNAL_ERROR, "The server failed to answer this request. The server's log says why.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BodyError("The body has an object with a duplicate key.")
    return value


def _no_constant(name: str) -> Any:
    raise BodyError(f"{name} is not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BodyError("The body has a number that is too large.")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _is_too_deep(value: Any) -> bool:
    """Level by level, containers only: a walk over every node would hold the loop for seconds."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True
