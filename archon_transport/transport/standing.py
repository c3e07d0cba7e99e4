"""What a session hears outside of its calls: the standing stream, and the bus that fills it.

A standing stream is a log like a call's, but any node appends to it, through the store. It is written
to only while somebody listens, or did within the last minute: a client that never opens one costs
nothing, and one that comes back after a broken connection has missed nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final, get_args

from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp_types import LoggingLevel

from ..protocol.messages import Params, encode
from ..sessions import StoreUnavailable
from ..sessions.streams import StreamStore

_log = logging.getLogger(__name__)

LOG_LEVELS: Final[tuple[str, ...]] = get_args(LoggingLevel)
"""Least severe first."""

_KINDS: Final[dict[str, type[ToolsListChanged | PromptsListChanged | ResourcesListChanged]]] = {
    "tools": ToolsListChanged,
    "prompts": PromptsListChanged,
    "resources": ResourcesListChanged,
}


def passes(level: str | None, params: Params) -> bool:
    """Whether a log message is at or above the session's level; without a level everything is."""
    said = (params or {}).get("level")
    if level not in LOG_LEVELS or said not in LOG_LEVELS:
        return True
    return LOG_LEVELS.index(said) >= LOG_LEVELS.index(level)


def notification(method: str, params: Params) -> bytes:
    """A notification as it goes on the wire."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = dict(params)
    return encode(message)


def taken_back(question_id: str, reason: str) -> bytes:
    """The notice that a question needs no answer any more; it goes where the question went (H-96)."""
    return notification("notifications/cancelled", {"requestId": question_id, "reason": reason})


class StoreBus:
    """The SDK's `SubscriptionBus` over a store: an event reaches subscribers on every node.

    Handshake sessions get it on their standing streams; listeners (the modern era's listen streams)
    are called on every node that has one. With `lists` off only they hear of changed lists: a server
    that does not declare `listChanged` to its sessions spares each of them a line in its log.
    """

    def __init__(self, store: StreamStore, *, lists: bool = True) -> None:
        self._store, self._lists = store, lists

    async def publish(self, event: ServerEvent) -> None:
        """Tell every subscriber; a store that is away is logged, since a change may be asked for again."""
        kind, uri = _packed(event)
        change = "resources/updated" if kind == "updated" else f"{kind}/list_changed"
        data = notification(f"notifications/{change}", None if uri is None else {"uri": uri})
        try:
            told = uri if uri is not None or self._lists else ""  # no session subscribes to no address
            await self._store.publish(data, session_id=None, uri=told, bus=json.dumps([kind, uri]))
        except StoreUnavailable:
            _log.warning("the store is away: a change was not announced", extra={"kind": kind})

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Call `listener` for every event, whichever node publishes it; returns how to stop."""
        return self._store.hear(lambda packed: listener(_unpacked(packed)))


def _packed(event: ServerEvent) -> tuple[str, str | None]:
    if isinstance(event, ResourceUpdated):
        return "updated", event.uri
    return next(kind for kind, cls in _KINDS.items() if isinstance(event, cls)), None


def _unpacked(packed: str) -> ServerEvent:
    kind, uri = json.loads(packed)
    return ResourceUpdated(uri) if kind == "updated" else _KINDS[kind]()
