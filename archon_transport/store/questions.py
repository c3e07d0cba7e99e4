"""Questions in Postgres: one UPDATE decides whether an answer counts, wherever it arrives.

It counts for the session and the owner that was asked, once, in time, and while somebody waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..sessions.record import Owner
from ..sessions.streams import Key
from .hints import Hints
from .pool import Database

_TAKE = """
UPDATE archon_mcp_questions SET {what}
WHERE session_id = $1 AND question_id = $2
    AND (owner_issuer, owner_subject, owner_client_id) IS NOT DISTINCT FROM ($4::text, $5::text, $6::text)
    AND answered_at IS NULL AND withdrawn_at IS NULL AND deadline > clock_timestamp()
RETURNING incarnation"""
_ANSWER = _TAKE.format(what="answer = $3, answered_at = clock_timestamp()")
_PROGRESS = _TAKE.format(what="progress = $3")

_ANSWERS = """
SELECT session_id, question_id, answer, progress
FROM archon_mcp_questions JOIN unnest($1::uuid[], $2::text[]) AS t (session_id, question_id)
    USING (session_id, question_id)
WHERE answer IS NOT NULL OR progress IS NOT NULL"""

# CASE and not a WHERE: who has waited for an answer's commit must see it.
_WITHDRAW = """
UPDATE archon_mcp_questions
SET withdrawn_at = CASE WHEN answered_at IS NULL THEN clock_timestamp() END
WHERE session_id = $1 AND question_id = $2 RETURNING answered_at IS NOT NULL AS answered"""


class QuestionRows:
    """The part of the streams' port that is about questions."""

    _database: Database
    _hints: Hints

    async def answer(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Give a question its one answer and wake whoever asked; False where it takes none."""
        return await self._take(_ANSWER, key, owner, payload)

    async def progress(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Note the client's progress on a question and wake whoever asked."""
        return await self._take(_PROGRESS, key, owner, payload)

    async def _take(self, query: str, key: Key, owner: Owner | None, payload: bytes) -> bool:
        if not (key[1].isascii() and key[1].isprintable()):
            return False  # no id of ours, and perhaps no text that Postgres takes
        rows = await self._database.fetch(query, *key, payload, *(owner or (None, None, None)))
        await self._hints.send((row["incarnation"], "answered", *key) for row in rows)
        return bool(rows)

    async def answers(self, keys: Sequence[Key]) -> dict[Key, tuple[bytes | None, bytes | None]]:
        """(answer, progress) of those questions that have either."""
        columns = ([key[0] for key in keys], [key[1] for key in keys])
        rows = await self._database.fetch(_ANSWERS, *columns, repeat=True)
        return {
            (str(row["session_id"]), row["question_id"]): (row["answer"], row["progress"]) for row in rows
        }

    async def withdraw(self, key: Key) -> bool:
        """Nobody waits for an answer any more; False where one has come."""
        rows = await self._database.fetch(_WITHDRAW, *key, repeat=True)
        return not (rows and rows[0]["answered"])
