"""The page and the REST API on an application of their own, over a real database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from mcp.server.auth.provider import AccessToken

from archon_transport import archon
from archon_transport.reports import Reports
from archon_transport.store import PostgresStore
from archon_transport.transport import Guards
from archon_transport.web import House, attach
from tests.reports.rows import Rows

TOKENS = {"reader": ["read"], "writer": ["read", "write"], "boss": ["admin"], "stranger": []}


class Tokens:
    """A verifier that knows four tokens, named after what they may."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if token not in TOKENS:
            return None
        return AccessToken(token=token, client_id=token, scopes=TOKENS[token])


@dataclass
class Site:
    """A client of the page, and what is behind it."""

    client: TestClient[Any, Any]
    store: PostgresStore
    rows: Rows
    reports: Reports
    ended: list[str] = field(default_factory=list)

    async def text(self, path: str, **options: Any) -> str:
        """The page at a path, which must be there."""
        async with self.client.get(path, **options) as response:
            assert response.status == 200, (path, response.status, await response.text())
            return await response.text()

    async def json(self, path: str, **options: Any) -> Any:
        async with self.client.get(path, **options) as response:
            assert response.status == 200, (path, response.status, await response.text())
            return await response.json()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await archon.call_tool(
            archon.build(self.store.pool, started_at=0.0, session_timeout=None), tool, arguments
        )


@asynccontextmanager
async def opened(dsn: str, *, asks: bool = False) -> AsyncIterator[Site]:
    """The site over the database at `dsn`, until left; `asks` for a token or does not."""
    store = PostgresStore(dsn, sets=("transport", "knowledge", "archon"))
    await store.start()
    reports = Reports(store.pool)
    ended: list[str] = []

    async def end(session_id: str) -> bool:
        ended.append(session_id)
        return await store.end(session_id, "operator")

    server = archon.build(store.pool, started_at=time.monotonic(), session_timeout=None)
    house = House(
        reports,
        end_session=end,
        refuse=Guards().refuse,
        verifier=Tokens() if asks else None,
        path="/mcp",
        idle_timeout=None,
        started_at=datetime.now(UTC),
        tracking=lambda: {"rows lost": 0},
        call_tool=partial(archon.call_tool, server),
    )
    app = web.Application()
    attach(app, house)
    async with TestClient(TestServer(app)) as client:
        yield Site(client, store, Rows(store.pool), reports, ended)
    await store.close()
