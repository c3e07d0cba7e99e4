"""What the page needs of the rest of the program; `app` hands it in as one `House`.

Records come as the reports make them: the page reads their attributes, and the REST API checks them
against its own models.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..auth import TokenVerifier
from ..protocol.messages import Refused


class Reports(Protocol):
    """Questions about the tables. Any may raise `StoreUnavailable`."""

    async def sessions(
        self, state: str = "now", search: str | None = None, *, limit: int = 100, offset: int = 0
    ) -> Sequence[Any]:
        """Sessions, those that did something last first."""

    async def session(self, session_id: str) -> Any | None:
        """One session."""

    async def requests(
        self,
        *,
        session: str | None = None,
        outcomes: tuple[str, ...] = (),
        tool: str | None = None,
        search: str | None = None,
        limit: int = 100,
        offset: int = 0,
        counted: bool = False,
    ) -> Any:
        """A page of requests: `lines`, `total`, `has_more`, `searched`."""

    async def refusals(
        self, search: str | None = None, *, hours: int = 24, limit: int = 100
    ) -> Sequence[Any]:
        """What was refused."""

    async def streams(self, session_id: str) -> Sequence[Any]:
        """A session's open streams."""

    async def questions(self, session_id: str) -> Sequence[Any]:
        """A session's waiting questions."""

    async def nodes(self) -> Sequence[Any]:
        """The processes that serve."""

    async def now(self) -> dict[str, Any]:
        """How many of what there is."""

    async def pulse(self) -> dict[str, str]:
        """One text per topic that changes when the topic does."""

    async def tools(self, start: datetime, end: datetime, *, limit: int = 200) -> Sequence[Any]:
        """Use of each tool."""

    async def intervals(self, start: datetime, end: datetime, unit: str = "hour") -> Sequence[Any]:
        """Use in each hour or day."""

    async def totals(self, start: datetime, end: datetime) -> dict[str, Any]:
        """Sums over a time."""

    async def quantiles(self, start: datetime, end: datetime) -> list[float | None]:
        """p50, p95 and p99 of the durations."""

    async def session_tokens(self, session_id: str) -> int:
        """Estimated tokens in a client's context."""

    async def health(self) -> dict[str, Any]:
        """How sessions are."""

    async def endings(self, days: int) -> dict[str, Any]:
        """How many sessions ended, and why."""

    async def sources(self) -> Sequence[Any] | None:
        """The knowledge base's sources."""

    async def jobs(self) -> Sequence[Any] | None:
        """What is being put into the knowledge base."""


@dataclass(frozen=True, slots=True)
class House:
    """Everything that the page shows or does.

    `refuse` judges a Host and an Origin; `verifier` is None where nobody has to log in; `call_tool` is
    None where the server has none of Archon's tools; `tracking` says how many rows wait and were lost.
    """

    reports: Reports
    end_session: Callable[[str], Awaitable[bool]]
    refuse: Callable[[str | None, str | None], Refused | None]
    verifier: TokenVerifier | None
    path: str
    idle_timeout: float | None
    started_at: datetime
    tracking: Callable[[], Mapping[str, int]] = dict
    call_tool: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]] | None = None
