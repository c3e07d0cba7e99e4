"""Channels: where a handler's words to the client go, its call's own stream or the session's standing one.

The kernel knows them as `Channel` only; here they are tied to exchanges, questions and
the store. A call that is over says nothing more, and a log message below the session's level goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.shared.exceptions import NoBackChannelError

from ..protocol.messages import Params
from ..protocol.modern import Modern
from ..sessions import Owner, Session, SessionTable
from ..sessions.streams import EventKind, Question, StreamStore
from .calls import Call
from .kernel import Channel, Progress
from .questions import Questions
from .standing import LOG_LEVELS, notification, passes
from .streams import PRESSURE, Log
from .viewers import Viewers

PING = "ping"
PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Wires:
    """What every channel of a node needs, in one hand."""

    store: StreamStore
    sessions: SessionTable
    questions: Questions
    viewers: Viewers
    log: Log
    incarnation: Callable[[], str]

    def hushed(self, session_id: str, method: str, params: Params) -> bool:
        """Whether a notification is a log message below the session's level."""
        if method != "notifications/message":
            return False
        session = self.sessions.peek(session_id)
        return session is not None and not passes(session.log_level, params)


class CallChannel(Channel):
    """The channel of one running call."""

    __slots__ = ("_call", "_modern", "_owner", "_session", "_wires")

    def __init__(
        self,
        wires: Wires,
        call: Call,
        session: Session | None,
        owner: Owner | None,
        modern: Modern | None = None,
    ) -> None:
        self._wires = wires
        self._call = call
        self._session = session
        self._owner = owner
        self._modern = modern

    @property
    def can_ask(self) -> bool:
        """Whether a question can reach the client, and its answer find back."""
        return self._session is not None and not self._call.done and self._call.exchange.can_stream

    @property
    def can_close(self) -> bool:
        """Whether the client comes back when its connection is closed (from 2025-11-25 on)."""
        return self.can_ask and self._session is not None and self._session.revision >= "2025-11-25"

    async def notify(self, method: str, params: Params) -> None:
        """Say something on the call's stream; waits only where the log is far behind."""
        if self._call.done or self._hushed(method, params):
            return
        self._call.exchange.emit("notification", notification(method, params))
        stream = self._call.exchange.stream
        while stream is not None and stream.pressure > PRESSURE and not self._call.done:
            if stream.logged:
                await self._wires.log.flushed()
                break
            await asyncio.sleep(PAUSE)  # its viewer reads, or is dropped and ends the call

    def _hushed(self, method: str, params: Params) -> bool:
        """A log message is weighed by the session's level, in the modern era by its request's own (M-97)."""
        if self._session is not None:
            return self._wires.hushed(self._session.session_id, method, params)
        if self._modern is None or method != "notifications/message":
            return False
        level = self._modern.log_level
        return level not in LOG_LEVELS or not passes(level, params)

    async def ask(
        self, method: str, params: Params, timeout: float | None = None, on_progress: Progress | None = None
    ) -> dict[str, Any]:
        """Ask the client on the call's stream (SEP-2260: never on another one)."""
        if self._session is None or not self.can_ask:
            raise NoBackChannelError(method)
        asked: list[str] = []

        async def say(kind: EventKind, data: bytes, question: Question | None) -> None:
            if self._call.done:
                return
            self._call.exchange.emit(kind, data, question)
            if question is not None:
                asked.append(question.question_id)
                self._call.asked.add(question.question_id)

        try:
            return await self._wires.questions.ask(
                self._session, self._owner, say, method, params, timeout=timeout, on_progress=on_progress
            )
        finally:
            self._call.asked.difference_update(asked)

    async def close_stream(self) -> None:
        """Close the client's connection, not the stream: it comes back for the rest."""
        stream = self._call.exchange.begin()
        if stream is not None:
            self._call.exchange.polled = True
            self._wires.viewers.stop(stream.key, "poll")


@dataclass(frozen=True, slots=True)
class Standing(Channel):
    """A session's own channel, outside of any call: the SDK's `Outbound` of its connection."""

    _wires: Wires
    _session_id: str

    async def notify(self, method: str, params: Params) -> None:
        """Append to the standing stream, where somebody listens or lately did."""
        if self._wires.hushed(self._session_id, method, params):
            return
        uri = str((params or {}).get("uri")) if method == "notifications/resources/updated" else None
        said = notification(method, params)
        await self._wires.store.publish(said, session_id=self._session_id, uri=uri)

    async def ask(
        self, method: str, params: Params, timeout: float | None = None, on_progress: Progress | None = None
    ) -> dict[str, Any]:
        """Ask for a sign of life; nothing else may be asked outside of a call (SEP-2260)."""
        session = self._wires.sessions.peek(self._session_id)
        if method != PING or session is None:
            raise NoBackChannelError(method)

        async def say(kind: EventKind, data: bytes, question: Question | None) -> None:
            incarnation = self._wires.incarnation()
            taken = await self._wires.store.publish(
                data, session_id=self._session_id, question=question, incarnation=incarnation
            )
            if question is not None and not taken:
                raise NoBackChannelError(method)

        return await self._wires.questions.ask(session, session.owner, say, method, params, timeout=timeout)

    async def close_stream(self) -> None:
        """Close the connection of whoever listens here; it comes back."""
        self._wires.viewers.poll_standing(self._session_id)
