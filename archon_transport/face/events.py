"""An SDK `EventStore` behind the streams of calls: whoever has one keeps using it.

Each event of a call is given to it before it is sent, and has its id on the wire as `stream~its-id`, so that
a session's own are told from another's before it is asked. A client that comes back gets what it replays
and, where the call runs on this node, what follows. The rows behind every call stay as they are: they know
how it ended when its process is gone. A session's standing stream lives in those rows alone.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from aiohttp import web
from mcp.server.streamable_http import EventMessage, EventStore
from mcp_types import jsonrpc_message_adapter

from ..protocol.messages import Refused
from ..protocol.sse import Cursor, frame, goodbye
from ..sessions import Session
from ..sessions.streams import Append, Event, Key, StreamStore
from ..transport import Listening
from ..transport.listening import ENDED, FOREIGN
from ..transport.streams import FIRST
from ..transport.viewers import HEADERS, RETRY, Viewer

_log = logging.getLogger(__name__)

KEPT = 1000
"""Streams whose ids are remembered here, and ids of each: more than a viewer is ever behind."""


class NamedEvents:
    """The log of `store` with every event named by `event_store` first; place 0 is the priming event."""

    def __init__(self, store: StreamStore, event_store: EventStore) -> None:
        self.store = store
        self.event_store = event_store
        self._names: OrderedDict[str, OrderedDict[int, str | None]] = OrderedDict()

    def name(self, stream_id: str, n: int) -> str | None:
        """The id of an event as a client sees it; None where it has none."""
        name = self._of(stream_id).get(n)
        return None if name is None else f"{stream_id}~{name}"

    def is_settled(self, stream_id: str, n: int) -> bool:
        """Whether the store was asked for its name."""
        return n in self._of(stream_id)

    def place(self, stream_id: str, name: str) -> int | None:
        """Where in a stream of this node the event of that name stands."""
        found = self._of(stream_id).items()
        return next((n for n, known in found if known == name), None)

    def _of(self, stream_id: str) -> Mapping[int, str | None]:
        return self._names.get(stream_id) or {}

    async def append(self, appends: Sequence[Append], *, incarnation: str) -> dict[Key, str | None]:
        """Name what is new, then commit it."""
        for append in appends:
            names = self._names.setdefault(append.stream_id, OrderedDict())
            for event in (None, *append.events):
                n = 0 if event is None else event.n
                if n not in names and (n or append.opens):
                    names[n] = await self._store_event(append.stream_id, event)
            while len(names) > KEPT:
                names.popitem(last=False)
        while len(self._names) > KEPT:
            self._names.popitem(last=False)
        return await self.store.append(appends, incarnation=incarnation)

    async def _store_event(self, stream_id: str, event: Event | None) -> str | None:
        message = None if event is None else jsonrpc_message_adapter.validate_json(event.data)
        try:
            return await self.event_store.store_event(stream_id, message)
        except Exception:
            _log.exception("the event store did not take an event; it is sent without an id")
            return None


@dataclass(eq=False, kw_only=True)
class _NamedViewer(Viewer):
    """A viewer that gives a call's events on this node their names for ids."""

    names: NamedEvents

    def _id(self, epoch: int, n: int) -> str | None:
        if self.local is None:
            return super()._id(epoch, n)
        return self.names.name(self.key[1], n) if self._has_ids and epoch == FIRST else None

    async def _more(self) -> tuple[list[Event], bool]:
        events, last = await super()._more()
        ready = list(takewhile(self._is_ready, events))
        return ready, last and len(ready) == len(events)

    def _is_ready(self, event: Event) -> bool:
        if self.local is None or not self.local.logged or event.epoch != FIRST:
            return True
        return event.n <= self.local.stored or self.names.is_settled(self.key[1], event.n)


@dataclass(frozen=True, kw_only=True)
class NamedListening(Listening):
    """Viewers of named events, and replays out of the event store."""

    names: NamedEvents

    def _kind(self) -> Callable[..., Viewer]:
        return partial(_NamedViewer, names=self.names)

    async def listen(self, arrival: Any, session: Session) -> web.StreamResponse | Refused:
        """Replay what `stream~its-id` names, and follow it where it runs here; other ids are our own."""
        stream_id, tilde, last = (arrival.headers.last_event_id or "").partition("~")
        if not tilde:
            return await super().listen(arrival, session)
        cursor = Cursor.parse(f"{stream_id}.{FIRST}.0")
        replayed: list[EventMessage] = []
        if cursor is not None and cursor.belongs_to(session.secret_digest):

            async def collect(event: EventMessage) -> None:
                replayed.append(event)

            found = await self.names.event_store.replay_events_after(last, collect)
            if found == stream_id or not (found or replayed):  # an id of theirs may lead to another's stream
                return await self._replay(arrival, session, cursor, last, replayed)
        return FOREIGN

    async def _replay(
        self, arrival: Any, session: Session, cursor: Cursor, last: str, replayed: list[EventMessage]
    ) -> web.StreamResponse | Refused:
        key = (session.session_id, cursor.stream_id)
        body = b"".join(_replayed(cursor.stream_id, event) for event in replayed)
        newest = next((event.event_id for event in reversed(replayed) if event.event_id), last)
        local, n = self.streams.find(key), self.names.place(cursor.stream_id, newest)
        if local is not None and n is not None:
            viewer = self._viewer(key, (FIRST, n), session, local)
            viewer.before = body
            return await self._view(arrival, viewer)
        attached = await self.store.attach(key, incarnation=self.incarnation())
        if attached is None and not body:
            return await self._mourn(arrival, session, cursor)
        if attached is not None and attached.epoch > FIRST:
            events, _ = await self.store.read(key, (FIRST, 10**15))  # the error of a process that is gone
            body += b"".join(frame(event.data) for event in events)
        if attached is not None and not attached.closed:  # it runs elsewhere: the client comes back there
            body += goodbye(RETRY if self.retry is None else self.retry)
        return web.Response(body=body, headers=HEADERS) if body else ENDED


def _replayed(stream_id: str, event: EventMessage) -> bytes:
    data = event.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return frame(data, f"{stream_id}~{event.event_id}" if event.event_id else None)
