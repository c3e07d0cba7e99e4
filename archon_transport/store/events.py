"""What of an event is kept: the limits of the log, the same in every store.

Whoever follows a call on its own node gets everything from memory; these limits are for what is read
back from the log. They are kept when something is written, so that no row and no statement can grow
without bound.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Final

from mcp_types import INTERNAL_ERROR

from ..protocol.messages import Error, encode, error_of
from ..sessions.streams import Event

MEBI: Final = 1024 * 1024

EVENT_BYTES: Final = MEBI
"""A larger notification is not kept, a larger response is kept as an error; a question always is."""

CALL_BYTES: Final = 8 * MEBI
STANDING_BYTES: Final = MEBI
"""A stream that is larger loses its oldest notifications, down to three quarters of this."""

VIEWED_WITHIN: Final = 60
"""Seconds for which a standing stream is still written to after its last viewer has left."""

_TOO_LARGE = Error(INTERNAL_ERROR, "The result was too large to be kept for a later connection; call again.")


def kept(event: Event) -> Event | None:
    """The event as the log has it, None where it has not."""
    if len(event.data) <= EVENT_BYTES or event.kind == "question":
        return event
    if event.kind == "notification":
        return None
    return replace(event, data=encode(error_of(json.loads(event.data).get("id"), _TOO_LARGE)))


def uri_key(uri: str) -> str:
    """A URI as a key that every column and index takes: itself, or its hash where it is long or strange."""
    if len(uri) <= 500 and uri.isprintable():
        return uri
    return f"sha256:{hashlib.sha256(uri.encode('utf-8', 'surrogatepass')).hexdigest()}"
