"""Rows of sessions, requests and refusals as the transport writes them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg

_SESSION = """
INSERT INTO archon_mcp_sessions (session_id, secret_digest, client_name, client_version, revision, era, node,
    connected_at, last_activity, requests, ended_at, ended_reason, inferred, owner_subject)
VALUES ($1, $2, $3, '7.1', '2025-11-25', 'handshake', 'here/1', now() - interval '1 hour',
    now() - make_interval(secs => $4), 3, CASE WHEN $5::text IS NOT NULL THEN now() END, $5, $6, $7)"""

_REQUEST = """
INSERT INTO archon_mcp_requests (request_id, session_id, method, tool_name, timestamp, duration_ms, status,
    outcome, error_code, error_message, bytes_in, bytes_out, node)
VALUES ($1, $2, $3, $4, now() - make_interval(secs => $5), $6, $7, $8, $9, $10, 100, $11, 'here/1')"""

_REFUSAL = """
INSERT INTO archon_mcp_refusals (minute, rule, bucket, client, status, count, example)
VALUES (date_trunc('minute', now()), $1, '127.0.0.0/24', $2, $3, $4, $5)"""

_STATUS = {"ok": "success", "timeout": "timeout"}


@dataclass(frozen=True)
class Rows:
    pool: asyncpg.Pool

    async def session(
        self,
        client: str = "survivor",
        *,
        idle: float = 1.0,
        ended: str | None = None,
        inferred: bool = False,
        owner: str | None = None,
    ) -> str:
        identity = uuid.uuid4()
        digest = None if inferred else b"\0" * 32
        await self.pool.execute(_SESSION, identity, digest, client, idle, ended, inferred, owner)
        return str(identity)

    async def request(
        self,
        session: str,
        tool: str | None = "find_tasks",
        *,
        ago: float = 1.0,
        ms: int = 10,
        outcome: str = "ok",
        code: int | None = None,
        error: str | None = None,
        bytes_out: int = 400,
        method: str = "tools/call",
    ) -> str:
        identity = uuid.uuid4()
        status = _STATUS.get(outcome, "error")
        row: tuple[Any, ...] = (method, tool, ago, ms, status, outcome, code, error, bytes_out)
        await self.pool.execute(_REQUEST, identity, uuid.UUID(session), *row)
        return str(identity)

    async def refusal(
        self,
        rule: str = "host",
        example: str = "",
        *,
        client: str = "curl",
        status: int = 421,
        count: int = 1,
    ) -> None:
        await self.pool.execute(_REFUSAL, rule, client, status, count, example)
