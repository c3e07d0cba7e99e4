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
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from mcp.server import Server
from mcp.server.connection import Connection
from mcp.server.runner import ServerRunner
from mcp.shared.dispatcher import CallOptions, OnNotify, OnRequest
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data, progress_token_from_params
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import InitializeRequestParams
from pydantic_core import to_json

from ..protocol import revisions
from ..protocol.messages import Error, Notification, Request, RequestId, internal_error
from ..sessions import Session

_log = logging.getLogger(__name__)


class Channel(Protocol):
    """Where a handler's messages to the client go while its request is served."""

    @property
    def can_ask(self) -> bool:
        """Whether a question can reach the client now."""

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Tell the client something that belongs to this request."""

    async def ask(
        self, method: str, params: Mapping[str, Any] | None, timeout: float | None
    ) -> dict[str, Any]:
        """Ask the client something and wait for its answer, `timeout` seconds at most."""


class Closed:
    """The channel of an answer in plain JSON: notifications have no wire, questions are refused."""

    can_ask = False

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Drop it: progress and logs of a JSON answer cannot be sent (2025-11-25 transports, item 6)."""

    async def ask(
        self, method: str, params: Mapping[str, Any] | None, timeout: float | None
    ) -> dict[str, Any]:
        """Refuse it, in the SDK's own words."""
        raise NoBackChannelError(method)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """The SDK's `Outbound` face of `ask`."""
        raise NoBackChannelError(method)


CLOSED = Closed()


class _Unsent(Closed):
    """A connection's own outbound while no standalone stream exists."""

    async def notify(  # the SDK's Outbound passes options where a Channel has none
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        """Drop it: the client has no stream open to hear it on."""


_UNSENT = _Unsent()


class CallContext:
    """The SDK's `DispatchContext` of one message: what a handler can reach of its request."""

    __slots__ = ("_cancel", "_channel", "_http", "_token", "request_id")

    def __init__(
        self,
        channel: Channel,
        http: Any,
        request_id: RequestId | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self._channel = channel
        self._http = http
        self._cancel: anyio.Event | None = None
        self._token = progress_token_from_params(params)
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
        """Carries the aiohttp request to handlers, as `ctx.request`."""
        return ServerMessageMetadata(request_context=self._http, can_send_request=self._channel.can_ask)

    @property
    def cancel_requested(self) -> anyio.Event:
        """Part of the SDK's contract; a cancelled call's task is cancelled, so nobody need look here."""
        if self._cancel is None:
            self._cancel = anyio.Event()
        return self._cancel

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Ask the client on this request's own stream."""
        return await self._channel.ask(method, params, (opts or {}).get("timeout"))

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        """Tell the client on this request's own stream."""
        await self._channel.notify(method, params)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Report progress where the client asked for it with a token."""
        if self._token is None:
            return
        params: dict[str, Any] = {"progressToken": self._token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self._channel.notify("notifications/progress", params)


@dataclass(frozen=True, slots=True)
class Handshake:
    """A successful `initialize`: its result, and what the session's row keeps of it."""

    result: dict[str, Any]
    revision: str
    params: bytes
    client: tuple[str, str | None, str]


class _Peer:
    """One client's `Connection` with the runner's two entries, the runner's cycle cut."""

    __slots__ = ("connection", "on_notify", "on_request")

    def __init__(self, runner: ServerRunner[Any]) -> None:
        self.connection = runner.connection
        self.on_request: OnRequest = runner.on_request
        self.on_notify: OnNotify = runner.on_notify
        del runner.on_request, runner.on_notify


class Kernel:
    """Runs requests through an SDK `Server`, one rebuilt connection per session."""

    def __init__(self, server: Server[Any], *, hot: int = 512) -> None:
        self._server = server
        self._hot = hot
        self._state: Any = None
        self._peers: OrderedDict[str, _Peer] = OrderedDict()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Enter the server's lifespan, once for the process and not once per session."""
        async with self._server.lifespan(self._server) as state:
            self._state = state
            yield

    async def initialize(self, request: Request, http: Any) -> Handshake | Error:
        """Negotiate (2025-11-25 lifecycle, Version Negotiation). Nothing is kept here either way."""
        connection = Connection.for_loop(_UNSENT)
        answer = await self._run(self._peer(connection), request, CLOSED, http)
        params = connection.client_params
        if isinstance(answer, Error):
            return answer
        if params is None:  # a middleware answered in the kernel's place: no handshake took place
            return internal_error()
        info = params.client_info
        return Handshake(
            result=answer,
            revision=connection.protocol_version,
            params=to_json(request.params),
            client=(info.name, info.title, info.version),
        )

    async def answer(
        self, session: Session, request: Request, channel: Channel, http: Any
    ) -> dict[str, Any] | Error:
        """A session's request: its result, or the error that the client sees."""
        return await self._run(self._wake(session), request, channel, http)

    async def hear(self, session: Session, notification: Notification, http: Any) -> None:
        """A session's notification; what its handler raises is logged, never answered."""
        await self._wake(session).on_notify(
            CallContext(CLOSED, http), notification.method, notification.params
        )

    async def answer_alone(
        self, revision: str, request: Request, channel: Channel, http: Any
    ) -> dict[str, Any] | Error:
        """A request that came without a session, at the revision it named."""
        return await self._run(self._alone(revision), request, channel, http)

    async def hear_alone(self, revision: str, notification: Notification, http: Any) -> None:
        """A notification that came without a session."""
        peer = self._alone(revision)
        await peer.on_notify(CallContext(CLOSED, http), notification.method, notification.params)

    def forget(self, session_id: str) -> None:
        """Drop a session's connection; it is rebuilt from the row when it is needed again."""
        self._peers.pop(session_id, None)

    async def _run(
        self, peer: _Peer, request: Request, channel: Channel, http: Any
    ) -> dict[str, Any] | Error:
        context = CallContext(channel, http, request.id, request.params)
        try:
            return await peer.on_request(context, request.method, request.params)
        except Exception as exception:
            error = handler_exception_to_error_data(exception)
            if error is None:
                _log.exception("the handler of a request raised", extra={"method": request.method[:100]})
                return internal_error()
            return Error(error.code, error.message, error.data)

    def _wake(self, session: Session) -> _Peer:
        peer = self._peers.get(session.session_id)
        if peer is not None:
            self._peers.move_to_end(session.session_id)
            return peer
        connection = Connection(
            _UNSENT,
            protocol_version=session.revision,
            session_id=session.session_id,
            client_params=InitializeRequestParams.model_validate_json(
                session.initialize_params, by_name=False
            ),
        )
        if session.initialized:
            connection.initialized.set()
        peer = self._peers[session.session_id] = self._peer(connection)
        if len(self._peers) > self._hot:
            self._peers.popitem(last=False)
        return peer

    def _alone(self, revision: str) -> _Peer:
        connection = Connection(
            _UNSENT, protocol_version=revision if revisions.is_served(revision) else revisions.ASSUMED
        )
        connection.initialized.set()
        return self._peer(connection)

    def _peer(self, connection: Connection) -> _Peer:
        return _Peer(ServerRunner(self._server, connection, self._state))
