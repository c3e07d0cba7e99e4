"""The one HTTP address: guards, then the ladder, then the session, then the call.

Thin on purpose. What a request means is decided in `protocol.inbound`, whether its session lives in
`sessions`, and what it answers in the kernel; this module matches the one to the other and writes
HTTP. Every error is a JSON-RPC body with a sentence that its reader can act on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, assert_never

from aiohttp import web

from ..auth import Challenge, Principal, TokenVerifier, verify
from ..protocol import revisions
from ..protocol.headers import SESSION_ID, ProtocolHeaders
from ..protocol.inbound import (
    Batch,
    Decision,
    End,
    Initialize,
    Listen,
    Refused,
    Single,
    decide,
    no_session,
    not_allowed,
    refuse_batch,
    session_needed,
)
from ..protocol.messages import (
    Error,
    Message,
    Notification,
    Request,
    Response,
    encode,
    error_of,
    internal_error,
    invalid_request,
    result_of,
)
from ..sessions import Owner, Session, SessionTable, StoreUnavailable, TableFull, Writer, serving
from .calls import Call, Calls, DuplicateId
from .guards import Guards
from .kernel import CLOSED, Kernel
from .limits import MAX_BODY, read_body

_log = logging.getLogger(__name__)

MAX_HANDSHAKE = 64 * 1024
"""Bytes of `initialize` params; they are kept for as long as the session lives."""

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One HTTP request on its way through: what was read of it and who sent it."""

    http: web.Request
    headers: ProtocolHeaders
    owner: Owner | None
    size: int


class Endpoint:
    """Serves one MCP server at one path; the parts are given, so that each is tested alone."""

    def __init__(
        self,
        kernel: Kernel,
        sessions: SessionTable,
        writer: Writer,
        calls: Calls,
        guards: Guards,
        *,
        token_verifier: TokenVerifier | None = None,
        require_session_id: bool = True,
        max_request_body_size: int = MAX_BODY,
    ) -> None:
        self._kernel = kernel
        self._sessions = sessions
        self._writer = writer
        self._calls = calls
        self._guards = guards
        self._verifier = token_verifier
        self._require_session_id = require_session_id
        self._max_body = max_request_body_size
        self.draining = False
        self.refused = 0

    def attach(self, app: web.Application, path: str) -> None:
        """Serve `path`, with and without a trailing slash, every verb."""
        for address in {path.rstrip("/") or "/", f"{path.rstrip('/')}/"}:
            app.router.add_route("*", address, self.handle)

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer one HTTP request; the only way in."""
        headers = ProtocolHeaders.read(http.headers.items())
        try:
            answer = await self._serve(http, headers)
        except StoreUnavailable:
            answer = _away()
        except TableFull:
            text = "The server has as many sessions as it takes; try again in a minute."
            answer = Refused(503, Error(internal_error().code, text), "full", retry_after=60)
        except Exception:
            _log.exception("a request could not be served", extra={"verb": http.method[:16]})
            answer = Refused(500, internal_error(), "crash")
        return self._refuse(headers, answer) if isinstance(answer, Refused) else answer

    async def _serve(self, http: web.Request, headers: ProtocolHeaders) -> web.StreamResponse | Refused:
        refused = self._stopping() or self._guards.refuse(
            http.headers.get("Host"), http.headers.get("Origin")
        )
        if refused is not None:
            return refused
        principal = await verify(self._verifier, headers.authorization)
        if isinstance(principal, Challenge):
            return _unauthorized(principal)
        body = await read_body(http, self._max_body) if http.method == "POST" else b""
        if isinstance(body, Refused):
            return body
        refused = self._stopping()  # again: the drain would not wait for a call that begins after it
        if refused is not None:
            return refused
        owner = principal.owner if isinstance(principal, Principal) else None
        exchange = _Exchange(http, headers, owner, len(body))
        return await self._follow(exchange, decide(http.method, headers, body))

    async def _follow(self, exchange: _Exchange, decision: Decision) -> web.StreamResponse | Refused:
        match decision:
            case Refused():
                return decision
            case Initialize(request):
                return await self._initialize(exchange, request)
            case Single(message):
                return await self._single(exchange, message)
            case Batch():
                return await self._batch(exchange, decision)
            case Listen():
                return await self._listen(exchange)
            case End():
                return await self._end(exchange)
            case _:
                assert_never(decision)

    async def _initialize(self, exchange: _Exchange, request: Request) -> web.StreamResponse | Refused:
        handshake = await self._kernel.initialize(request, exchange.http)
        if isinstance(handshake, Error):
            return _json(encode(error_of(request.id, handshake)))
        if len(handshake.params) > MAX_HANDSHAKE:
            text = f"The params of initialize are larger than {MAX_HANDSHAKE} bytes."
            return Refused(413, invalid_request(text), "handshake-size", request.id)
        session, wire = await self._sessions.open(
            revision=handshake.revision,
            initialize_params=handshake.params,
            client=handshake.client,
            owner=exchange.owner,
            user_agent=exchange.http.headers.get("User-Agent"),
        )
        _log.info(
            "session opened",
            extra={
                "session_id": session.session_id,
                "client": session.client_name[:100],
                "revision": session.revision,
            },
        )
        return _json(encode(result_of(request.id, handshake.result)), {SESSION_ID: str(wire)})

    async def _admit(self, exchange: _Exchange) -> Session | Refused | None:
        """The request's session, None where it may go without one, or its refusal."""
        presented = exchange.headers.session_id
        if presented is None:
            return session_needed() if self._require_session_id else None
        return await self._sessions.admit(presented, exchange.owner) or no_session()

    async def _single(self, exchange: _Exchange, message: Message) -> web.StreamResponse | Refused:
        session = await self._admit(exchange)
        if isinstance(session, Refused):
            return replace(session, id=message.id) if isinstance(message, Request) else session
        if not isinstance(message, Request):
            self._hear(exchange, session, message)
            return web.Response(status=202)
        try:
            call = self._start(exchange, session, message)
        except DuplicateId:
            return _duplicate(message)
        payload = await call.wait()
        return no_session_for(message) if call.cause == "session" else _json(payload)

    async def _batch(self, exchange: _Exchange, batch: Batch) -> web.StreamResponse | Refused:
        session = await self._admit(exchange)
        if isinstance(session, Refused):
            return session
        refused = refuse_batch(self._revision(exchange, session))
        if refused is not None:
            return refused
        for request in batch.requests:
            if session is not None and self._calls.runs(session.session_id, request.id):
                return _duplicate(request)
        calls = [self._start(exchange, session, request) for request in batch.requests]
        for member in batch.members:
            if not isinstance(member, Request):
                self._hear(exchange, session, member)
        if not calls:
            return web.Response(status=202)
        payloads = [await call.wait() for call in calls]
        if any(call.cause == "session" for call in calls):
            return no_session()
        return _json(b"[" + b",".join(payloads) + b"]")

    async def _listen(self, exchange: _Exchange) -> web.StreamResponse | Refused:
        session = await self._admit(exchange) if exchange.headers.session_id is not None else None
        if isinstance(session, Refused):
            return session
        return not_allowed("This server offers no event stream here; POST to it.", "POST, DELETE")

    async def _end(self, exchange: _Exchange) -> web.StreamResponse | Refused:
        session = await self._admit(exchange)
        if isinstance(session, Refused):
            return session
        if session is None:
            return session_needed()
        if not await self._sessions.end(session.session_id, "deleted"):
            return no_session()
        return web.Response(status=200)

    def _start(self, exchange: _Exchange, session: Session | None, request: Request) -> Call:
        if session is not None and not session.initialized and request.method != "ping":
            self._sessions.mark_initialized(session)  # its word was lost in a crash, or is still on its way
        session_id = session.session_id if session is not None else None
        return self._calls.start(session_id, request.id, self._answer(exchange, session, request))

    async def _answer(self, exchange: _Exchange, session: Session | None, request: Request) -> bytes:
        """What a call's task runs: the kernel, then the encoded response, then the note of it."""
        serving(session, exchange.owner)
        if session is None:
            revision = self._revision(exchange, session)
            outcome = await self._kernel.answer_alone(revision, request, CLOSED, exchange.http)
        else:
            outcome = await self._kernel.answer(session, request, CLOSED, exchange.http)
        failed = isinstance(outcome, Error) or outcome.get("isError") is True
        payload = _encode(request, outcome)
        if session is not None:
            self._writer.note(
                session.session_id,
                requests=1,
                errors=int(failed),
                bytes_in=exchange.size,
                bytes_out=len(payload),
            )
        return payload

    def _hear(self, exchange: _Exchange, session: Session | None, message: Notification | Response) -> None:
        """Take a notification or an answer; both are 202 whatever comes of them."""
        if isinstance(message, Response):  # an answer to a question that nobody asked changes nothing
            return
        if message.method == "notifications/cancelled":
            if session is not None:
                self._calls.cancel(session.session_id, (message.params or {}).get("requestId"))
            return
        if message.method == "notifications/initialized" and session is not None:
            self._sessions.mark_initialized(session)
        self._calls.spawn(self._notify(exchange, session, message), name="notification")

    async def _notify(self, exchange: _Exchange, session: Session | None, message: Notification) -> None:
        serving(session, exchange.owner)
        if session is None:
            await self._kernel.hear_alone(self._revision(exchange, session), message, exchange.http)
        else:
            await self._kernel.hear(session, message, exchange.http)

    def _revision(self, exchange: _Exchange, session: Session | None) -> str:
        """The row decides; without a session the header, else the oldest revision with this transport."""
        return session.revision if session is not None else exchange.headers.revision or revisions.ASSUMED

    def _refuse(self, headers: ProtocolHeaders, refused: Refused) -> web.Response:
        self.refused += 1
        _log.info("request refused", extra={"rule": refused.rule, "status": refused.status})
        null_id = headers.revision is None or headers.revision < "2025-11-25"
        body = encode(error_of(refused.id, refused.error, null_id=null_id))
        extra: dict[str, str] = {}
        if refused.allow is not None:
            extra["Allow"] = refused.allow
        if refused.retry_after is not None:
            extra["Retry-After"] = str(refused.retry_after)
        if refused.challenge is not None:
            extra["WWW-Authenticate"] = refused.challenge
        response = _json(body, extra, refused.status)
        if refused.status in (408, 413):
            response.force_close()  # the rest of the body is still on its way
        return response

    def _stopping(self) -> Refused | None:
        if not self.draining:
            return None
        text = "The server is stopping; try again in a moment, the session stays."
        return Refused(503, Error(internal_error().code, text), "draining", retry_after=1)

    async def drain(self, seconds: float) -> tuple[int, int]:
        """Take nothing new, and let what runs finish for so long; how many did, and were cut."""
        self.draining = True
        return await self._calls.drain(seconds)


def _encode(request: Request, outcome: dict[str, Any] | Error) -> bytes:
    if isinstance(outcome, Error):
        return encode(error_of(request.id, outcome))
    return encode(result_of(request.id, outcome))


def _json(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers={**_JSON, **headers} if headers else _JSON)


def no_session_for(request: Request) -> Refused:
    """The 404 that answers a call whose session ended while it ran."""
    return replace(no_session(), id=request.id)


def _duplicate(request: Request) -> Refused:
    text = "A request with this id is still running in this session; use another id."
    return Refused(400, invalid_request(text), "duplicate-id", request.id)


def _away() -> Refused:
    text = "The database is away, and this session is not in memory here; try again in a moment."
    return Refused(503, Error(internal_error().code, text), "database-away", retry_after=2)


def _unauthorized(challenge: Challenge) -> Refused:
    return Refused(401, invalid_request(challenge.message), "token", challenge=challenge.header)
