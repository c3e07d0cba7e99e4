"""The SDK's sealed `requestState` over the store's keys: what one node seals, every node opens.

A state outlives a restart for the same reason. It binds to the principal by the SDK's own variable, which
is set for every request with a verified token. Only servers of our own are given this; what another server
does with its states is its business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.request_state import AESGCMRequestStateCodec, RequestStateSecurity

_log = logging.getLogger(__name__)

ROTATION: Final = 24 * 3600.0
LIFE: Final = 3600.0
"""Seconds after which a key gets a successor, and for which a state is valid: a user may think that long."""

REFRESH: Final = 15.0
"""Seconds between two looks at the store; a new key seals a minute after it was made."""


class KeyStore(Protocol):
    """Where the keys are."""

    async def keys(self, *, rotation: float, life: float) -> list[bytes]:
        """Every key that opens, the one that seals first; makes and forgets what is due."""


class KeyRing:
    """The SDK's codec, with keys that are read again every `REFRESH` seconds; `security` is its policy."""

    def __init__(self, store: KeyStore, *, rotation: float = ROTATION, life: float = LIFE) -> None:
        self._store = store
        self._rotation = rotation
        self._codec: AESGCMRequestStateCodec
        self.security = RequestStateSecurity(codec=self, ttl=life)

    async def refresh(self) -> None:
        """Read the keys; the first time before anything is sealed."""
        ring = await self._store.keys(rotation=self._rotation, life=self.security.ttl)
        self._codec = AESGCMRequestStateCodec(ring)

    def seal(self, payload: bytes) -> str:
        """A token under the key that seals now."""
        return self._codec.seal(payload)

    def unseal(self, token: str) -> bytes:
        """What was sealed under any key of the ring.

        Raises:
            InvalidRequestState: it was not, or it was changed.
        """
        return self._codec.unseal(token)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Know the keys, and go on knowing them until left."""
        await self.refresh()
        task = asyncio.create_task(self._run(), name="key-ring")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await self.refresh()
            except Exception:
                _log.exception("the keys could not be read; those that are known go on being used")


def acting_for(access: AccessToken | None) -> None:
    """Tell the SDK whose request this task serves, for the rest of the task's life."""
    auth_context_var.set(None if access is None else AuthenticatedUser(access))
