"""The keys that all nodes seal with, by the store's clock.

A new key opens at once and seals a minute after it was made: until then some node may not have read it.
It goes a state's life after its successor has begun to seal everywhere, when nothing that it sealed is
still valid. The first key of all has nobody to wait for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from .pool import Database

SPREAD = 60.0
"""Seconds within which every node has read a new key; nodes read more often than that."""

KEY_BYTES = 32

_MAKE = """
WITH gone AS (
    DELETE FROM archon_mcp_keys AS old USING archon_mcp_keys AS next
    WHERE next.key_id > old.key_id AND next.made_at < clock_timestamp() - make_interval(secs => $3)
)
INSERT INTO archon_mcp_keys (key_id, secret)
SELECT COALESCE(max(key_id), 0) + 1, $1 FROM archon_mcp_keys
HAVING COALESCE(max(made_at) < clock_timestamp() - make_interval(secs => $2), true)
ON CONFLICT (key_id) DO NOTHING"""

_READ = """
SELECT secret FROM archon_mcp_keys ORDER BY key_id = (
    SELECT COALESCE(max(key_id) FILTER (WHERE made_at < clock_timestamp() - make_interval(secs => $1)),
        min(key_id)) FROM archon_mcp_keys
) DESC, key_id DESC"""


class KeyRows:
    """The ring in Postgres."""

    _database: Database

    async def keys(self, *, rotation: float, life: float) -> list[bytes]:
        """Every key that opens, the one that seals first; makes and forgets what is due.

        `rotation` is the seconds after which a key gets a successor, `life` those of what is sealed.
        """
        fresh = secrets.token_bytes(KEY_BYTES)
        await self._database.fetch(_MAKE, fresh, rotation, life + 2 * SPREAD, repeat=True)
        return [row["secret"] for row in await self._database.fetch(_READ, SPREAD, repeat=True)]


class MemoryKeys:
    """The ring of one process: (secret, made at), oldest first."""

    _clock: Callable[[], datetime]
    _ring: list[tuple[bytes, datetime]]

    async def keys(self, *, rotation: float, life: float) -> list[bytes]:
        """Every key that opens, the one that seals first; makes and forgets what is due."""
        now = self._clock()
        while len(self._ring) > 1 and self._ring[1][1] < now - timedelta(seconds=life + 2 * SPREAD):
            self._ring.pop(0)
        if not self._ring or self._ring[-1][1] < now - timedelta(seconds=rotation):
            self._ring.append((secrets.token_bytes(KEY_BYTES), now))
        known = [secret for secret, made in self._ring if made < now - timedelta(seconds=SPREAD)]
        sealing = known[-1] if known else self._ring[0][0]
        return [sealing, *(secret for secret, _ in reversed(self._ring) if secret != sealing)]
