"""Calls that may be repeated: with the same `idempotency_key`, a create happens once.

The key, a digest of the arguments and the answer are one row, committed together with what was created; a
repetition gets the stored answer. A second call with the key of one that still runs waits for its commit.
A refusal keeps no key. Keys belong to a principal, and all who did not sign in are one; they last a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import asyncpg
from pydantic import AfterValidator, Field, StringConstraints

from .answers import Failure, Success, conflict
from .context import Connection, principal
from .schemas import Arguments, storable

Key = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(storable),
    Field(description="Any text of yours; a repeated create with it within 24 hours is done only once."),
]
"""The parameter of a create that may be repeated."""


class Repeatable(Arguments):
    """Arguments of what may create something."""

    idempotency_key: Key | None = None


# A row of another call that has not committed is waited for; an old one is taken over.
_RESERVE = """
    INSERT INTO archon_mcp_idempotency AS kept (principal, key, tool, arguments_digest)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (principal, key) DO UPDATE
       SET tool = excluded.tool, arguments_digest = excluded.arguments_digest, answer = NULL,
           created_at = now()
     WHERE kept.created_at < now() - interval '24 hours'
    RETURNING key
"""
_STORED = """
    SELECT answer::text, tool, arguments_digest FROM archon_mcp_idempotency
     WHERE principal = $1 AND key = $2
"""
_KEEP = "UPDATE archon_mcp_idempotency SET answer = $3::text::jsonb WHERE principal = $1 AND key = $2"
_FORGET = "DELETE FROM archon_mcp_idempotency WHERE principal = $1 AND key = $2"

Answer = TypeVar("Answer", bound=Success)


async def once(
    pool: asyncpg.Pool,
    given: Repeatable,
    answer: type[Answer],
    make: Callable[[Connection], Awaitable[Answer | Failure]],
) -> Answer | Failure:
    """What `make` answers in a transaction of its own, or what it answered when this key came before.

    `answer` is the model of its answers. Without a key, `make` is simply called.
    """
    async with pool.acquire() as connection, connection.transaction():
        if (key := given.idempotency_key) is None:
            return await make(connection)
        owner, tool = principal(), type(given).__name__
        digest = hashlib.sha256(given.model_dump_json(exclude_unset=True).encode()).digest()
        if await connection.fetchval(_RESERVE, owner, key, tool, digest) is None:
            stored = await connection.fetchrow(_STORED, owner, key)
            if stored is None or (stored["tool"], stored["arguments_digest"]) != (tool, digest):
                return conflict("The idempotency_key was used for another call; take a new one for this.")
            return answer.model_validate_json(stored["answer"])
        made = await make(connection)
        if isinstance(made, Failure):
            await connection.execute(_FORGET, owner, key)
        else:
            await connection.execute(_KEEP, owner, key, made.model_dump_json())
        return made
