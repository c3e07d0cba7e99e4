"""Who is connected, what they did, and what was refused.

Lists begin with the newest. A page of sessions is taken from the newest that live, and a page of
requests from the newest `WINDOW`; a filter costs no more than that however large the tables are.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from ..sessions import IDLE
from .question import WINDOW, Questions
from .records import NodeLine, QuestionLine, Refusal, RequestLine, Requests, SessionLine, StreamLine

FAILED: Final = ("tool_error", "error", "cancelled", "timeout")
"""The outcomes that somebody may want to look into."""

_CANDIDATES = 2_000

_STATE = """CASE
    WHEN ended_at IS NOT NULL THEN 'ended'
    WHEN inferred THEN 'inferred'
    WHEN secret_digest IS NULL THEN 'archon'
    WHEN last_activity > clock_timestamp() - interval '5 minutes' THEN 'active'
    ELSE 'idle' END"""

_SESSION = f"""session_id, {_STATE} AS state, COALESCE(NULLIF(client_name, ''), client_type) AS client_name,
    client_title, client_version, user_agent, revision, era, told_apart,
    COALESCE(owner_subject, owner_client_id, user_email, user_name) AS owner, node, connected_at,
    last_activity, ended_at, ended_reason, requests, errors, bytes_in, bytes_out, client_type, status,
    disconnected_at, disconnect_reason, total_duration, user_id, user_email, user_name"""

_LIVE = "ended_at IS NULL AND secret_digest IS NOT NULL"
_SOURCES: Final = {
    "now": f"""(SELECT * FROM archon_mcp_sessions WHERE {_LIVE} ORDER BY session_id DESC LIMIT {_CANDIDATES})
        UNION ALL (SELECT * FROM archon_mcp_sessions
            WHERE ended_at IS NULL AND inferred LIMIT {_CANDIDATES})""",
    "ended": f"""SELECT * FROM archon_mcp_sessions WHERE ended_at IS NOT NULL
        ORDER BY ended_at DESC LIMIT {_CANDIDATES}""",
    "archon": f"""SELECT * FROM archon_mcp_sessions
        WHERE ended_at IS NULL AND secret_digest IS NULL AND NOT inferred LIMIT {_CANDIDATES}""",
}
_SOURCES_OF: Final = {"active": "now", "idle": "now", "inferred": "now"}

_SESSIONS = """
WITH candidate AS ({source}), line AS (SELECT {columns} FROM candidate)
SELECT * FROM line WHERE ($1::text IS NULL OR state = $1)
    AND ($2::text IS NULL OR concat_ws(' ', client_name, client_title, client_version, owner, node, revision,
        session_id) ILIKE $2)
ORDER BY COALESCE(ended_at, last_activity) DESC NULLS LAST, session_id LIMIT $3 OFFSET $4"""

_FIND_SESSION = f"SELECT {_SESSION} FROM archon_mcp_sessions WHERE session_id = $1"

_OUTCOME = "COALESCE(r.outcome, CASE r.status WHEN 'success' THEN 'ok' ELSE r.status END)"

# Narrow first, wide last: only what is shown is read whole. The session stands in the join because it is
# part of the key where the table is ours.
_REQUESTS = """
WITH recent AS (
    SELECT * FROM archon_mcp_requests WHERE true {of_session} ORDER BY timestamp DESC LIMIT $1
), hit AS (
    SELECT request_id, session_id, timestamp FROM recent AS r WHERE true {filters}
), shown AS (
    SELECT * FROM hit ORDER BY timestamp DESC, request_id LIMIT $2 OFFSET $3
)
SELECT (SELECT count(*) FROM hit) AS total, r.request_id, r.session_id, r.timestamp, r.method, r.tool_name,
    r.status, {outcome} AS outcome, r.duration_ms, r.error_code, left(r.error_message, 2000) AS error_message,
    r.principal, r.bytes_in, r.bytes_out, r.node, COALESCE(r.prompt_tokens, 0) AS prompt_tokens,
    COALESCE(r.completion_tokens, 0) AS completion_tokens,
    COALESCE(r.estimated_cost, 0)::float8 AS estimated_cost,
    COALESCE(NULLIF(s.client_name, ''), s.client_type, 'Unknown') AS client_name
FROM shown JOIN archon_mcp_requests AS r USING (session_id, request_id)
    LEFT JOIN archon_mcp_sessions AS s ON s.session_id = r.session_id
ORDER BY r.timestamp DESC, r.request_id"""

_REFUSALS = """
SELECT rule, bucket, client, max(minute) AS last, sum(count)::bigint AS count,
    (array_agg(status ORDER BY minute DESC))[1] AS status,
    (array_agg(left(example, 500) ORDER BY minute DESC))[1] AS example
FROM archon_mcp_refusals WHERE minute > clock_timestamp() - make_interval(hours => $1)
    AND ($2::text IS NULL OR concat_ws(' ', rule, client, example, bucket) ILIKE $2)
GROUP BY rule, bucket, client, CASE WHEN rule IN ('host', 'origin') THEN left(example, 500) END
ORDER BY last DESC, count DESC LIMIT $3"""

_STREAMS = """
SELECT stream_id, kind, COALESCE(i.node, v.node) AS node, opened_at, tail,
    viewer_incarnation IS NOT NULL AS viewed
FROM archon_mcp_streams AS s
    LEFT JOIN archon_mcp_incarnations AS i ON i.incarnation = s.incarnation
    LEFT JOIN archon_mcp_incarnations AS v ON v.incarnation = s.viewer_incarnation
WHERE session_id = $1 AND closed_at IS NULL AND (kind = 'call' OR detached_at IS NULL)
ORDER BY opened_at LIMIT 100"""

_QUESTIONS = """
SELECT question_id, method, asked_at, deadline, node
FROM archon_mcp_questions LEFT JOIN archon_mcp_incarnations USING (incarnation)
WHERE session_id = $1 AND answered_at IS NULL AND withdrawn_at IS NULL AND deadline > clock_timestamp()
ORDER BY asked_at LIMIT 100"""

_NODES = f"""
WITH busy AS (SELECT node, count(*) AS sessions FROM archon_mcp_sessions WHERE {_LIVE} GROUP BY node)
SELECT node, incarnation, began_at, dead_at, COALESCE(sessions, 0) AS sessions,
    GREATEST(extract(epoch FROM clock_timestamp() - heartbeat_at), 0)::float8 AS silent
FROM archon_mcp_incarnations LEFT JOIN busy USING (node)
WHERE dead_at IS NULL OR dead_at > clock_timestamp() - interval '1 day'
ORDER BY dead_at DESC NULLS FIRST, began_at DESC LIMIT 100"""

_NOW = f"""
SELECT clock_timestamp() AS at,
    (SELECT count(*) FROM archon_mcp_sessions WHERE {_LIVE}) AS sessions,
    (SELECT count(*) FROM archon_mcp_sessions WHERE ended_at IS NULL AND inferred
        AND last_activity > clock_timestamp() - make_interval(secs => {IDLE})) AS inferred,
    (SELECT count(*) FROM archon_mcp_streams WHERE kind = 'call' AND closed_at IS NULL) AS calls,
    (SELECT count(*) FROM archon_mcp_questions
        WHERE answered_at IS NULL AND withdrawn_at IS NULL AND deadline > clock_timestamp()) AS questions,
    (SELECT count(*) FROM archon_mcp_incarnations WHERE dead_at IS NULL) AS nodes"""

_PULSE = f"""
SELECT (SELECT sum(requests)::text FROM archon_mcp_usage
        WHERE hour > clock_timestamp() - interval '3 hours') AS requests,
    (SELECT concat(
        (SELECT session_id FROM archon_mcp_sessions WHERE {_LIVE} ORDER BY session_id DESC LIMIT 1),
        (SELECT max(ended_at) FROM archon_mcp_sessions WHERE ended_at IS NOT NULL))) AS sessions,
    (SELECT concat(sum(count), max(minute)) FROM archon_mcp_refusals
        WHERE minute > clock_timestamp() - interval '10 minutes') AS refusals,
    (SELECT concat(count(*), max(opened_at)) FROM archon_mcp_streams
        WHERE kind = 'call' AND closed_at IS NULL) ||
    (SELECT concat('?', count(*)) FROM archon_mcp_questions
        WHERE answered_at IS NULL AND withdrawn_at IS NULL AND deadline > clock_timestamp()) AS streams"""

# Not every database has these tables.
_PULSES: Final = {
    "archon_tasks": """SELECT concat(max(updated_at), count(*)) AS tasks FROM archon_tasks
        WHERE archived IS NOT TRUE""",
    "archon_knowledge_jobs": """SELECT md5(string_agg(to_jsonb(job)::text, '')) AS jobs FROM (
        SELECT * FROM archon_knowledge_jobs ORDER BY created_at DESC LIMIT 20) AS job""",
}


def storable(text: str) -> str:
    """A text without what no column can hold, so that nothing is found instead of an error."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def like(search: str | None) -> str | None:
    """A pattern that finds the text anywhere; what is special in a pattern is taken as it is."""
    if not search:
        return None
    escaped = storable(search).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def identity(session_id: str) -> UUID | None:
    """A session's public id, None where this is none."""
    try:
        return UUID(session_id)
    except ValueError:
        return None


class Activity(Questions):
    """Sessions, their requests, streams and questions; refusals; nodes."""

    async def sessions(
        self, state: str = "now", search: str | None = None, *, limit: int = 100, offset: int = 0
    ) -> list[SessionLine]:
        """Sessions in a state, those that did something last first; `now` is all that live."""
        source = _SOURCES[_SOURCES_OF.get(state, state)]
        query = _SESSIONS.format(source=source, columns=_SESSION)
        only = state if state in _SOURCES_OF else None
        return [SessionLine(**row) for row in await self._ask(query, only, like(search), limit, offset)]

    async def session(self, session_id: str) -> SessionLine | None:
        """One session, live or ended."""
        rows = await self._ask(_FIND_SESSION, identity(session_id))
        return SessionLine(**rows[0]) if rows else None

    async def requests(
        self,
        *,
        session: str | None = None,
        outcomes: tuple[str, ...] = (),
        tool: str | None = None,
        search: str | None = None,
        limit: int = 100,
        offset: int = 0,
        counted: bool = False,
    ) -> Requests:
        """A page of requests, newest first; `counted` asks how many there are even without a filter."""
        filters, values = "", list[Any]()
        for condition, value in (
            (f"{_OUTCOME} = ANY(${{}}::text[])", list(outcomes) or None),
            ("COALESCE(tool_name, method) = ${}", storable(tool) if tool else None),
            ("concat_ws(' ', method, tool_name, error_message, principal) ILIKE ${}", like(search)),
        ):
            if value is not None:
                values.append(value)
                filters += " AND " + condition.format(len(values) + 3)
        window = WINDOW if filters or counted else limit + offset + 1
        of_session = ""
        if session is not None:
            values.append(identity(session))
            of_session = f"AND session_id = ${len(values) + 3}"
        query = _REQUESTS.format(of_session=of_session, filters=filters, outcome=_OUTCOME)
        rows = await self._ask(query, window, limit, offset, *values)
        lines = [RequestLine(**{k: v for k, v in row.items() if k != "total"}) for row in rows]
        return Requests(lines, rows[0]["total"] if rows else 0, limit, offset, window)

    async def refusals(
        self, search: str | None = None, *, hours: int = 24, limit: int = 100
    ) -> list[Refusal]:
        """What was refused in the last hours, by rule, caller and client."""
        return [Refusal(**row) for row in await self._ask(_REFUSALS, hours, like(search), limit)]

    async def streams(self, session_id: str) -> list[StreamLine]:
        """A session's streams that are open."""
        return [StreamLine(**row) for row in await self._ask(_STREAMS, identity(session_id))]

    async def questions(self, session_id: str) -> list[QuestionLine]:
        """A session's questions that wait for an answer."""
        return [QuestionLine(**row) for row in await self._ask(_QUESTIONS, identity(session_id))]

    async def nodes(self) -> list[NodeLine]:
        """The processes that serve, and those that ended within a day."""
        return [NodeLine(**row) for row in await self._ask(_NODES)]

    async def now(self) -> dict[str, Any]:
        """How many sessions, inferred records, open calls, waiting questions and nodes there are."""
        return await self._one(_NOW)

    async def pulse(self) -> dict[str, str]:
        """One text per topic that changes when the topic does: what tells viewers to look again."""
        pulse = await self._one(_PULSE)
        for table, query in _PULSES.items():
            pulse |= await self._one(query) if await self._has(table) else {}
        return pulse
