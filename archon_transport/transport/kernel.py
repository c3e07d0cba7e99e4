"""The seam to the SDK: the only importer of its runner, its connection and its dispatcher.

A session's `Connection` is rebuilt from its row when it is needed: the client's `initialize` params
and the negotiated revision are all the state that the SDK keeps, so a rebuilt one is not to be told
from the first. The most recently used ones stay built (`hot`); a session that is not among them costs
a few microseconds more per call and no memory.

The runner keeps its own bound methods as cached properties, which makes every runner a reference
cycle; they are taken out once and deleted there, so that a dropped runner is freed at once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import anyio
from mcp.server import Server
from mcp.server.connection import Connection
from mcp.server.models import InitializationOptions
from mcp.server.runner import ServerRunner, aclose_shielded
from mcp.server.subscriptions import ListenHandler
from mcp.shared.dispatcher import CallOptions, OnNotify, OnRequest
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data, progress_token_from_params
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import InitializeRequestParams
from pydantic_core import to_json

from ..protocol import revisions
from ..protocol.messages import Error, Notification, Outcome, Params, Request, RequestId, internal_error
from ..protocol.modern import LISTEN, Modern, in_this_era
from ..sessions import Session

_log = logging.getLogger(__name__)


Progress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Called with the client's progress on a question, the total and a message; what it raises is logged."""


class Channel:
    """Where words to the client go: a request's own stream, or outside of all requests of a session.

    This one is closed: notifications have no wire, questions are refused.
    """

    __slots__ = ()

    @property
    def can_ask(self) -> bool:
        """Whether a question can reach the client now."""
        return False

    @property
    def can_close(self) -> bool:
        """Whether the client comes back when its connection is closed."""
        return False

    async def notify(self, method: str, params: Params) -> None:
        """Tell the client something."""

    async def ask(
        self, method: str, params: Params, timeout: float | None = None, on_progress: Progress | None = None
    ) -> dict[str, Any]:
        """Ask the client something and wait for its answer, `timeout` seconds at most.

        Raises:
            NoBackChannelError: it cannot be asked here, in the SDK's own words.
        """
        raise NoBackChannelError(method)

    async def close_stream(self) -> None:
        """Close the client's connection; it comes back for the rest."""


CLOSED = Channel()

_asking: ContextVar[Channel] = ContextVar("archon_transport_channel", default=CLOSED)
"""The channel of the request that this task serves."""


@dataclass(slots=True)
class _Outbound:
    """A connection's own outbound. A question that a handler asks here belongs to its request."""

    _outside: Channel

    async def send_raw_request(
        self, method: str, params: Params, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Ask on the stream of the request that is served, else outside of all of them."""
        channel, options = _asking.get(), opts or {}
        chosen = channel if channel.can_ask else self._outside
        return await chosen.ask(method, params, options.get("timeout"), options.get("on_progress"))

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None:
        """Tell the client on its standing stream."""
        await self._outside.notify(method, params)


class CallContext:
    """The SDK's `DispatchContext` of one message: what a handler can reach of its request."""

    __slots__ = ("_channel", "_http", "_last", "_outside", "_token", "request_id")

    def __init__(
        self,
        channel: Channel,
        outside: Channel,
        http: Any,
        request_id: RequestId | None = None,
        params: Params = None,
    ) -> None:
        self._channel = channel
        self._outside = outside
        self._http = http
        self._token = progress_token_from_params(params)
        self._last: float | None = None
        self.request_id = request_id

    @property
    def transport(self) -> TransportContext:
        """Transport facts, built when asked for."""
        return TransportContext(
            kind="streamable-http", can_send_request=self._channel.can_ask, headers=self._http.headers
        )

    @property
    def can_send_request(self) -> bool:
        """Whether a question can reach the client now."""
        return self._channel.can_ask

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """Carries the aiohttp request to handlers, as `ctx.request`, and the closing of its streams."""
        closes = self._channel.can_close
        return ServerMessageMetadata(
            request_context=self._http,
            can_send_request=self._channel.can_ask,
            close_sse_stream=self._channel.close_stream if closes else None,
            close_standalone_sse_stream=self._outside.close_stream if closes else None,
        )

    @property
    def cancel_requested(self) -> anyio.Event:
        """Part of the SDK's contract; a cancelled call's task is cancelled, so nobody need look here."""
        return anyio.Event()

    async def send_raw_request(
        self, method: str, params: Params, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Ask the client on this request's own stream."""
        options = opts or {}
        return await self._channel.ask(method, params, options.get("timeout"), options.get("on_progress"))

    async def notify(self, method: str, params: Params, opts: CallOptions | None = None) -> None:
        """Tell the client on this request's own stream."""
        await self._channel.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress where the client asked for it with a token, and where it is progress."""
        if self._token is None or (self._last is not None and progress <= self._last):
            return
        self._last = progress
        params = {"progressToken": self._token, "progress": progress, "total": total, "message": message}
        said = {name: value for name, value in params.items() if value is not None}
        await self._channel.notify("notifications/progress", said)


@dataclass(frozen=True, slots=True)
class Handshake:
    """A successful `initialize`: its result, and what the session's row keeps of it."""

    result: dict[str, Any]
    revision: str
    params: bytes
    client: tuple[str, str | None, str]


class _Peer:
    """One client's `Connection` with the runner's two entries, the runner's cycle cut."""

    __slots__ = ("connection", "on_notify", "on_request", "outside")

    def __init__(self, runner: ServerRunner[Any], outside: Channel) -> None:
        self.connection = runner.connection
        self.outside = outside
        self.on_request: OnRequest = runner.on_request
        self.on_notify: OnNotify = runner.on_notify
        del runner.on_request, runner.on_notify


class Kernel:
    """Runs requests through `server`, an SDK `Server`, one rebuilt connection per session.

    `outside(session_id)` is the session's own channel; `options` what `initialize` answers with, the
    server's own by default.
    """

    def __init__(
        self, server: Server[Any], *, options: InitializationOptions | None = None, hot: int = 512
    ) -> None:
        self.server = server
        self._options = options
        self.outside: Callable[[str], Channel] = lambda session_id: CLOSED
        self._hot = hot
        self._state: Any = None
        self._peers: OrderedDict[str, _Peer] = OrderedDict()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Enter the server's lifespan, once for the process and not once per session."""
        async with self.server.lifespan(self.server) as state:
            self._state = state
            yield

    async def initialize(self, request: Request, http: Any) -> Handshake | Error:
        """Negotiate (2025-11-25 lifecycle, Version Negotiation). Nothing is kept here either way."""
        connection = Connection.for_loop(_Outbound(CLOSED))
        answer = await self._run(self._peer(connection, CLOSED), request, CLOSED, http)
        params = connection.client_params
        if isinstance(answer, Error):
            return answer
        if params is None:  # a middleware answered in the kernel's place: no handshake took place
            return internal_error()
        info = params.client_info
        client = (info.name, info.title, info.version)
        return Handshake(answer, connection.protocol_version, to_json(request.params), client)

    async def answer(self, who: Session | str, request: Request, channel: Channel, http: Any) -> Outcome:
        """The result of a session's request, or the error that the client sees.

        Instead of its session, a request that came without one has the revision that it named.
        """
        return await self._run(self._wake(who), request, channel, http)

    async def hear(self, who: Session | str, notification: Notification, http: Any) -> None:
        """A session's notification, or one without; what its handler raises is logged, never answered."""
        peer = self._wake(who)
        context = CallContext(CLOSED, peer.outside, http)
        await peer.on_notify(context, notification.method, notification.params)

    async def answer_modern(self, modern: Modern, channel: Channel, http: Any) -> Outcome:
        """A request that stands alone: its own connection, built from what it says of itself."""
        connection = Connection.from_envelope(modern.revision, modern.client_info, modern.capabilities)
        try:
            outcome = await self._run(self._peer(connection, CLOSED), modern.request, channel, http)
        finally:
            await aclose_shielded(connection)
        return in_this_era(outcome) if isinstance(outcome, Error) else outcome

    def end_listening(self) -> None:
        """End every listen stream in its own way: with a result, so that clients know it was meant."""
        entry = self.server.get_request_handler(LISTEN)
        if entry is not None and isinstance(entry.handler, ListenHandler):
            entry.handler.close()

    def forget(self, session_id: str) -> None:
        """Drop a session's connection; it is rebuilt from the row when it is needed again."""
        self._peers.pop(session_id, None)

    async def _run(self, peer: _Peer, request: Request, channel: Channel, http: Any) -> Outcome:
        context = CallContext(channel, peer.outside, http, request.id, request.params)
        _asking.set(channel)
        try:
            return await peer.on_request(context, request.method, request.params)
        except Exception as exception:
            error = handler_exception_to_error_data(exception)
            if error is None:
                _log.exception("the handler of a request raised", extra={"method": request.method[:100]})
                return internal_error()
            return Error(error.code, error.message, error.data)

    def _wake(self, session: Session | str) -> _Peer:
        if isinstance(session, str):
            return self._alone(session)
        peer = self._peers.get(session.session_id)
        if peer is not None:
            self._peers.move_to_end(session.session_id)
            return peer
        outside = self.outside(session.session_id)
        connection = Connection(
            _Outbound(outside),
            protocol_version=session.revision,
            session_id=session.session_id,
            client_params=InitializeRequestParams.model_validate_json(
                session.initialize_params, by_name=False
            ),
        )
        if session.initialized:
            connection.initialized.set()
        peer = self._peers[session.session_id] = self._peer(connection, outside)
        if len(self._peers) > self._hot:
            self._peers.popitem(last=False)
        return peer

    def _alone(self, revision: str) -> _Peer:
        connection = Connection(
            _Outbound(CLOSED),
            protocol_version=revision if revisions.is_handshake(revision) else revisions.ASSUMED,
        )
        connection.initialized.set()
        return self._peer(connection, CLOSED)

    def _peer(self, connection: Connection, outside: Channel) -> _Peer:
        runner = ServerRunner(self.server, connection, self._state, init_options=self._options)
        return _Peer(runner, outside)
