"""Streams in Postgres: the log, its viewers, its questions, and the standing stream that any node appends to.

A batch of appends is one statement and may be sent again after a broken connection. What is fenced and
what is stored is decided under the lock of the stream's row: a viewer that attaches either finds the new
events in its first page or is named to whoever appends them. Tails come from that row too, so the order
of commits is the order of events. One UPDATE decides whether an answer counts, wherever it arrives.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from asyncpg import Record

from ..protocol.messages import RequestId
from ..sessions.port import StoreUnavailable
from ..sessions.record import Owner
from ..sessions.streams import Append, Attached, Event, Key, Question, Run
from .events import CALL_BYTES, EVENT_BYTES, STANDING_BYTES, VIEWED_WITHIN, kept, uri_key
from .hints import Hints
from .pool import Database
from .rows import NOBODY, clean
from .statements import LIVE

_LONGEST_WAIT = 1e8
"""Seconds of a question's deadline, about three years; Postgres refuses an infinite one."""

_Table = list[tuple[Any, ...]]

_LIVING = "SELECT FROM archon_mcp_incarnations AS i WHERE i.dead_at IS NULL AND i.incarnation"

_SAY = "INSERT INTO archon_mcp_events (session_id, stream_id, epoch, n, kind, data)"
_ASK = """INSERT INTO archon_mcp_questions (session_id, stream_id, incarnation, question_id, method,
        owner_issuer, owner_subject, owner_client_id, deadline)"""

# A commit whose answer was lost is sent again, perhaps with more behind it: what stands there already is
# left alone, and a stream that took its end takes it once more. The tables are locked in the order of the
# batch, which no other node shares.
_APPEND = f"""
WITH batch AS (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::boolean[], $5::boolean[], $6::bigint[], $7::bigint[])
        WITH ORDINALITY AS b (session_id, stream_id, opens, closes, tail, size, i)
    WHERE EXISTS ({_LIVING} = $1) AND (b.opens OR EXISTS (
        SELECT FROM archon_mcp_streams AS s WHERE s.session_id = b.session_id AND s.stream_id = b.stream_id))
), took AS (
    INSERT INTO archon_mcp_streams AS s (
        session_id, stream_id, kind, incarnation, tail, size, viewer_incarnation, closed_at)
    SELECT session_id, stream_id, 'call', $1, tail, size, $1, CASE WHEN closes THEN clock_timestamp() END
    FROM batch
    ON CONFLICT (session_id, stream_id) DO UPDATE SET
        tail = GREATEST(s.tail, EXCLUDED.tail),
        size = s.size + CASE WHEN EXCLUDED.tail > s.tail THEN EXCLUDED.size ELSE 0 END,
        closed_at = COALESCE(s.closed_at, EXCLUDED.closed_at)
    WHERE s.incarnation = $1 AND s.epoch = 1 AND (s.closed_at IS NULL OR s.tail >= EXCLUDED.tail)
    RETURNING session_id, stream_id, size, viewer_incarnation
), events AS (
    {_SAY} SELECT session_id, stream_id, 1, e.n, e.kind, e.data
    FROM unnest($8::bigint[], $9::bigint[], $10::text[], $11::bytea[]) AS e (i, n, kind, data)
        JOIN batch USING (i) JOIN took USING (session_id, stream_id)
    ON CONFLICT DO NOTHING
), questions AS (
    {_ASK} SELECT session_id, stream_id, $1, q.id, q.method, q.issuer, q.subject, q.client,
        clock_timestamp() + make_interval(secs => q.seconds)
    FROM unnest($12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::float8[])
        AS q (i, id, method, issuer, subject, client, seconds)
        JOIN batch USING (i) JOIN took USING (session_id, stream_id)
    ON CONFLICT DO NOTHING
)
SELECT session_id, stream_id, size,
    CASE WHEN EXISTS ({_LIVING} = viewer_incarnation) THEN viewer_incarnation END AS viewer
FROM took"""

_TRIM = """
WITH sized AS (
    SELECT epoch, n, kind, sum(octet_length(data)) OVER (ORDER BY epoch DESC, n DESC) AS from_here
    FROM archon_mcp_events WHERE session_id = $1 AND stream_id = $2
), gone AS (
    DELETE FROM archon_mcp_events AS e USING sized WHERE e.session_id = $1 AND e.stream_id = $2
        AND (e.epoch, e.n) = (sized.epoch, sized.n) AND sized.kind = 'notification' AND sized.from_here > $3
    RETURNING octet_length(e.data) AS bytes
)
UPDATE archon_mcp_streams SET size = size - (SELECT COALESCE(sum(bytes), 0) FROM gone)
WHERE session_id = $1 AND stream_id = $2"""

_FOUND = "s.epoch, s.tail, s.closed_at IS NOT NULL AS closed, s.incarnation, s.viewer_epoch"

_ATTACH = f"""
WITH former AS (
    SELECT viewer_incarnation FROM archon_mcp_streams
    WHERE session_id = $1 AND stream_id = $2 FOR NO KEY UPDATE
)
UPDATE archon_mcp_streams AS s
SET viewer_incarnation = $3, viewer_epoch = viewer_epoch + 1, detached_at = NULL
FROM former WHERE session_id = $1 AND stream_id = $2
RETURNING s.stream_id, {_FOUND}, former.viewer_incarnation AS former"""

_STAND = f"""
INSERT INTO archon_mcp_streams AS s (session_id, stream_id, kind, viewer_incarnation)
VALUES ($1, $2, 'standing', $3)
ON CONFLICT (session_id) WHERE kind = 'standing' DO UPDATE
    SET viewer_incarnation = $3, viewer_epoch = s.viewer_epoch + 1, detached_at = NULL
RETURNING s.stream_id, {_FOUND}, (SELECT viewer_incarnation FROM archon_mcp_streams
    WHERE session_id = $1 AND kind = 'standing') AS former"""

_DETACH = """
UPDATE archon_mcp_streams SET detached_at = clock_timestamp()
WHERE session_id = $1 AND stream_id = $2 AND kind = 'standing' AND detached_at IS NULL
    AND viewer_incarnation = $3 AND viewer_epoch = COALESCE($4, viewer_epoch)"""

_GROWN = """
SELECT t.session_id, t.stream_id, s.viewer_incarnation IS DISTINCT FROM $5 AS taken
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[]) AS t (session_id, stream_id, epoch, n)
    LEFT JOIN archon_mcp_streams AS s USING (session_id, stream_id)
WHERE s.session_id IS NULL OR s.closed_at IS NOT NULL OR (s.epoch, s.tail) > (t.epoch, t.n)
    OR s.viewer_incarnation IS DISTINCT FROM $5"""

_READ = """
SELECT s.closed_at IS NOT NULL AS closed, s.epoch AS last_epoch, s.tail, e.epoch, e.n, e.kind, e.data
FROM archon_mcp_streams AS s LEFT JOIN LATERAL (
    SELECT epoch, n, kind, data FROM archon_mcp_events
    WHERE session_id = $1 AND stream_id = $2 AND (epoch, n) > ($3::integer, $4::bigint)
    ORDER BY epoch, n LIMIT $5
) AS e ON true
WHERE s.session_id = $1 AND s.stream_id = $2 ORDER BY e.epoch, e.n"""


@cache
def _publishing(by_session: bool, by_uri: bool) -> str:
    """The statement that appends to those standing streams that are or lately were viewed.

    One of four and not one with "$1 IS NULL OR": each has an index to go by. Rows are locked in the order of
    their sessions, so that two that publish wait and never both.
    """
    session = "session_id = $1::uuid" if by_session else "$1::uuid IS NULL"
    subscribed = "session_id IN (SELECT session_id FROM archon_mcp_subscriptions WHERE uri = $2::text)"
    return f"""
WITH chosen AS (
    SELECT session_id, stream_id FROM archon_mcp_streams AS s
    WHERE kind = 'standing' AND {session} AND {subscribed if by_uri else "$2::text IS NULL"}
        AND (detached_at IS NULL OR detached_at > now() - interval '{VIEWED_WITHIN} s')
    ORDER BY session_id FOR NO KEY UPDATE
), took AS (
    UPDATE archon_mcp_streams AS s SET tail = tail + 1, size = size + octet_length($3::bytea) FROM chosen
    WHERE s.session_id = chosen.session_id AND s.stream_id = chosen.stream_id
    RETURNING s.session_id, s.stream_id, epoch, tail, size, viewer_incarnation AS viewer
), said AS (
    {_SAY} SELECT session_id, stream_id, epoch, tail,
        CASE WHEN $5::text IS NULL THEN 'notification' ELSE 'question' END, $3 FROM took
), asked AS (
    {_ASK} SELECT session_id, stream_id, $4::text, $5, $6::text, $7::text, $8::text, $9::text,
        clock_timestamp() + make_interval(secs => $10::float8) FROM took WHERE $5 IS NOT NULL
)
SELECT session_id, stream_id, size, viewer FROM took"""


# An answer counts for the session and the owner that was asked, once, in time, and while somebody waits.
_TAKE = """
UPDATE archon_mcp_questions SET {what} WHERE session_id = $1 AND question_id = $2
    AND (owner_issuer, owner_subject, owner_client_id) IS NOT DISTINCT FROM ($4::text, $5::text, $6::text)
    AND answered_at IS NULL AND withdrawn_at IS NULL AND deadline > clock_timestamp()
RETURNING incarnation"""
_ANSWER = _TAKE.format(what="answer = $3, answered_at = clock_timestamp()")
_PROGRESS = _TAKE.format(what="progress = $3")

_ANSWERS = """
SELECT session_id, question_id, answer, progress FROM archon_mcp_questions
    JOIN unnest($1::uuid[], $2::text[]) AS t (session_id, question_id) USING (session_id, question_id)
WHERE answer IS NOT NULL OR progress IS NOT NULL"""

# CASE and not a WHERE: who has waited for an answer's commit must see it.
_WITHDRAW = """
UPDATE archon_mcp_questions SET withdrawn_at = CASE WHEN answered_at IS NULL THEN clock_timestamp() END
WHERE session_id = $1 AND question_id = $2 RETURNING answered_at IS NOT NULL AS answered"""

# An hour is longer than any doubt whether a call still runs. A client may use an id again in a new process,
# so what was cancelled before the call began is not meant for it.
_CANCEL = """
WITH old AS (DELETE FROM archon_mcp_cancellations WHERE cancelled_at < now() - interval '1 hour')
INSERT INTO archon_mcp_cancellations (session_id, request_id) VALUES ($1, $2)"""
_CANCELLED = """
SELECT i, min(extract(epoch FROM clock_timestamp() - cancelled_at))::float8 AS ago
FROM archon_mcp_cancellations JOIN unnest($1::uuid[], $2::text[])
    WITH ORDINALITY AS t (session_id, request_id, i) USING (session_id, request_id) GROUP BY i"""

_LEVEL = f"UPDATE archon_mcp_sessions SET log_level = $2 WHERE session_id = $1 AND {LIVE}"
_SUBSCRIBE = "INSERT INTO archon_mcp_subscriptions (session_id, uri) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_UNSUBSCRIBE = "DELETE FROM archon_mcp_subscriptions WHERE session_id = $1 AND uri = $2"


class StreamRows:
    """The part of the streams' port that is about streams, their viewers and their questions."""

    _database: Database
    _hints: Hints

    async def append(self, appends: Sequence[Append], *, incarnation: str) -> dict[Key, str | None]:
        """Commit a batch; for each stream that took it, the living incarnation that views it now."""
        if not appends:
            return {}
        rows = await self._database.fetch(_APPEND, incarnation, *_flat(appends), repeat=True)
        await self._settle(rows, CALL_BYTES, but=incarnation)
        return {(str(session_id), stream_id): viewer for session_id, stream_id, _, viewer in rows}

    async def _settle(self, rows: Sequence[Record], limit: int, *, but: str | None = None) -> None:
        """After a commit: what is too large loses its oldest, and the viewers are told to look."""
        with contextlib.suppress(StoreUnavailable):  # the next append finds it too large again
            for session_id, stream_id, size, _ in rows:
                if size > limit:
                    await self._database.fetch(_TRIM, session_id, stream_id, limit * 3 // 4)
        await self._hints.send((to, "stream", str(id_), name) for id_, name, _, to in rows if to != but)

    async def attach(self, key: Key, *, incarnation: str) -> Attached | None:
        """Become a stream's viewer, the newest wins; None where its row is gone."""
        rows = await self._database.fetch(_ATTACH, *key, incarnation, repeat=True)
        return (await self._attached(rows[0], key[0], incarnation))[1] if rows else None

    async def stand(self, session_id: str, stream_id: str, *, incarnation: str) -> tuple[str, Attached]:
        """View the session's standing stream, made under `stream_id` where there is none yet."""
        rows = await self._database.fetch(_STAND, session_id, stream_id, incarnation, repeat=True)
        return await self._attached(rows[0], session_id, incarnation)

    async def _attached(self, row: Record, session_id: str, incarnation: str) -> tuple[str, Attached]:
        stream_id, *found, former = row
        if former != incarnation:
            await self._hints.send([(former, "stream", session_id, stream_id)])
        return stream_id, Attached(*found)

    async def detach(self, key: Key, *, incarnation: str, viewer_epoch: int | None = None) -> None:
        """A standing stream's viewer has left, where no newer one has come."""
        await self._database.fetch(_DETACH, *key, incarnation, viewer_epoch, repeat=True)

    async def grown(self, places: Sequence[tuple[Key, int, int]], *, incarnation: str) -> dict[Key, bool]:
        """Those followed streams that have more or have ended; True where another incarnation views it."""
        columns = zip(*((*key, epoch, n) for key, epoch, n in places), strict=True)
        rows = await self._database.fetch(_GROWN, *columns, incarnation, repeat=True) if places else []
        return {(str(session_id), stream_id): taken for session_id, stream_id, taken in rows}

    async def read(self, key: Key, after: tuple[int, int], *, at_most: int = 100) -> tuple[list[Event], bool]:
        """The events behind a place, oldest first, and whether they are the last of a closed stream."""
        rows = await self._database.fetch(_READ, *key, *after, at_most, repeat=True)
        if not rows:
            return [], True
        closed, *tail = rows[0][:3]
        events = [Event(*row[3:]) for row in rows if row["n"] is not None]
        return events, closed and (not events or [events[-1].epoch, events[-1].n] == tail)

    async def publish(
        self,
        data: bytes,
        *,
        session_id: str | None = None,
        uri: str | None = None,
        question: Question | None = None,
        bus: str | None = None,
        incarnation: str = "",
    ) -> int:
        """Append one notification to standing streams that are, or lately were, viewed; how many took it."""
        rows: list[Record] = []
        if question is not None or len(data) <= EVENT_BYTES:
            query = _publishing(session_id is not None, uri is not None)
            target = (session_id, None if uri is None else uri_key(uri), data, incarnation)
            asked = (None,) * 6 if question is None else _columns(question)
            rows = await self._database.fetch(query, *target, *asked)
        await self._settle(rows, STANDING_BYTES)
        if bus is not None:
            await self._hints.announce("bus", bus)
        return len(rows)

    def hear(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener` with every `bus` text, whichever node publishes it; returns how to stop."""
        token = object()
        self._hints.listeners[token] = listener

        def stop() -> None:
            self._hints.listeners.pop(token, None)

        return stop

    async def cancel(self, session_id: str, request_id: RequestId) -> None:
        """Keep that the client cancels a call, and tell every node to look whether it is theirs."""
        await self._database.fetch(_CANCEL, session_id, uri_key(json.dumps(request_id)), repeat=True)
        await self._hints.announce("cancelled", session_id)

    async def cancelled(self, running: Sequence[Run]) -> list[Run]:
        """Which of these calls were cancelled since they began."""
        asked = time.monotonic()
        columns = zip(*((who, uri_key(json.dumps(id_))) for who, id_, _ in running), strict=True)
        rows = await self._database.fetch(_CANCELLED, *columns, repeat=True) if running else []
        waited = time.monotonic() - asked  # a call has grown older by this, at most, when the rows were read
        found = ((running[i - 1], ago) for i, ago in rows)
        return [run for run, ago in found if ago < run[2] + waited]

    async def set_log_level(self, session_id: str, level: str) -> None:
        """Commit a session's log level and wake whoever holds the session."""
        await self._database.fetch(_LEVEL, session_id, level, repeat=True)
        await self._hints.announce("changed", session_id)

    async def subscribe_uri(self, session_id: str, uri: str, wanted: bool) -> None:
        """Commit a session's subscription to a resource, or its end."""
        query = _SUBSCRIBE if wanted else _UNSUBSCRIBE
        await self._database.fetch(query, session_id, uri_key(uri), repeat=True)

    async def answer(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Give a question its one answer and wake whoever asked; False where it takes none."""
        return await self._take(_ANSWER, key, owner, payload)

    async def progress(self, key: Key, owner: Owner | None, payload: bytes) -> bool:
        """Note the client's progress on a question and wake whoever asked."""
        return await self._take(_PROGRESS, key, owner, payload)

    async def _take(self, query: str, key: Key, owner: Owner | None, payload: bytes) -> bool:
        if not (key[1].isascii() and key[1].isprintable()):
            return False  # no id of ours, and perhaps no text that Postgres takes
        rows = await self._database.fetch(query, *key, payload, *(owner or NOBODY))
        await self._hints.send((row["incarnation"], "answered", *key) for row in rows)
        return bool(rows)

    async def answers(self, keys: Sequence[Key]) -> dict[Key, tuple[bytes | None, bytes | None]]:
        """(answer, progress) of those questions that have either."""
        columns = zip(*keys, strict=True)
        rows = await self._database.fetch(_ANSWERS, *columns, repeat=True) if keys else []
        return {(str(session_id), question_id): (*both,) for session_id, question_id, *both in rows}

    async def withdraw(self, key: Key) -> bool:
        """Nobody waits for an answer any more; False where one has come."""
        rows = await self._database.fetch(_WITHDRAW, *key, repeat=True)
        return not (rows and rows[0]["answered"])


def _flat(appends: Sequence[Append]) -> Iterable[list[Any]]:
    """The arrays of `_APPEND`: streams, and their events and questions by their stream's place."""
    streams, events, questions = _Table(), _Table(), _Table()
    for i, append in enumerate(appends, 1):
        logged = [event for event in map(kept, append.events) if event is not None]
        tail = append.events[-1].n if append.events else 0
        size = sum(len(event.data) for event in logged)
        streams.append((append.session_id, append.stream_id, append.opens, append.closes, tail, size))
        events += [(i, event.n, event.kind, event.data) for event in logged]
        questions += [(i, *_columns(question)) for question in append.questions]
    return (*_transposed(streams, 6), *_transposed(events, 4), *_transposed(questions, 7))


def _columns(question: Question) -> tuple[Any, ...]:
    method, seconds = clean(question.method, 100), min(question.seconds, _LONGEST_WAIT)
    return (question.question_id, method, *(question.owner or NOBODY), seconds)


def _transposed(rows: _Table, width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
