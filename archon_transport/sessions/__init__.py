"""The one record, its table, and what the table needs of a store.

A protocol session and its tracking session are one thing here. This room opens, admits, wakes,
puts to sleep and ends sessions; it knows nothing of HTTP and nothing of SQL.
"""

from .current import Current, current, serving
from .inferred import IDLE, Groups
from .port import SessionsError, SessionStore, StoreUnavailable, TableFull
from .record import EndReason, Owner, Session, Touch, WireId
from .table import Limits, SessionTable
from .writer import Writer

__all__ = [
    "IDLE",
    "Current",
    "EndReason",
    "Groups",
    "Limits",
    "Owner",
    "Session",
    "SessionStore",
    "SessionTable",
    "SessionsError",
    "StoreUnavailable",
    "TableFull",
    "Touch",
    "WireId",
    "Writer",
    "current",
    "serving",
]
