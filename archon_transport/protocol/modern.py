"""The modern era's ladder: a request that carries its revision and its client in its own `_meta`.

There is no session and no handshake. Body and headers are judged together, never the header alone: the
headers mirror the body for whoever routes by them, so a request that contradicts itself is refused
(2026-07-28 transports, Server Validation). The rungs are the SDK's; what they lack is added here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
)

from . import revisions
from .headers import ProtocolHeaders
from .messages import Error, Message, Notification, Refused, Request, RequestId, Response, bad_request

LISTEN: Final = "subscriptions/listen"

_HANDSHAKE_ONLY: Final = frozenset({-32002, -32042})
"""Resource not found, URL elicitation required: codes that this era no longer has."""


@dataclass(frozen=True, slots=True)
class Modern:
    """A request of the modern era; `client_info` and `capabilities` are what it says of itself, unchecked."""

    request: Request
    revision: str
    client_info: Any
    capabilities: Any

    @property
    def log_level(self) -> str | None:
        """The least severe log message that the request wants; None where it wants none."""
        level = ((self.request.params or {}).get("_meta") or {}).get(LOG_LEVEL_META_KEY)
        return level if isinstance(level, str) else None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A notification of the modern era: accepted, and of no effect (it defines none for a client to send)."""


def is_modern_header(headers: ProtocolHeaders) -> bool:
    """Whether the version header names a revision of this era."""
    return headers.revision is not None and revisions.is_modern(headers.revision)


def says_modern(message: Message) -> bool:
    """Whether a message names a revision in its own `_meta` that is none of the handshake's."""
    params = None if isinstance(message, Response) else message.params
    meta = (params or {}).get("_meta")
    if not isinstance(meta, dict) or PROTOCOL_VERSION_META_KEY not in meta:
        return False
    claimed = meta[PROTOCOL_VERSION_META_KEY]
    return not (isinstance(claimed, str) and revisions.is_handshake(claimed))


def decide_modern(headers: ProtocolHeaders, message: Message) -> Modern | Dropped | Refused:
    """The rungs, in order: shape, duplicates, header against body, revision."""
    if isinstance(message, Response):
        text = "In this revision a client sends no responses; answer in a new request."
        return bad_request(text, "message")
    request_id = message.id if isinstance(message, Request) else None
    broken = headers.duplicate or headers.spoiled
    if broken is not None:
        text = f"The header {broken[:64]} stands twice or has characters that a header may not have."
        return _mismatch(text, request_id)
    if isinstance(message, Notification):
        return _decide_notification(headers.revision, message)
    mirrored = {
        "mcp-protocol-version": headers.revision,
        "mcp-method": headers.method,
        "mcp-name": headers.name,
    }
    route = classify_inbound_request(
        {"method": message.method, "params": message.params},
        headers={name: value for name, value in mirrored.items() if value is not None},
    )
    if isinstance(route, InboundLadderRejection):
        return _rejected(route, request_id)
    return Modern(message, route.protocol_version, route.client_info, route.client_capabilities)


def _decide_notification(header: str | None, notification: Notification) -> Dropped | Refused:
    """Its other headers are of no interest: the revision says nothing about them (M-06)."""
    if header is not None and revisions.is_modern(header):
        return Dropped()
    meta = (notification.params or {}).get("_meta")
    if header is not None and isinstance(meta, dict) and meta.get(PROTOCOL_VERSION_META_KEY) == header:
        return unsupported(header, None)
    return _mismatch("The MCP-Protocol-Version header does not match the body's revision.", None)


def refuse_params(
    modern: Modern, schema: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> Refused | None:
    """The refusal of a tool call whose `Mcp-Param-*` headers differ from its arguments (M-43, M-44)."""
    arguments = (modern.request.params or {}).get("arguments")
    if schema is None:
        return None
    found = validate_mcp_param_headers(schema, arguments if isinstance(arguments, dict) else {}, headers)
    return None if found is None else _rejected(found, modern.request.id)


def status_of(error: Error) -> int:
    """The HTTP status of an error that is answered in JSON (M-37, M-95)."""
    return ERROR_CODE_HTTP_STATUS.get(error.code, 200)


def in_this_era(error: Error) -> Error:
    """The error with a code that this era has (M-93)."""
    return Error(INVALID_PARAMS, error.message, error.data) if error.code in _HANDSHAKE_ONLY else error


def unsupported(
    requested: str, request_id: RequestId | None, served: tuple[str, ...] = revisions.SERVED
) -> Refused:
    """400 that lists what is served; to a modern request only what `server/discover` lists, too."""
    shown = requested[:64].encode("ascii", "replace").decode("ascii")  # a header may hold any bytes
    data = {"supported": list(served), "requested": shown}
    text = f"Revision {shown} is not served like this; use one of {', '.join(served)}."
    return Refused(400, Error(UNSUPPORTED_PROTOCOL_VERSION, text, data), "revision", request_id)


def _rejected(rejection: InboundLadderRejection, request_id: RequestId | None) -> Refused:
    if rejection.code == UNSUPPORTED_PROTOCOL_VERSION:
        return unsupported(str(rejection.data["requested"]), request_id, revisions.MODERN)
    error = Error(rejection.code, rejection.message, rejection.data)
    return Refused(status_of(error), error, "envelope", request_id)


def _mismatch(text: str, request_id: RequestId | None) -> Refused:
    return Refused(400, Error(HEADER_MISMATCH, text), "header-mismatch", request_id)
