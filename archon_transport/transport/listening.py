"""GET: a client listens, or comes back for the rest of a stream.

A cursor names its stream; the seal in the name says whether it is this session's, before anything is
asked of the store. What is gone is not refused: a call whose rows are purged or were never committed is
answered with its error, since a client that waits must not wait for ever, and a 404 would tell it that
its session had ended.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from ..protocol.inbound import not_allowed
from ..protocol.messages import Refused, bad_request, encode, error_of
from ..protocol.sse import Cursor, name_stream, request_ids_of
from ..sessions import Session, StoreUnavailable
from ..sessions.streams import Attached, Event, Key, StreamStore
from .calls import LOST
from .dispatch import Arrival
from .exchanges import Exchange
from .streams import FIRST, Stream, Streams
from .viewers import Viewer, Viewers

FOREIGN: Final = bad_request(
    "This Last-Event-ID is not one of this session. Leave it out to listen anew.", "cursor"
)
ENDED: Final = not_allowed("This stream has ended, and its end was sent.", "POST, DELETE")
"""Not an empty stream: a client that takes only a result for an end would come back for ever."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Makes viewers: for the POST that began a stream, and for GETs."""

    store: StreamStore
    streams: Streams
    viewers: Viewers
    incarnation: Callable[[], str]
    retry: int | None = None

    async def first(
        self, arrival: Arrival, session: Session | None, exchange: Exchange, stream: Stream
    ) -> web.StreamResponse:
        """The stream's first viewer: the response of the POST that began it."""
        viewer = self._viewer(stream.key, (FIRST, 0), session, stream)
        if exchange.polled:
            viewer.stop("poll")
        return await self._view(arrival, viewer)

    async def listen(self, arrival: Arrival, session: Session) -> web.StreamResponse | Refused:
        """Follow what `Last-Event-ID` names, else the session's standing stream."""
        last = arrival.headers.last_event_id
        if not last:
            return await self._stand(arrival, session)
        cursor = Cursor.parse(last)
        if cursor is None or not cursor.belongs_to(session.secret_digest):
            return FOREIGN
        key = (session.session_id, cursor.stream_id)
        attached = await self.store.attach(key, incarnation=self.incarnation())
        place = (cursor.epoch, cursor.n)
        if attached is not None and attached.closed and place >= (attached.epoch, attached.tail):
            return ENDED
        if attached is not None:
            viewer = self._viewer(key, place, session, self.streams.find(key))
            return await self._view(arrival, viewer, attached=attached)
        if cursor.kind == "standing":
            return await self._stand(arrival, session)
        return await self._mourn(arrival, session, cursor)

    async def _stand(self, arrival: Arrival, session: Session) -> web.StreamResponse:
        name = name_stream("standing", (), secrets.token_bytes(9), session.secret_digest)
        stream_id, attached = await self.store.stand(session.session_id, name, incarnation=self.incarnation())
        place = (attached.epoch, attached.tail)
        viewer = self._viewer((session.session_id, stream_id), place, session, None)
        return await self._view(arrival, viewer, attached=attached)

    async def _mourn(self, arrival: Arrival, session: Session, cursor: Cursor) -> web.StreamResponse:
        """A call of which nothing is left: its error, and the end."""
        data = lost_call(cursor.stream_id)
        key, place = (session.session_id, cursor.stream_id), (cursor.epoch, cursor.n)
        viewer = self._viewer(key, place, session, None)
        return await self._view(arrival, viewer, Event(cursor.epoch + 1, 1, "response", data))

    def _kind(self) -> Callable[..., Viewer]:
        """What makes a viewer: an event store puts its own in the place of ours."""
        return Viewer

    def _viewer(
        self, key: Key, place: tuple[int, int], session: Session | None, local: Stream | None
    ) -> Viewer:
        return self._kind()(
            key,
            place,
            store=self.store,
            local=local,
            ids=session is not None,
            primes=session is not None and session.revision >= "2025-11-25",
            retry=self.retry,
        )

    async def _view(
        self, arrival: Arrival, viewer: Viewer, only: Event | None = None, attached: Attached | None = None
    ) -> web.StreamResponse:
        self.viewers.add(viewer)
        try:
            return await viewer.run(arrival.http, only)
        finally:
            if self.viewers.drop(viewer) and attached is not None and viewer.key[1].startswith("s"):
                # By its number: the next viewer may have attached already and not be known here yet. A store
                # that is away takes it for viewed a little longer.
                with contextlib.suppress(StoreUnavailable):
                    await self.store.detach(
                        viewer.key, incarnation=self.incarnation(), viewer_epoch=attached.viewer_epoch
                    )


def lost_call(stream_id: str) -> bytes:
    """The response of a call whose process is gone; the stream's name carries the ids of its requests.

    A batch is answered as one: whichever of its members were answered before are answered once more.
    """
    ids = request_ids_of(stream_id)
    if len(ids) > 1:
        return encode([error_of(request_id, LOST) for request_id in ids])
    return encode(error_of(ids[0] if ids else None, LOST))
