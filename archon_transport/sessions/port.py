"""What the session table needs of a store, and how a store says that it is away.

Two stores keep this contract (memory and Postgres) and one suite of tests holds both to it.
Every decision about a session's life is made inside the store, by the store's clock.

    SessionsError
    ├── StoreUnavailable   the database is away: cached sessions go on, others wait
    ├── Unwritable         what was to be written is refused for what it says
    └── TableFull          no room and nothing may be ended for it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from ..signals.refusals import Refusal
from .record import EndReason, Finished, Inferred, Owner, Session


class SessionsError(Exception):
    """The root of what goes wrong with sessions by no fault of the client."""


class StoreUnavailable(SessionsError):
    """The store cannot be asked now; what it would have said is unknown."""


class Unwritable(SessionsError):
    """Something in a batch is refused for its data: sent again as it is, it would be refused again."""


class TableFull(SessionsError):
    """`max_sessions` live sessions, none of them idle for long enough to be ended."""


class SessionStore(Protocol):
    """Where sessions live. Any method may raise `StoreUnavailable`."""

    async def open(self, session: Session, *, node: str, limit: int | None) -> None:
        """Commit a new session before its id is sent.

        At `limit` live sessions it first ends some: those that made no request after `initialize`
        and are idle for an hour, then those idle for 24 hours, longest idle first.

        Raises:
            TableFull: none qualified.
        """

    async def admit(self, session_id: str, digest: bytes | None = None, *, node: str) -> Session | None:
        """Touch a live session and return it; None where it is unknown or has ended. One statement.

        With a `digest`, a row with another one is as good as none and is not alive: a public id alone
        keeps nobody's session alive.
        """

    async def adopt(self, session_id: str, owner: Owner) -> Session | None:
        """Give a live session without an owner to `owner`, once; the row as it is then, None if not live."""

    async def end(self, session_id: str, reason: EndReason) -> bool:
        """End a live session; its wake-up is committed with it. False where it was not live."""

    async def infer(self, records: Sequence[Inferred], *, node: str) -> None:
        """Make sure that records are there and open; nothing is ever decided by them."""

    async def write(self, rows: Sequence[Finished], alive: dict[str, bool], *, node: str) -> dict[str, bool]:
        """Keep what requests did, add it to the totals of their sessions and records, touch those that live.

        `alive` has sessions that did nothing countable, True where the client said that it is initialized.
        A row that is there already adds nothing, so a batch may be sent again. Returns the sessions and
        records that are known, each with whether it is a session that lives; the rows of others are dropped.

        Raises:
            Unwritable: nothing was written.
        """

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Add to how often requests were refused. Sent again, it counts again."""

    async def close_inferred(self, idle: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """Close records without a request for `idle` seconds, unless the clock is past `unless_after`."""

    async def clock(self) -> datetime:
        """The store's own time: the only clock that decides about idleness."""

    async def expire(self, idle_timeout: float, *, unless_after: datetime, at_most: int = 1000) -> int:
        """End sessions idle for longer than `idle_timeout` seconds, unless the clock is past `unless_after`.

        The bound is how a clock that jumps between two statements ends nothing. Returns how many.
        """

    async def count(self) -> int:
        """How many sessions live."""

    async def page(self, *, limit: int = 100, before: str | None = None) -> list[Session]:
        """Live sessions, newest first; `before` is the id after which the next page starts."""

    def subscribe(self, on_end: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        """Call `on_end(session_id)` for every session that ends, on any node.

        `on_gap()` says that ends may have been missed: what is cached must be asked for again.
        """

    def heard_within(self, seconds: float) -> bool:
        """Whether the wake-up connection answered within that time: whether a missing end means none."""
