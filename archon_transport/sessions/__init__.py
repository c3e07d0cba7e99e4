"""The one record, its table, and what the table needs of a store.

A protocol session and its tracking session are one thing here. This room opens, admits, wakes,
puts to sleep and ends sessions; it knows nothing of HTTP and nothing of SQL.
"""

from .current import current, serving
from .inferred import IDLE, Groups
from .port import SessionStore, StoreUnavailable, TableFull
from .record import Owner, Session, WireId
from .table import Limits, SessionTable
from .writer import Writer

__all__ = [
    "IDLE",
    "Groups",
    "Limits",
    "Owner",
    "Session",
    "SessionStore",
    "SessionTable",
    "StoreUnavailable",
    "TableFull",
    "WireId",
    "Writer",
    "current",
    "serving",
]
