"""What a session's messages set going: requests become calls, notifications are heard, answers are taken.

Between the endpoint, which knows HTTP, and the kernel, which knows the SDK. What a request changes in
its session (a log level, a subscription) is committed here, after its handler has succeeded and before
its answer goes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from ..auth import Principal
from ..protocol import revisions
from ..protocol.headers import ProtocolHeaders
from ..protocol.messages import (
    Error,
    Notification,
    Request,
    Response,
    encode,
    error_of,
    internal_error,
    result_of,
)
from ..protocol.modern import LISTEN, Modern, status_of
from ..sessions import Groups, Owner, Session, SessionTable, StoreUnavailable, Writer, serving
from ..sessions.inferred import bucket, client, conversation
from ..sessions.record import Inferred, Touch
from .calls import Absences, Call, Calls
from .channels import CallChannel, Wires
from .exchanges import Exchange, Patience
from .kernel import Kernel
from .request_state import acting_for
from .streams import Streams

_NOT_KEPT = Error(
    internal_error().code,
    "The database is away, so this could not be kept; try again in a moment.",
    {"retryable": True},
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One HTTP request on its way through: what was read of it and who sent it."""

    http: web.Request
    headers: ProtocolHeaders
    principal: Principal | None
    size: int

    @property
    def owner(self) -> Owner | None:
        """Whose session this may be."""
        return None if self.principal is None else self.principal.owner

    def revision(self, session: Session | None) -> str:
        """The row decides; without a session the header, else the oldest revision with this transport."""
        return session.revision if session is not None else self.headers.revision or revisions.ASSUMED

    def serve(self, session: Session | None) -> None:
        """Say whose request this task serves, to our tools and to the SDK."""
        serving(session, self.owner)
        acting_for(None if self.principal is None else self.principal.access)


class Dispatch:
    """Runs messages; `json_response` answers every POST in plain JSON."""

    def __init__(
        self,
        kernel: Kernel,
        sessions: SessionTable,
        writer: Writer,
        calls: Calls,
        streams: Streams,
        wires: Wires,
        *,
        json_response: bool = False,
        patience: Patience,
    ) -> None:
        self._kernel = kernel
        self._sessions = sessions
        self._writer = writer
        self._calls = calls
        self._streams = streams
        self._wires = wires
        self._json_response = json_response
        self._patience = patience
        self._absences = Absences()
        self._groups = Groups()

    def start(self, arrival: Arrival, session: Session | None, requests: Sequence[Request]) -> Exchange:
        """Run requests as calls that share one exchange."""
        streamable = not self._json_response and arrival.headers.accepts("text/event-stream")
        exchange = Exchange(
            arrival.http,
            streams=self._streams,
            session=session,
            request_ids=tuple(request.id for request in requests),
            streamable=streamable,
            started=asyncio.get_running_loop().time(),
        )
        if streamable:
            self._patience.watch(exchange)
        session_id = session.session_id if session is not None else None
        if session is not None and not session.initialized and any(r.method != "ping" for r in requests):
            self._sessions.mark_initialized(session)  # its word was lost in a crash, or is still on its way
        for request in requests:
            work = partial(self._answer, arrival, session, request)
            self._calls.start(session_id, request.id, exchange, work)
        return exchange

    def start_modern(self, arrival: Arrival, modern: Modern) -> tuple[Exchange, Call]:
        """Run a request that stands alone; its client's leaving is its cancellation."""
        exchange = Exchange(
            arrival.http,
            streams=self._streams,
            session=None,
            request_ids=(modern.request.id,),
            streamable=arrival.headers.accepts("text/event-stream")
            and (not self._json_response or modern.request.method == LISTEN),
            started=asyncio.get_running_loop().time(),
        )
        self._patience.watch(exchange)
        work = partial(self._answer_modern, arrival, modern)
        call = self._calls.start(None, modern.request.id, exchange, work)
        self._absences.watch(arrival.http, call)
        return exchange, call

    async def _answer_modern(self, arrival: Arrival, modern: Modern, call: Call) -> bytes:
        arrival.serve(None)
        channel = CallChannel(self._wires, call, None, arrival.owner, modern)
        outcome = await self._kernel.answer_modern(modern, channel, arrival.http)
        if isinstance(outcome, Error):
            call.exchange.status = status_of(outcome)
        return self._encoded(outcome, arrival, None, modern.request, modern)

    def leave(self, call: Call) -> None:
        """The response to a request that stands alone has ended: so has the request."""
        self._absences.forget(call)
        call.stop("client")

    async def settle(self, exchange: Exchange) -> None:
        """Wait until it is decided how an exchange is answered."""
        await exchange.decision()
        self._patience.forget(exchange)

    async def hear(self, arrival: Arrival, session: Session | None, message: Notification | Response) -> None:
        """Take a notification or an answer; whatever comes of it, the client is told 202."""
        if isinstance(message, Response):
            if session is not None:
                await self._wires.questions.take(session, arrival.owner, message)
            return
        params = message.params or {}
        if session is not None:
            if message.method == "notifications/cancelled":
                self._calls.cancel(session.session_id, params.get("requestId"))
                return
            if message.method == "notifications/progress":
                await self._wires.questions.take_progress(session, arrival.owner, params)
            if message.method == "notifications/initialized":
                self._sessions.mark_initialized(session)
        self._calls.spawn(self._notify(arrival, session, message), name="notification")

    async def _notify(self, arrival: Arrival, session: Session | None, message: Notification) -> None:
        arrival.serve(session)
        if session is None:
            await self._kernel.hear_alone(arrival.revision(session), message, arrival.http)
        else:
            await self._kernel.hear(session, message, arrival.http)

    async def _answer(self, arrival: Arrival, session: Session | None, request: Request, call: Call) -> bytes:
        """What a call's task runs: the kernel, then the encoded response, then the note of it."""
        arrival.serve(session)
        channel = CallChannel(self._wires, call, session, arrival.owner)
        if session is None:
            outcome = await self._kernel.answer_alone(
                arrival.revision(session), request, channel, arrival.http
            )
        else:
            outcome = await self._kernel.answer(session, request, channel, arrival.http)
            outcome = await self._keep(session, request, outcome)
        return self._encoded(outcome, arrival, session, request)

    def _encoded(
        self,
        outcome: dict[str, Any] | Error,
        arrival: Arrival,
        session: Session | None,
        request: Request,
        modern: Modern | None = None,
    ) -> bytes:
        """The response as it is sent, noted for the records."""
        if isinstance(outcome, Error):
            payload, failed = encode(error_of(request.id, outcome)), True
        else:
            payload, failed = encode(result_of(request.id, outcome)), outcome.get("isError") is True
        row = session or self._infer(arrival, request, modern)
        inferred = row if isinstance(row, Inferred) else None
        self._writer.add(Touch(row.session_id, 1, int(failed), arrival.size, len(payload), inferred=inferred))
        return payload

    def _infer(self, arrival: Arrival, request: Request, modern: Modern | None) -> Inferred:
        headers = arrival.http.headers
        return self._groups.find(
            arrival.owner or bucket(arrival.http.remote),
            "none" if modern is None else "modern",
            arrival.revision(None) if modern is None else modern.revision,
            client(modern and modern.client_info, headers.get("User-Agent")),
            conversation((request.params or {}).get("_meta"), headers.get("Baggage")),
        )

    async def _keep(
        self, session: Session, request: Request, outcome: dict[str, Any] | Error
    ) -> dict[str, Any] | Error:
        """Commit what a successful request changed in its session; what was not kept did not succeed."""
        if isinstance(outcome, Error):
            return outcome
        params = request.params or {}
        try:
            match request.method:
                case "logging/setLevel":
                    await self._wires.store.set_log_level(session.session_id, params["level"])
                    self._sessions.set_log_level(session.session_id, params["level"])
                case "resources/subscribe":
                    await self._wires.store.subscribe_uri(session.session_id, params["uri"], True)
                case "resources/unsubscribe":
                    await self._wires.store.subscribe_uri(session.session_id, params["uri"], False)
        except StoreUnavailable:
            return _NOT_KEPT
        return outcome
