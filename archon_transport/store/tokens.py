"""The operator's bearer tokens in Postgres, by name and by the digest of the token.

Whether one is valid is decided by the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg

from ..auth import StaticToken
from .pool import Database

_COLUMNS = """name, scopes, created_at, rotated_at, expires_at, revoked_at, last_used_at,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= clock_timestamp() THEN 'expired'
        ELSE 'valid' END AS state"""

_ADD = f"""
INSERT INTO archon_mcp_tokens AS old (name, digest, scopes, expires_at)
VALUES ($1, $2, COALESCE($3::text[], '{{read,write}}'), clock_timestamp() + make_interval(secs => $4))
ON CONFLICT (name) DO UPDATE SET
    digest = EXCLUDED.digest, scopes = COALESCE($3, old.scopes), expires_at = EXCLUDED.expires_at,
    rotated_at = clock_timestamp(), revoked_at = NULL
RETURNING {_COLUMNS}"""

_FIND = f"SELECT {_COLUMNS} FROM archon_mcp_tokens WHERE digest = $1"

_REVOKE = f"""
UPDATE archon_mcp_tokens SET revoked_at = COALESCE(revoked_at, clock_timestamp())
WHERE name = $1 RETURNING {_COLUMNS}"""

_LIST = f"SELECT {_COLUMNS} FROM archon_mcp_tokens ORDER BY name"

_NOTE = """
UPDATE archon_mcp_tokens SET last_used_at = clock_timestamp()
WHERE name = ANY($1) AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')"""


class TokenRows:
    """The table of tokens."""

    _database: Database

    async def add_token(
        self, name: str, digest: bytes, scopes: Sequence[str] | None, life: float | None
    ) -> StaticToken:
        """Make a token, or put a new one in the place of the one of that name, revoked or not.

        Without `scopes` it has those of the one before, else `read` and `write`; `life` is in seconds.
        """
        return (await self._tokens(_ADD, name, digest, scopes, life))[0]

    async def find_token(self, digest: bytes) -> StaticToken | None:
        """The token with this digest, valid or not."""
        return next(iter(await self._tokens(_FIND, digest)), None)

    async def revoke_token(self, name: str) -> StaticToken | None:
        """Make the token of that name invalid for good, None where there is none."""
        return next(iter(await self._tokens(_REVOKE, name)), None)

    async def list_tokens(self) -> list[StaticToken]:
        """Every token, by name."""
        return await self._tokens(_LIST)

    async def note_uses(self, names: Iterable[str]) -> None:
        """Keep that these tokens are in use, once a minute each."""
        await self._database.fetch(_NOTE, list(names), repeat=True)

    async def _tokens(self, query: str, *args: object) -> list[StaticToken]:
        return [_token(row) for row in await self._database.fetch(query, *args, repeat=True)]


def _token(row: asyncpg.Record) -> StaticToken:
    return StaticToken(**{**row, "scopes": tuple(row["scopes"])})
