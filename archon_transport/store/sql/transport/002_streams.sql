-- Streams, what they said, what they asked, and the processes that append to them. Every table that grows
-- with sessions begins its key with the session. Payloads are BYTEA: JSON text goes in and comes out as the
-- same bytes, \u0000 too. Nothing here refers to a session by a foreign key, for sessions are ended and not
-- deleted, and a check per event would be the price.

-- One row for each start of a process. Its heartbeat is told and judged by the database's clock.
CREATE TABLE archon_mcp_incarnations (
    incarnation TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    namespace TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started BIGINT NOT NULL,
    began_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    dead_at TIMESTAMPTZ
) WITH (fillfactor = 50); -- a heartbeat is a HOT update

-- A call's stream is appended to by one incarnation, a session's standing one by any. tail is the last event
-- of this epoch; who views the stream now stands in viewer_incarnation, and viewer_epoch counts viewers.
CREATE TABLE archon_mcp_streams (
    session_id UUID NOT NULL,
    stream_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('call', 'standing')),
    incarnation TEXT,
    epoch INTEGER NOT NULL DEFAULT 1,
    tail BIGINT NOT NULL DEFAULT 0,
    size BIGINT NOT NULL DEFAULT 0,
    viewer_incarnation TEXT,
    viewer_epoch INTEGER NOT NULL DEFAULT 1,
    opened_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    closed_at TIMESTAMPTZ,
    detached_at TIMESTAMPTZ,
    PRIMARY KEY (session_id, stream_id)
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX idx_archon_mcp_streams_standing ON archon_mcp_streams (session_id) WHERE kind = 'standing';

-- What the dead left open. A row stands in this index or in the next, so a short call pays for one of each.
CREATE INDEX idx_archon_mcp_streams_open ON archon_mcp_streams (incarnation)
    WHERE kind = 'call' AND closed_at IS NULL;

-- What may be forgotten: calls are closed and never detached, standing streams detached and never closed.
CREATE INDEX idx_archon_mcp_streams_done ON archon_mcp_streams ((COALESCE(closed_at, detached_at)))
    WHERE COALESCE(closed_at, detached_at) IS NOT NULL;

CREATE TABLE archon_mcp_events (
    session_id UUID NOT NULL,
    stream_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    n BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('notification', 'question', 'response')),
    data BYTEA NOT NULL,
    PRIMARY KEY (session_id, stream_id, epoch, n)
);

CREATE TABLE archon_mcp_questions (
    session_id UUID NOT NULL,
    question_id TEXT NOT NULL,
    stream_id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    method TEXT NOT NULL,
    owner_issuer TEXT,
    owner_subject TEXT,
    owner_client_id TEXT,
    asked_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    deadline TIMESTAMPTZ NOT NULL,
    progress BYTEA,
    answered_at TIMESTAMPTZ,
    answer BYTEA,
    withdrawn_at TIMESTAMPTZ,
    PRIMARY KEY (session_id, question_id)
) WITH (fillfactor = 80);

CREATE INDEX idx_archon_mcp_questions_deadline ON archon_mcp_questions (deadline);

-- A URI that an index could not hold stands here as its hash.
CREATE TABLE archon_mcp_subscriptions (
    session_id UUID NOT NULL,
    uri TEXT NOT NULL,
    PRIMARY KEY (session_id, uri)
);

CREATE INDEX idx_archon_mcp_subscriptions_uri ON archon_mcp_subscriptions (uri);
