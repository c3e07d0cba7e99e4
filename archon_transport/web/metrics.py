"""What this node counts for a monitor, and the address at which it reads that: `/metrics`.

Nothing is counted on a request's path: requests are observed in the batches in which they become rows,
everything else is read when it is asked for. No label takes a value of a client's choosing: methods and
revisions are those of the protocol, tools those that the server has, names of clients are cleaned and few;
whatever else comes is "other". How it is written down is in `exposition`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web
from mcp_types.methods import SPEC_CLIENT_METHODS

from ..auth import Challenge, TokenVerifier, allows, verify
from ..protocol.messages import Refused
from ..protocol.revisions import SERVED
from ..sessions import SessionTable, StoreUnavailable, Writer
from ..sessions.inferred import printable
from ..sessions.record import Finished

_log = logging.getLogger(__name__)

BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of a duration's buckets in seconds, as the conventions for MCP name them."""

TOOLS: Final = 100
CLIENTS: Final = 50
"""Names of tools and of clients that are told apart, in the life of the process."""

OTHER: Final = "other"

ASKED_EVERY: Final = 5.0
"""Seconds for which what the database said is believed: it has to count."""

PATIENCE: Final = 2.0
"""Seconds that the database has for its part of an answer."""

MISSING: Final = (
    'Metrics need prometheus-client, which comes with the extra "server": '
    "pip install 'archon-transport[server]'"
)

_HTTP: Final = frozenset({"listen", "delete"})
"""A GET and a DELETE: rows, but no operations of the protocol; a GET lasts as long as its client listens."""

_METHODS: Final = SPEC_CLIENT_METHODS | _HTTP
_CODES: Final = frozenset(
    {-32700, -32600, -32601, -32602, -32603, -32800, -32001, -32002, -32020, -32021, -32022, -32042}
)

_JOBS: Final = "SELECT to_regclass('archon_knowledge_jobs') IS NOT NULL"
_COUNT_JOBS: Final = "SELECT status, count(*) FROM archon_knowledge_jobs GROUP BY status"


class Node(Protocol):
    """The parts of a node that are looked at."""

    @property
    def sessions(self) -> SessionTable:
        """Those that are awake, and how many were opened and woken."""

    @property
    def writer(self) -> Writer:
        """What waits to be written, what was lost, and what was refused."""

    @property
    def calls(self) -> Sized:
        """Calls that run."""

    @property
    def viewers(self) -> Sized:
        """Streams that somebody follows."""

    @property
    def questions(self) -> Sized:
        """Questions that wait for a client's answer."""


class Store(Protocol):
    """The database as it is looked at."""

    @property
    def pool(self) -> Any:
        """The open pool."""

    @property
    def database(self) -> Any:
        """What counts failed statements, as `errors`."""

    def ping(self) -> Awaitable[bool]:
        """Whether it answers."""

    def count(self) -> Awaitable[int]:
        """How many sessions live."""


@dataclass(slots=True)
class Durations:
    """A histogram: how many durations fell into each bucket, the last one without a bound, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database said: sessions that live, on all nodes, and jobs by status."""

    sessions: int
    jobs: Mapping[str, int]


class Metrics:
    """Counts finished requests and looks at one node; `schema_of(name)` is None for a tool that there is not.

    Where the server cannot be asked, a tool is known from its first success on. `refuse(host, origin)` and
    `verifier` are those of the endpoint; with a verifier, scope `read` is needed.
    """

    def __init__(
        self,
        node: Node,
        store: Store,
        *,
        refuse: Callable[[str | None, str | None], Refused | None],
        verifier: TokenVerifier | None = None,
        schema_of: Callable[[str], object] | None = None,
        is_draining: Callable[[], bool] = lambda: False,
        max_sessions: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.store = store
        self.max_sessions = max_sessions
        self.requests: Counter[tuple[str, str, str, str]] = Counter()
        self.durations: dict[tuple[str, str, str, str], Durations] = {}
        self.stored: Stored | None = None
        self._refuse = refuse
        self._verifier = verifier
        self._schema_of = schema_of
        self._is_draining = is_draining
        self._clock = clock
        self._asked, self._answers = float("-inf"), False
        self._tools: set[str] = set()
        self._clients: set[str] = set()
        node.writer.on_finished = self.observe

    def attach(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get("/metrics", self.serve)

    @property
    def ready(self) -> bool:
        """Whether the node takes new work and has its database."""
        return self._answers and not self._is_draining()

    def observe(self, rows: Sequence[Finished]) -> None:
        """Count requests that are over."""
        for row in rows:
            method = row.method if row.method in _METHODS else OTHER
            tool = self._tool(row)
            era = "handshake" if row.inferred is None else row.inferred.era
            self.requests[method, tool, row.outcome, era] += 1
            if method not in _HTTP:
                revision = row.revision if row.revision in SERVED else OTHER
                durations = self.durations.setdefault((method, tool, _error_type(row), revision), Durations())
                durations.counts[bisect_left(BOUNDS, row.seconds)] += 1
                durations.total += row.seconds

    def clients(self) -> Iterator[tuple[str, str, int]]:
        """The sessions that are awake here, by client and revision."""
        awake = Counter((session.client_name, session.revision) for session in self.node.sessions.awake())
        told: Counter[tuple[str, str]] = Counter()
        for (name, revision), count in awake.most_common():
            label = printable(name, 60) or "Unknown"
            told[_bounded(self._clients, label, CLIENTS), revision if revision in SERVED else OTHER] += count
        return ((*key, count) for key, count in told.items())

    async def serve(self, request: web.Request) -> web.Response:
        """Everything, for whoever may read; 501 where what writes it down is not installed."""
        refused = self._refuse(request.headers.get("Host"), request.headers.get("Origin"))
        if refused is not None:
            return _line(refused.status, refused.error.message)
        try:
            principal = await verify(self._verifier, request.headers.get("Authorization"))
        except StoreUnavailable:
            return _line(503, "The database is away, and this token is not known here.")
        if isinstance(principal, Challenge):
            return _line(principal.status, principal.message, {"WWW-Authenticate": principal.header})
        if not allows(principal, "read"):
            return _line(403, 'This token lacks the scope "read".')
        try:
            from .exposition import written
        except ImportError:
            return _line(501, MISSING)
        await self._ask()
        body, content_type = written(self, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    async def _ask(self) -> None:
        now = self._clock()
        if now - self._asked < ASKED_EVERY:
            return
        self._asked, self._answers, self.stored = now, False, None
        try:
            async with asyncio.timeout(PATIENCE):
                self._answers = await self.store.ping()
                there = await self.store.pool.fetchval(_JOBS)
                jobs = await self.store.pool.fetch(_COUNT_JOBS) if there else []
                self.stored = Stored(await self.store.count(), dict(jobs))
        except Exception as error:  # the rest is told all the same
            _log.warning("the database could not be asked for metrics", extra={"why": type(error).__name__})

    def _tool(self, row: Finished) -> str:
        if row.tool is None:
            return ""
        if row.tool not in self._tools and (row.outcome == "ok" or self._has(row.tool)):
            return _bounded(self._tools, printable(row.tool, 100), TOOLS)
        return row.tool if row.tool in self._tools else OTHER

    def _has(self, tool: str) -> bool:
        try:
            return self._schema_of is not None and self._schema_of(tool) is not None
        except Exception:  # the server's own; nothing of the records may wait for it
            return False


def _bounded(known: set[str], name: str, most: int) -> str:
    """`name` while no more than `most` are known, then only a known one."""
    if len(known) < most:
        known.add(name)
    return name if name in known else OTHER


def _error_type(row: Finished) -> str:
    """What went wrong, as the conventions have it: a code, or a tool's own error; empty where nothing did."""
    if row.error is None:
        return ""
    if row.error_code is None:
        return "tool_error"
    return str(row.error_code) if row.error_code in _CODES else "_OTHER"


def _line(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(text=f"{text}\n", status=status, headers=headers)
