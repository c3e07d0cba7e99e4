"""From one HTTP request to one Decision: the ladder, rung by rung, first failure wins.

Everything that can be said of a request without asking for its session is said here. The endpoint
matches the Decision; the one question that needs the session's revision (may this be a batch?) is
asked afterwards with `refuse_batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from . import revisions
from .headers import ProtocolHeaders
from .messages import (
    MAX_BATCH,
    BodyError,
    Error,
    Invalid,
    Message,
    Refused,
    Request,
    RequestId,
    Response,
    bad_request,
    invalid_request,
    read_json,
    read_message,
)
from .modern import Dropped, Modern, decide_modern, is_modern_header, says_modern, unsupported

STREAM: Final = "text/event-stream"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Initialize:
    """A client's first request: it makes a session, whatever session id stands beside it."""

    request: Request


@dataclass(frozen=True, slots=True)
class Single:
    """One message of the handshake era."""

    message: Message


@dataclass(frozen=True, slots=True)
class Batch:
    """Several messages in one body: requests and notifications, or responses only."""

    members: tuple[Message, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        """The members that want an answer."""
        return tuple(member for member in self.members if isinstance(member, Request))


@dataclass(frozen=True, slots=True)
class Listen:
    """A GET for the session's event stream."""


@dataclass(frozen=True, slots=True)
class End:
    """A DELETE of the session."""


Decision = Refused | Initialize | Single | Batch | Listen | End | Modern | Dropped


def decide(verb: str, headers: ProtocolHeaders, body: bytes) -> Decision:
    """What one HTTP request asks for, in either era; the body and the headers say which, together."""
    match verb:
        case "POST":
            return _decide_post(headers, body)
        case "GET":
            return _decide_bodiless(headers) or _decide_get(headers)
        case "DELETE":
            return _decide_bodiless(headers) or End()
        case _:
            return not_allowed("This address takes POST, GET and DELETE.", "POST, GET, DELETE")


def _decide_bodiless(headers: ProtocolHeaders) -> Refused | None:
    if is_modern_header(headers) and headers.duplicate is None:
        return not_allowed("In this revision everything is a POST.", "POST")
    return _refuse_headers(headers)


def _decide_get(headers: ProtocolHeaders) -> Decision:
    if not headers.accepts(STREAM):
        return Refused(406, invalid_request(f"A GET answers {STREAM}; list it in Accept."), "accept")
    return Listen()


def _decide_post(headers: ProtocolHeaders, body: bytes) -> Decision:
    if not headers.is_json:
        return Refused(415, invalid_request(f"Send the body as Content-Type: {JSON}."), "content-type")
    if not headers.accepts(JSON) and not headers.accepts(STREAM):
        return Refused(406, invalid_request(f"List {JSON} and {STREAM} in Accept."), "accept")
    try:
        value = read_json(body)
    except BodyError as error:
        return Refused(400, Error(error.code, str(error)), "json")
    if isinstance(value, list):
        return _refuse_array(headers) or _decide_batch(value)
    message = read_message(value)
    if isinstance(message, Invalid):
        return bad_request(message.message, "message", message.id)
    return _decide_message(headers, message)


def _decide_message(headers: ProtocolHeaders, message: Message) -> Decision:
    request = message if isinstance(message, Request) else None
    begins = request is not None and request.method == "initialize"
    claims = is_modern_header(headers) + says_modern(message)
    if claims == 2 or (claims and not begins):  # an initialize by mistake only where all of it is modern
        return decide_modern(headers, message)
    refused = _refuse_headers(headers, None if request is None else request.id)
    if refused is not None:
        return refused
    return Initialize(request) if begins and request is not None else Single(message)


def _refuse_array(headers: ProtocolHeaders) -> Refused | None:
    if is_modern_header(headers) and headers.duplicate is None:
        return refuse_batch(str(headers.revision))
    return _refuse_headers(headers)


def _decide_batch(value: list[Any]) -> Decision:
    if not value:
        return bad_request("A batch needs at least one message.", "batch")
    if len(value) > MAX_BATCH:
        return bad_request(f"A batch takes at most {MAX_BATCH} messages; send several.", "batch")
    members = [read_message(item) for item in value]
    for member in members:
        if isinstance(member, Invalid):
            return bad_request(f"A member of the batch is not a message: {member.message}", "batch")
    valid = tuple(member for member in members if not isinstance(member, Invalid))
    batch = Batch(valid)
    ids = [(type(request.id), request.id) for request in batch.requests]
    if any(request.method == "initialize" for request in batch.requests):
        return bad_request("initialize may not be part of a batch; send it alone.", "batch")
    if len(set(ids)) != len(ids):
        return bad_request("Two requests of the batch have the same id.", "batch")
    if 0 < sum(isinstance(member, Response) for member in valid) < len(valid):
        return bad_request("A batch is either requests and notifications, or responses.", "batch")
    return batch


def refuse_batch(revision: str) -> Refused | None:
    """The refusal of a batch at a revision that has none (2025-06-18 changelog, Major 1)."""
    if revisions.allows_batches(revision):
        return None
    return bad_request(f"Revision {revision} has no batches; send one message per POST.", "batch")


def _refuse_headers(headers: ProtocolHeaders, request_id: RequestId | None = None) -> Refused | None:
    """The refusal of a header that stands twice, or of a version header that names no handshake revision."""
    if headers.duplicate is not None:
        text = f"The header {headers.duplicate} stands twice; send it once."
        return bad_request(text, "duplicate-header", request_id)
    if headers.revision is None or revisions.is_handshake(headers.revision):
        return None
    return unsupported(headers.revision, request_id)


def not_allowed(message: str, allow: str) -> Refused:
    """405 with the verbs that are (RFC 9110, 15.5.6)."""
    return Refused(405, invalid_request(message), "method", allow=allow)


def no_session() -> Refused:
    """Unknown, ended and foreign sessions look the same; 404 tells a client to start over."""
    text = "This session is unknown here or has ended. Send initialize without a session id to start anew."
    return Refused(404, invalid_request(text), "session")


def session_needed() -> Refused:
    """A request that came without the session id it was given."""
    text = (
        "The Mcp-Session-Id header is missing. Send the id that initialize answered with, or send initialize."
    )
    return Refused(400, invalid_request(text), "session-missing")
