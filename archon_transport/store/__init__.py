"""Where sessions live: in memory, or in Postgres with its migrations and wake-ups.

Both stores keep the port that `sessions` declares. Nothing here knows HTTP or MCP.
"""

from __future__ import annotations

from .errors import (
    MigrationError,
    StoreError,
    StoreMisconfiguredError,
    StoreUnreachableError,
    StoreUnsuitableError,
)
from .memory import MemoryStore
from .migrations import SETS, migrate
from .postgres import PostgresStore

__all__ = [
    "SETS",
    "MemoryStore",
    "MigrationError",
    "PostgresStore",
    "StoreError",
    "StoreMisconfiguredError",
    "StoreUnreachableError",
    "StoreUnsuitableError",
    "migrate",
]
