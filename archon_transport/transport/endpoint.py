"""The one HTTP address: guards, then the ladder, then the session, then the call.

Thin on purpose. What a request means is decided in `protocol.inbound`, whether its session lives in
`sessions`, and what it answers in the kernel; this module matches the one to the other and writes
HTTP. Every error is a JSON-RPC body with a sentence that its reader can act on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, assert_never
from uuid import UUID

from aiohttp import web
from mcp.server.auth.settings import AuthSettings

from ..auth import Challenge, ProtectedResource, TokenVerifier, verify
from ..protocol.headers import SESSION_ID, ProtocolHeaders
from ..protocol.inbound import (
    STREAM,
    Batch,
    Decision,
    End,
    Initialize,
    Listen,
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
    bad_request,
    encode,
    error_of,
    internal_error,
    invalid_request,
    result_of,
)
from ..protocol.modern import LISTEN, Dropped, Modern, refuse_params, status_of
from ..sessions import Session, SessionTable, StoreUnavailable, TableFull
from ..sessions.record import new_request_id
from ..signals import logs
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

ADMITTED = "admitted"
"""In place of a rule: the session ended while the request ran, which is a row and no refusal."""

_Answer = web.StreamResponse | Refused

Trace = Callable[[web.Request, object, Coroutine[Any, Any, _Answer]], Awaitable[_Answer]]
"""Follows a request through to its answer; its message's `_meta` may name the trace that it belongs to."""

_JSON = {"Content-Type": "application/json"}

_LISTEN, _DELETE = Request("", "listen", None), Request("", "delete", None)
"""How a GET and a DELETE stand among the requests of the records."""


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
        auth: AuthSettings | None = None,
        token_verifier: TokenVerifier | None = None,
        require_session_id: bool = True,
        stateless: bool = False,
        max_request_body_size: int = MAX_BODY,
    ) -> None:
        if auth is not None and token_verifier is None:
            raise ValueError("auth needs a token_verifier: without one nobody's token would be looked at")
        self._kernel = kernel
        self._schemas = Schemas(kernel)
        self._sessions = sessions
        self._dispatch = dispatch
        self._listening = listening
        self._calls = calls
        self._guards = guards
        self._verifier = token_verifier
        self._resource = ProtectedResource(auth)
        self._require_session_id = require_session_id
        self._stateless = stateless
        self._max_body = max_request_body_size
        self.draining = False
        self.trace: Trace | None = None

    def attach(self, app: web.Application, path: str) -> None:
        """Serve `path`, with and without a trailing slash, every verb, and what describes its identity."""
        # In order: the router takes no address twice in a row, as from the end of one endpoint to the next.
        places = (path.rstrip("/") or "/", f"{path.rstrip('/')}/", *self._resource.addresses(path))
        for address in dict.fromkeys(places):
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
        logs.about(request_id := new_request_id())
        try:
            answer = await self._serve(http, headers, request_id)
        except StoreUnavailable:
            text = "The database is away, and this session is not in memory here; try again in a moment."
            answer = Refused(503, Error(internal_error().code, text), "database-away", retry_after=2)
        except TableFull:
            text = "The server has as many sessions as it takes; try again in a minute."
            answer = Refused(503, Error(internal_error().code, text), "full", retry_after=60)
        except Exception:
            _log.exception("a request could not be served", extra={"verb": http.method[:16]})
            answer = Refused(500, internal_error(), "crash")
        if isinstance(answer, Refused):
            answer = self._refuse(http, headers, answer, request_id)
        if answer.status >= 400:
            answer.headers["X-Request-Id"] = str(request_id)
        return answer

    async def _serve(self, http: web.Request, headers: ProtocolHeaders, request_id: UUID) -> _Answer:
        early = self._guards.check(http) or preflight(http)
        if early is not None:
            return early
        if self._resource.describes(http.path):
            return self._describe(http)
        principal = await verify(self._verifier, headers.authorization, self._resource)
        if isinstance(principal, Challenge):
            error = invalid_request(principal.message)
            return Refused(principal.status, error, principal.rule, challenge=principal.header)
        body = await read_body(http, self._max_body) if http.method == "POST" else b""
        if isinstance(body, Refused):
            return body
        arrival = Arrival(http, headers, principal, len(body), request_id)
        decision = decide(http.method, headers, body)
        answer = self._follow(arrival, decision)
        return await (answer if self.trace is None else self.trace(http, _meta_of(decision), answer))

    def _describe(self, http: web.Request) -> web.StreamResponse | Refused:
        if http.method not in ("GET", "HEAD"):
            return not_allowed("What describes this resource is read with GET.", "GET")
        return _json(self._resource.document or b"", {"Cache-Control": "public, max-age=3600"})

    async def _follow(self, arrival: Arrival, decision: Decision) -> web.StreamResponse | Refused:
        if self.draining and not _finishes(decision):  # asked last: a body may arrive while a drain begins
            text = "The server is stopping; try again in a moment, the session stays."
            error = Error(internal_error().code, text)
            return Refused(503, error, "draining", getattr(_request_of(decision), "id", None), retry_after=1)
        match decision:
            case Refused():
                return decision
            case Initialize(request):
                return await self._initialize(arrival, request)
            case Single(message):
                return await self._single(arrival, message)
            case Batch():
                return await self._answer(arrival, decision.members, batched=True)
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
            self._dispatch.refused(arrival.http, Refused(200, handshake, "initialize"))
            return _json(encode(error_of(request.id, handshake, row_id=arrival.request_id)))
        if len(handshake.params) > MAX_HANDSHAKE:
            text = f"The params of initialize are larger than {MAX_HANDSHAKE} bytes."
            return Refused(413, invalid_request(text), "handshake-size", request.id)
        if self._stateless:
            return _json(encode(result_of(request.id, handshake.result)))
        session, wire = await self._sessions.open(
            revision=handshake.revision,
            initialize_params=handshake.params,
            client=handshake.client,
            owner=arrival.owner,
            user_agent=arrival.http.headers.get("User-Agent"),
        )
        about = {"client": session.client_name[:100], "revision": session.revision}
        _log.info("session opened", extra={"session_id": session.session_id, **about})
        payload = encode(result_of(request.id, handshake.result))
        self._dispatch.note(arrival, session, request, handshake.result, len(payload))
        return _json(payload, {SESSION_ID: str(wire)})

    async def _admit(self, arrival: Arrival) -> Session | Refused | None:
        """The request's session, None where it may go without one, or its refusal."""
        presented = arrival.headers.session_id
        if self._stateless:
            return None
        if presented is None:
            return session_needed() if self._require_session_id else None
        return await self._sessions.admit(presented, arrival.owner) or no_session()

    async def _single(self, arrival: Arrival, message: Message) -> web.StreamResponse | Refused:
        answer = await self._answer(arrival, (message,), batched=False)
        if isinstance(answer, Refused) and isinstance(message, Request):
            return replace(answer, id=message.id)
        return answer

    async def _answer(
        self, arrival: Arrival, members: Sequence[Message], *, batched: bool
    ) -> web.StreamResponse | Refused:
        """Run the requests among them, take the rest, and answer what is to be answered."""
        session = await self._admit(arrival)
        if isinstance(session, Refused):
            return session
        if batched and (refused := refuse_batch(arrival.revision(session))) is not None:
            return refused
        requests = [member for member in members if isinstance(member, Request)]
        for request in requests:
            if session is not None and self._calls.runs(session.session_id, request.id):
                text = "A request with this id is still running in this session; use another id."
                return bad_request(text, "duplicate-id", request.id)
        exchange = self._dispatch.start(arrival, session, requests) if requests else None
        for member in members:
            if not isinstance(member, Request):
                await self._dispatch.hear(arrival, session, member)
        if exchange is None:
            return web.Response(status=202)
        answer = await self._respond(arrival, session, exchange)
        return answer or _json(b"[%b]" % b",".join(exchange.payloads) if batched else exchange.payloads[0])

    async def _respond(
        self, arrival: Arrival, session: Session | None, exchange: Exchange
    ) -> web.StreamResponse | Refused | None:
        """Wait for the shape of the answer: a stream is served here, None says plain JSON."""
        await self._dispatch.settle(exchange)
        if exchange.stream is not None:
            return await self._listening.first(arrival, session, exchange, exchange.stream)
        return replace(no_session(), rule=ADMITTED) if exchange.cut else None

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
            return not_allowed(text, "POST" if self._stateless else "POST, DELETE")
        answer: web.StreamResponse | Refused | None = None
        try:
            answer = await self._listening.listen(arrival, session)
        finally:  # the handler of a client that left may be cancelled
            if not isinstance(answer, Refused):
                self._dispatch.note(arrival, session, _LISTEN, {})
        return answer

    async def _end(self, arrival: Arrival) -> web.StreamResponse | Refused:
        session = await self._admit(arrival)
        if isinstance(session, Refused):
            return session
        if session is None:
            sessionless = not_allowed("There are no sessions at this address.", "POST")
            return sessionless if self._stateless else session_needed()
        if not await self._sessions.end(session.session_id, "deleted"):
            return no_session()
        self._dispatch.note(arrival, session, _DELETE, {})
        return web.Response(status=200)

    def _refuse(
        self, http: web.Request, headers: ProtocolHeaders, refused: Refused, request_id: UUID
    ) -> web.Response:
        if refused.rule != ADMITTED:
            self._dispatch.refused(http, refused)
            _log.info("request refused", extra={"rule": refused.rule, "status": refused.status})
        null_id = headers.revision is None or headers.revision < "2025-11-25"
        body = encode(error_of(refused.id, refused.error, null_id=null_id, row_id=request_id))
        said = {
            "Allow": refused.allow,
            "Retry-After": refused.retry_after,
            "WWW-Authenticate": refused.challenge,
        }
        extra = {name: str(value) for name, value in said.items() if value is not None}
        response = _json(body, extra, refused.status)
        if refused.status in (408, 413) or refused.rule == "draining":
            response.force_close()  # the rest of the body is still on its way; or another node takes the next
        return response


def _request_of(decision: Decision) -> Request | None:
    """The one request that a decision is about."""
    match decision:
        case Initialize(request) | Single(Request() as request) | Modern(request):
            return request
        case _:
            return None


def _meta_of(decision: Decision) -> object:
    request = _request_of(decision)
    return request and (request.params or {}).get("_meta")


def _finishes(decision: Decision) -> bool:
    """Whether a request helps running calls to an end: taken even while the server stops."""
    return isinstance(decision, Refused | End) or (
        isinstance(decision, Single) and not isinstance(decision.message, Request)
    )


def _json(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers={**_JSON, **headers} if headers else _JSON)
