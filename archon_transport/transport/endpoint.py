"""The one HTTP address: guards, then the ladder, then the session, then the call.

Thin on purpose. What a request means is decided in `protocol.inbound`, whether its session lives in
`sessions`, and what it answers in the kernel; this module matches the one to the other and writes
HTTP. Every error is a JSON-RPC body with a sentence that its reader can act on.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import assert_never

from aiohttp import web

from ..auth import Challenge, TokenVerifier, verify
from ..protocol.headers import SESSION_ID, ProtocolHeaders
from ..protocol.inbound import (
    STREAM,
    Batch,
    Decision,
    Dropped,
    End,
    Initialize,
    Listen,
    Modern,
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
    Refused,
    Request,
    RequestId,
    encode,
    error_of,
    internal_error,
    invalid_request,
    result_of,
)
from ..protocol.modern import LISTEN, refuse_params, status_of
from ..sessions import Session, SessionTable, StoreUnavailable, TableFull
from .calls import Calls
from .cors import open_to_page, preflight
from .dispatch import Arrival, Dispatch
from .exchanges import Exchange
from .guards import Guards
from .kernel import Kernel
from .limits import MAX_BODY, read_body
from .listening import Listening
from .schemas import Schemas

_log = logging.getLogger(__name__)

MAX_HANDSHAKE = 64 * 1024
"""Bytes of `initialize` params; they are kept for as long as the session lives."""

_JSON = {"Content-Type": "application/json"}


class Endpoint:
    """Serves one MCP server at one path; the parts are given, so that each is tested alone."""

    def __init__(
        self,
        kernel: Kernel,
        sessions: SessionTable,
        dispatch: Dispatch,
        listening: Listening,
        calls: Calls,
        guards: Guards,
        *,
        token_verifier: TokenVerifier | None = None,
        require_session_id: bool = True,
        max_request_body_size: int = MAX_BODY,
    ) -> None:
        self._kernel = kernel
        self._schemas = Schemas(kernel)
        self._sessions = sessions
        self._dispatch = dispatch
        self._listening = listening
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
        app.on_response_prepare.append(self._prepare)

    async def _prepare(self, http: web.Request, response: web.StreamResponse) -> None:
        origin = http.headers.get("Origin")
        # The hook hears every response of the application; the other routes are its own.
        if origin is not None and http.match_info.handler == self.handle:
            open_to_page(origin, response)

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
        refused = self._guards.refuse(http.headers.get("Host"), http.headers.get("Origin"))
        if refused is not None:
            return refused
        preflighted = preflight(http)
        if preflighted is not None:
            return preflighted
        principal = await verify(self._verifier, headers.authorization)
        if isinstance(principal, Challenge):
            return _unauthorized(principal)
        body = await read_body(http, self._max_body) if http.method == "POST" else b""
        if isinstance(body, Refused):
            return body
        arrival = Arrival(http, headers, principal, len(body))
        return await self._follow(arrival, decide(http.method, headers, body))

    async def _follow(self, arrival: Arrival, decision: Decision) -> web.StreamResponse | Refused:
        if self.draining and not _finishes(decision):  # asked last: a body may arrive while a drain begins
            text = "The server is stopping; try again in a moment, the session stays."
            error = Error(internal_error().code, text)
            return Refused(503, error, "draining", _id_of(decision), retry_after=1)
        match decision:
            case Refused():
                return decision
            case Initialize(request):
                return await self._initialize(arrival, request)
            case Single(message):
                return await self._single(arrival, message)
            case Batch():
                return await self._batch(arrival, decision)
            case Modern():
                return await self._modern(arrival, decision)
            case Dropped():
                return web.Response(status=202)
            case Listen():
                return await self._listen(arrival)
            case End():
                return await self._end(arrival)
            case _:
                assert_never(decision)

    async def _initialize(self, arrival: Arrival, request: Request) -> web.StreamResponse | Refused:
        handshake = await self._kernel.initialize(request, arrival.http)
        if isinstance(handshake, Error):
            return _json(encode(error_of(request.id, handshake)))
        if len(handshake.params) > MAX_HANDSHAKE:
            text = f"The params of initialize are larger than {MAX_HANDSHAKE} bytes."
            return Refused(413, invalid_request(text), "handshake-size", request.id)
        session, wire = await self._sessions.open(
            revision=handshake.revision,
            initialize_params=handshake.params,
            client=handshake.client,
            owner=arrival.owner,
            user_agent=arrival.http.headers.get("User-Agent"),
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

    async def _admit(self, arrival: Arrival) -> Session | Refused | None:
        """The request's session, None where it may go without one, or its refusal."""
        presented = arrival.headers.session_id
        if presented is None:
            return session_needed() if self._require_session_id else None
        return await self._sessions.admit(presented, arrival.owner) or no_session()

    async def _single(self, arrival: Arrival, message: Message) -> web.StreamResponse | Refused:
        session = await self._admit(arrival)
        if isinstance(session, Refused):
            return replace(session, id=message.id) if isinstance(message, Request) else session
        if not isinstance(message, Request):
            await self._dispatch.hear(arrival, session, message)
            return web.Response(status=202)
        if session is not None and self._calls.runs(session.session_id, message.id):
            return _duplicate(message)
        exchange = self._dispatch.start(arrival, session, (message,))
        answer = await self._respond(arrival, session, exchange)
        if isinstance(answer, Refused):
            return replace(answer, id=message.id)
        return answer or _json(exchange.payloads[0])

    async def _batch(self, arrival: Arrival, batch: Batch) -> web.StreamResponse | Refused:
        session = await self._admit(arrival)
        if isinstance(session, Refused):
            return session
        refused = refuse_batch(arrival.revision(session))
        if refused is not None:
            return refused
        for request in batch.requests:
            if session is not None and self._calls.runs(session.session_id, request.id):
                return _duplicate(request)
        exchange = self._dispatch.start(arrival, session, batch.requests) if batch.requests else None
        for member in batch.members:
            if not isinstance(member, Request):
                await self._dispatch.hear(arrival, session, member)
        if exchange is None:
            return web.Response(status=202)
        answer = await self._respond(arrival, session, exchange)
        return answer or _json(b"[" + b",".join(exchange.payloads) + b"]")

    async def _respond(
        self, arrival: Arrival, session: Session | None, exchange: Exchange
    ) -> web.StreamResponse | Refused | None:
        """Wait for the shape of the answer: a stream is served here, None says plain JSON."""
        await self._dispatch.settle(exchange)
        if exchange.stream is not None:
            return await self._listening.first(arrival, session, exchange, exchange.stream)
        return no_session() if exchange.cut else None

    async def _modern(self, arrival: Arrival, modern: Modern) -> web.StreamResponse | Refused:
        if modern.request.method == LISTEN and not arrival.headers.accepts(STREAM):
            text = f"{LISTEN} is answered by {STREAM}; list it in Accept."
            return Refused(406, invalid_request(text), "accept", modern.request.id)
        schema = await self._schemas.find(modern, arrival)
        if isinstance(schema, Error):
            return Refused(status_of(schema), schema, "tools-list", modern.request.id)
        refused = refuse_params(modern, schema, arrival.http.headers)
        if refused is not None:
            return refused
        exchange, call = self._dispatch.start_modern(arrival, modern)
        try:
            answer = await self._respond(arrival, None, exchange)
        finally:
            self._dispatch.leave(call)
        return answer or _json(exchange.payloads[0], status=exchange.status)

    async def _listen(self, arrival: Arrival) -> web.StreamResponse | Refused:
        session = await self._admit(arrival)
        if isinstance(session, Refused):
            return session
        if session is None:
            text = "Without a session there is nothing to listen to here; POST to this address."
            return not_allowed(text, "POST, DELETE")
        return await self._listening.listen(arrival, session)

    async def _end(self, arrival: Arrival) -> web.StreamResponse | Refused:
        session = await self._admit(arrival)
        if isinstance(session, Refused):
            return session
        if session is None:
            return session_needed()
        if not await self._sessions.end(session.session_id, "deleted"):
            return no_session()
        return web.Response(status=200)

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


def _id_of(decision: Decision) -> RequestId | None:
    """The id of the one request that a decision is about."""
    match decision:
        case Initialize(request) | Single(Request() as request) | Modern(request):
            return request.id
        case _:
            return None


def _finishes(decision: Decision) -> bool:
    """Whether a request helps running calls to an end: taken even while the server stops."""
    return isinstance(decision, Refused | End) or (
        isinstance(decision, Single) and not isinstance(decision.message, Request)
    )


def _json(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers={**_JSON, **headers} if headers else _JSON)


def _duplicate(request: Request) -> Refused:
    text = "A request with this id is still running in this session; use another id."
    return Refused(400, invalid_request(text), "duplicate-id", request.id)


def _away() -> Refused:
    text = "The database is away, and this session is not in memory here; try again in a moment."
    return Refused(503, Error(internal_error().code, text), "database-away", retry_after=2)


def _unauthorized(challenge: Challenge) -> Refused:
    return Refused(401, invalid_request(challenge.message), "token", challenge=challenge.header)
