"""The pieces of SQL that several statements about sessions share."""

from __future__ import annotations

from ..sessions.record import EndReason

ENDED = "archon_transport_ended"
"""The channel of ended sessions; the payload is the public id."""

LIVE = "ended_at IS NULL AND secret_digest IS NOT NULL"

# A running Archon marks rows dead after 300 s; what is touched lives, so Archon's pages are told.
TOUCHED = (
    "last_activity = clock_timestamp(), status = 'active', disconnected_at = NULL, disconnect_reason = NULL"
)

_ARCHON_WORDS = {"deleted": "client_disconnect", "idle": "timeout_no_activity"}


def ending(chosen: str, reason: EndReason) -> str:
    """The statement that ends what the query `chosen` names in `session_id` and tells every node."""
    return f"""
WITH chosen AS ({chosen}), ended AS (
    UPDATE archon_mcp_sessions AS s SET
        ended_at = clock_timestamp(), ended_reason = '{reason}',
        status = 'disconnected', disconnected_at = clock_timestamp(),
        disconnect_reason = '{_ARCHON_WORDS.get(reason, reason)}',
        total_duration = LEAST(2147483647, GREATEST(0, floor(extract(
            epoch FROM clock_timestamp() - connected_at))))::integer
    FROM chosen WHERE s.session_id = chosen.session_id AND {LIVE} RETURNING s.session_id
)
SELECT session_id, pg_notify('{ENDED}', session_id::text) FROM ended"""
