"""What a session's messages set going: requests become calls, notifications are heard, answers are taken.

Between the endpoint, which knows HTTP, and the kernel, which knows the SDK. What a request changes in
its session (a log level, a subscription) is committed here, after its handler has succeeded and before
its answer goes out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from aiohttp import web
from mcp_types import REQUEST_TIMEOUT

from ..auth import Principal
from ..protocol import revisions
from ..protocol.headers import ProtocolHeaders
from ..protocol.messages import (
    Error,
    Notification,
    Outcome,
    Refused,
    Request,
    RequestId,
    Response,
    encode,
    error_of,
    internal_error,
    result_of,
)
from ..protocol.modern import LISTEN, Modern, status_of
from ..sessions import Groups, Owner, Session, SessionTable, StoreUnavailable, Writer, serving
from ..sessions.inferred import bucket, client, conversation, printable
from ..sessions.record import Finished, Inferred, Verdict, new_request_id
from ..signals import logs
from .calls import Absences, Answer, Call, Calls
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


TEXT = 500
"""Characters of an error's message that a row keeps."""

NAME = 100
"""Characters of a method's, a tool's or an error's name."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One HTTP request on its way through: what was read of it and who sent it.

    `request_id` is that of its row; a member of a batch has its own.
    """

    http: web.Request
    headers: ProtocolHeaders
    principal: Principal | None
    size: int
    request_id: UUID
    began: float = field(default_factory=time.monotonic)

    @property
    def owner(self) -> Owner | None:
        """Whose session this may be."""
        return None if self.principal is None else self.principal.owner

    def revision(self, session: Session | None) -> str:
        """The row decides; without a session the header, else the oldest revision with this transport."""
        return session.revision if session is not None else self.headers.revision or revisions.ASSUMED

    def serve(self, session: Session | None) -> None:
        """Say whose request this task serves, to our tools and to the SDK."""
        serving(session, self.owner, None if self.principal is None else self.principal.scopes)
        logs.about(self.request_id, None if session is None else session.session_id)
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
        exchange = self._expect(arrival, session, tuple(request.id for request in requests), streamable)
        session_id = session.session_id if session is not None else None
        if session is not None and not session.initialized and any(r.method != "ping" for r in requests):
            self._sessions.mark_initialized(session)  # its word was lost in a crash, or is still on its way
        size = arrival.size // len(requests)  # each has its share of a batch
        for request in requests:
            if len(requests) > 1:
                arrival = replace(arrival, size=size, request_id=new_request_id())
            work = partial(self._answer, arrival, session, request)
            call = self._calls.start(session_id, request.id, exchange, work)
            call.note, call.row_id = partial(self.note, arrival, session, request), arrival.request_id
        return exchange

    def start_modern(self, arrival: Arrival, modern: Modern) -> tuple[Exchange, Call]:
        """Run a request that stands alone; its client's leaving is its cancellation."""
        streamable = not self._json_response or modern.request.method == LISTEN
        streamable = streamable and arrival.headers.accepts("text/event-stream")
        exchange = self._expect(arrival, None, (modern.request.id,), streamable)
        work = partial(self._answer_modern, arrival, modern)
        call = self._calls.start(None, modern.request.id, exchange, work)
        call.note, call.row_id = partial(self.note, arrival, None, modern), arrival.request_id
        self._absences.watch(arrival.http, call)
        return exchange, call

    def _expect(
        self, arrival: Arrival, session: Session | None, ids: tuple[RequestId, ...], streamable: bool
    ) -> Exchange:
        """How requests are answered together: as a stream from a certain age on, where that is possible."""
        exchange = Exchange(
            arrival.http, streams=self._streams, session=session, request_ids=ids, streamable=streamable
        )
        if streamable:
            self._patience.watch(exchange)
        return exchange

    async def _answer_modern(self, arrival: Arrival, modern: Modern, call: Call) -> Answer:
        arrival.serve(None)
        channel = CallChannel(self._wires, call, None, arrival.owner, modern)
        outcome = await self._kernel.answer_modern(modern, channel, arrival.http)
        if isinstance(outcome, Error):
            call.exchange.status = status_of(outcome)
        return _encoded(modern.request, outcome, arrival.request_id)

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
                request_id: Any = params.get("requestId")
                if not self._calls.cancel(session.session_id, request_id):
                    await self._wires.store.cancel(session.session_id, request_id)
                return
            if message.method == "notifications/progress":
                await self._wires.questions.take_progress(session, arrival.owner, params)
            if message.method == "notifications/initialized":
                self._sessions.mark_initialized(session)
        self._calls.spawn(self._notify(arrival, session, message), name="notification")

    async def _notify(self, arrival: Arrival, session: Session | None, message: Notification) -> None:
        arrival.serve(session)
        await self._kernel.hear(session or arrival.revision(None), message, arrival.http)

    async def _answer(
        self, arrival: Arrival, session: Session | None, request: Request, call: Call
    ) -> Answer:
        """What a call's task runs: the kernel, then the encoded response."""
        arrival.serve(session)
        channel = CallChannel(self._wires, call, session, arrival.owner)
        who = session or arrival.revision(None)
        outcome = await self._kernel.answer(who, request, channel, arrival.http)
        if session is not None:
            outcome = await self._keep(session, request, outcome)
        return _encoded(request, outcome, arrival.request_id)

    def note(
        self,
        arrival: Arrival,
        session: Session | None,
        asked: Request | Modern,
        outcome: Outcome,
        size: int = 0,
        call: Call | None = None,
    ) -> None:
        """A request is over and was answered with so many bytes: a row for the writer.

        Names, sizes, times and the words of errors go on from here; no argument and no result does.
        """
        modern, request = (asked, asked.request) if isinstance(asked, Modern) else (None, asked)
        seconds = time.monotonic() - arrival.began
        word, error, code = judged(outcome)
        if call is not None and call.cause is not None:
            word = "cancelled"
        elif call is not None and call.exchange.stream is None and arrival.http.transport is None:
            word = "detached"
        record = session or self._infer(arrival, request, modern)
        said = (record.session_id, request.method[:NAME], time.time() - seconds, seconds, word)
        row = Finished(*said, revision=record.revision, request_id=arrival.request_id)
        row.error, row.error_code, row.bytes_in, row.bytes_out = error, code, arrival.size, size
        row.principal = arrival.owner and arrival.owner[1]
        row.inferred = record if isinstance(record, Inferred) else None
        tool = (request.params or {}).get("name") if request.method == "tools/call" else None
        row.tool = tool[:NAME] if isinstance(tool, str) else None
        self._writer.add(row)

    def refused(self, http: web.Request, refused: Refused) -> None:
        """A request was not admitted: one more in a count."""
        where, (who, _) = bucket(http.remote), client(None, http.headers.get("User-Agent"))
        example = printable(refused.error.message, 200)
        self._writer.refusals.add(refused.rule, where, who, refused.status, example)

    def _infer(self, arrival: Arrival, request: Request, modern: Modern | None) -> Inferred:
        headers = arrival.http.headers
        return self._groups.find(
            arrival.owner or bucket(arrival.http.remote),
            "none" if modern is None else "modern",
            arrival.revision(None) if modern is None else modern.revision,
            client(modern and modern.client_info, headers.get("User-Agent")),
            conversation((request.params or {}).get("_meta"), headers.get("Baggage")),
        )

    async def _keep(self, session: Session, request: Request, outcome: Outcome) -> Outcome:
        """Commit what a successful request changed in its session; what was not kept did not succeed."""
        if isinstance(outcome, Error):
            return outcome
        params = request.params or {}
        try:
            match request.method:
                case "logging/setLevel":
                    await self._wires.store.set_log_level(session.session_id, params["level"])
                    self._sessions.set_log_level(session.session_id, params["level"])
                case "resources/subscribe" | "resources/unsubscribe" as method:
                    wanted = method == "resources/subscribe"
                    await self._wires.store.subscribe_uri(session.session_id, params["uri"], wanted)
        except StoreUnavailable:
            return _NOT_KEPT
        return outcome


def _encoded(request: Request, outcome: Outcome, row_id: UUID) -> Answer:
    if isinstance(outcome, Error):
        return outcome, encode(error_of(request.id, outcome, row_id=row_id))
    return outcome, encode(result_of(request.id, outcome))


def judged(outcome: Outcome) -> tuple[Verdict, str | None, int | None]:
    """The word for an outcome, and what went wrong with its code.

    Of a tool's error only the kind is kept, which is one word in Archon's envelope: its text may say what was
    asked.
    """
    if isinstance(outcome, Error):
        late = outcome.code == REQUEST_TIMEOUT
        return "timeout" if late else "error", outcome.message[:TEXT], outcome.code
    if outcome.get("isError") is not True:
        return "ok", None, None
    content = outcome.get("structuredContent")
    error = content.get("error") if isinstance(content, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    kind = kind if isinstance(kind, str) and kind.isidentifier() and len(kind) < NAME else "tool_error"
    return "timeout" if kind == "timeout" else "tool_error", kind, None
