"""The database for a command that does one thing and ends: opened as the server would, and let go of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ..settings import Settings, SettingsError
from ..signals import logs
from .parser import CANNOT, fail

if TYPE_CHECKING:
    from ..store import PostgresStore


def with_store(settings: Settings, work: Callable[[PostgresStore], Awaitable[int]]) -> int:
    """Do `work` on the store that the settings name, beside a running server or alone; its exit code."""
    from .. import app
    from ..embedded import EmbeddedPostgresError
    from ..sessions import StoreUnavailable
    from ..store import StoreError

    async def run() -> int:
        async with AsyncExitStack() as cleanup:
            store, _ = await app.open_store(settings, cleanup)
            return await work(store)

    logs.configure("warning", settings.log_format)
    try:
        return asyncio.run(run())
    except (StoreError, EmbeddedPostgresError, SettingsError, StoreUnavailable) as error:
        return fail(str(error), CANNOT)
