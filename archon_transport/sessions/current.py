"""Whose request is being served: set at admission, read by tools.

A ContextVar, so that every call's task has its own. Tools ask `current()`; only the transport sets it.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from .record import Owner, Session


@dataclass(frozen=True, slots=True)
class Current:
    """The session and the verified principal of the request at hand; None where it has none.

    `scopes` are the principal's, None where no identity is asked.
    """

    session: Session | None
    owner: Owner | None
    scopes: frozenset[str] | None = None


_current: ContextVar[Current | None] = ContextVar("archon_transport_current", default=None)


def current() -> Current | None:
    """The request at hand, or None outside of one."""
    return _current.get()


def serving(session: Session | None, owner: Owner | None, scopes: frozenset[str] | None = None) -> None:
    """Say whose request this task serves, for the rest of the task's life."""
    _current.set(Current(session, owner, scopes))
