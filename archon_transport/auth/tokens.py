"""Static bearer tokens: made by the operator, shown once, kept as a digest.

A token stands for its name. Another one made under the same name takes its place and is the same owner, so
that sessions outlive a rotation. The table is the truth: what was read of it is believed for two seconds,
and for longer only while the database cannot be asked, so that an outage cuts nobody off who was in.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from mcp.server.auth.provider import AccessToken

_log = logging.getLogger(__name__)

SCOPES: Final = ("read", "write", "admin")
"""What a token may be good for; each has those before it."""

ISSUER: Final = "archon-transport"
"""The issuer of every static token: a person of that name with another issuer is somebody else."""

PREFIX: Final = "archon_"
"""Begins every token, so that one that leaked is recognised, and what has another form is not looked up."""

BELIEVED: Final = 2.0
LOOK: Final = 2.0
"""Seconds for which a token that was found is believed, and for which a second look at it may take."""

AWAY: Final = 600.0
"""Seconds for which a token that was found is believed while the database cannot be asked."""

KEPT: Final = 10_000
"""Tokens kept in memory."""

NOTED_EVERY: Final = 10.0
"""Seconds between two times that uses are written; the row takes one a minute."""


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A token's row, without its digest; `state` is valid, revoked or expired, by the store's clock."""

    name: str
    state: str
    scopes: tuple[str, ...]
    created_at: datetime
    rotated_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokenStore(Protocol):
    """Where the tokens are."""

    async def find_token(self, digest: bytes) -> StaticToken | None:
        """The token with this digest, valid or not."""

    async def note_uses(self, names: Iterable[str]) -> None:
        """Keep that these tokens are in use, once a minute each."""


def new_token() -> str:
    """A token with 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """What is stored of a token; its bits are random, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def implied(scopes: Iterable[str]) -> frozenset[str]:
    """These scopes and those that they have in them: `admin` has `write`, `write` has `read`."""
    given = frozenset(scopes)
    most = max((SCOPES.index(scope) + 1 for scope in given & frozenset(SCOPES)), default=0)
    return given | frozenset(SCOPES[:most])


@dataclass(slots=True)
class _Known:
    token: StaticToken
    found_at: float
    look_at: float


class StaticTokens:
    """The SDK's `TokenVerifier` over the table of tokens."""

    def __init__(self, store: TokenStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._used: set[str] = set()

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's facts, None where it is unknown, revoked or expired."""
        if not token.startswith(PREFIX):
            return None
        digest = digest_of(token)
        known = self._known.get(digest)
        found = known.token if known and self._clock() < known.look_at else await self._look(digest, known)
        if found is None:
            return None
        self._used.add(found.name)
        return AccessToken(
            token=token,
            client_id=found.name,
            subject=found.name,
            scopes=sorted(implied(found.scopes)),
            expires_at=None if found.expires_at is None else math.ceil(found.expires_at.timestamp()),
            claims={"iss": ISSUER},
        )

    async def _look(self, digest: bytes, known: _Known | None) -> StaticToken | None:
        """Read the row; a known one is believed by others meanwhile, and by this request if that fails."""
        if known is not None:
            known.look_at = self._clock() + BELIEVED
        try:
            async with asyncio.timeout(None if known is None else LOOK):
                found = await self._store.find_token(digest)
        except Exception:
            if known is None or self._clock() - known.found_at > AWAY:
                raise
            return known.token
        if found is None or found.state != "valid":
            self._known.pop(digest, None)
            return None
        if len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        now = self._clock()
        self._known[digest] = _Known(found, now, now + BELIEVED)
        return found

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StaticTokens]:
        """Write which tokens are used, until left."""
        task = asyncio.create_task(self._run(), name="token-uses")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self._note()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(NOTED_EVERY)
            await self._note()

    async def _note(self) -> None:
        used, self._used = self._used, set()
        try:
            if used:
                await self._store.note_uses(used)
        except Exception:
            self._used |= used
            _log.warning("the use of tokens could not be written; it is tried again")
