"""Telling nodes to look: at a stream, an answer, a session, or at news for all.

A hint is sent after the commit that it is about, in a statement of its own, because a NOTIFY takes a lock
that the whole database shares. It may be lost: whoever waits also looks by itself now and then. What
concerns this process is told directly and never by way of the database.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
from collections.abc import Callable, Iterable

from ..sessions.port import StoreUnavailable
from ..sessions.streams import Wakes
from .pool import Database
from .wakeups import WakeUps, call

_log = logging.getLogger(__name__)

NEWS = "archon_transport_news"
"""The channel that every node listens to; each incarnation has one of its own besides."""

_LONGEST = 7900
"""Bytes of a payload; Postgres refuses 8000."""

_NOTIFY = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS t (channel, payload)"

Hint = tuple[str | None, str, str, str]
"""(incarnation, "stream" or "answered", session id, stream or question id)."""


class Hints:
    """What this process tells others and hears from them; `scope` keeps schemas of one database apart."""

    def __init__(self, database: Database, wakeups: WakeUps) -> None:
        self._database = database
        self._wakeups = wakeups
        self._origin = secrets.token_hex(8)
        self._wakes: Wakes | None = None
        self.listeners: dict[object, Callable[[str], None]] = {}
        self.scope = ""
        self.me = ""
        wakeups.subscribe(NEWS, self._on_news, lambda: None)

    def __repr__(self) -> str:
        return f"<Hints to {self.me or 'nobody'}>"

    async def begin(self, incarnation: str, wakes: Wakes) -> None:
        """Hear what is sent to this incarnation, and no longer what was sent to an earlier one."""
        await self._wakeups.listen(_channel(incarnation), lambda hint: self._look(*json.loads(hint)))
        self._wakeups.forget(_channel(self.me))
        self.me, self._wakes = incarnation, wakes

    async def send(self, hints: Iterable[Hint]) -> None:
        """Tell each incarnation to look."""
        far: set[tuple[str, str]] = set()
        for to, *hint in hints:
            if to == self.me:
                self._look(*hint)
            elif to is not None:
                far.add((_channel(to), json.dumps(hint)))
        await self._notify(far)

    async def announce(self, what: str, text: str) -> None:
        """Tell every node that a session has `changed`, that a call of it was `cancelled`, or what was said
        on the `bus`; here at once.
        """
        self._hear(what, text)
        payload = json.dumps([self.scope, self._origin, what, text])
        if len(payload) > _LONGEST:
            _log.warning("news too long to be told to other nodes", extra={"bytes": len(payload)})
            return
        await self._notify({(NEWS, payload)})

    async def _notify(self, notes: set[tuple[str, str]]) -> None:
        if notes:
            with contextlib.suppress(StoreUnavailable):  # the commit stands, only its hint is lost
                await self._database.fetch(_NOTIFY, *zip(*notes, strict=True), repeat=True)

    def _look(self, what: str, session_id: str, name: str) -> None:
        if self._wakes is not None:
            call(self._wakes.stream if what == "stream" else self._wakes.answered, session_id, name)

    def _on_news(self, payload: str) -> None:
        scope, origin, what, text = json.loads(payload)
        if scope == self.scope and origin != self._origin:
            self._hear(what, text)

    def _hear(self, what: str, text: str) -> None:
        if what == "bus":
            for listener in list(self.listeners.values()):
                call(listener, text)
        elif self._wakes is not None:
            call(self._wakes.cancelled if what == "cancelled" else self._wakes.changed, text)


def _channel(incarnation: str) -> str:
    return f"archon_transport_{incarnation}"
