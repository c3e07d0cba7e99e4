"""A Postgres that the program runs itself when no database is named.

`EmbeddedPostgres` is its whole face. `binaries` finds the programs, `spawn` and `child` start them, `cluster`
runs one Postgres in the files that `layout` knows, `holder` decides which process does so and who takes over.
"""

from __future__ import annotations

from .holder import EmbeddedPostgres
from .spawn import EmbeddedPostgresError

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
