-- Sessions and their requests: Archon's tables with Archon's names, types and checks, and beside them the
-- columns that are ours. A database that Archon made keeps what it has: its rows, keys and indexes.

CREATE TABLE IF NOT EXISTS archon_mcp_sessions (
    session_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    client_type VARCHAR(50) NOT NULL DEFAULT 'Unknown',
    client_version VARCHAR(50),
    client_capabilities JSONB,
    connected_at TIMESTAMPTZ DEFAULT now(),
    disconnected_at TIMESTAMPTZ,
    last_activity TIMESTAMPTZ DEFAULT now(),
    status VARCHAR(20) DEFAULT 'active' CHECK (status IN ('active', 'idle', 'disconnected')),
    metadata JSONB DEFAULT '{}'::jsonb,
    total_duration INTEGER,
    disconnect_reason VARCHAR(100),
    user_id UUID,
    user_email VARCHAR(255),
    user_name VARCHAR(255),
    reconnect_token_hash VARCHAR(64),
    reconnect_expires_at TIMESTAMPTZ,
    reconnect_count INTEGER DEFAULT 0
) WITH (fillfactor = 80); -- room in the page, so that a touch is a HOT update and no index is written

-- What later versions of Archon added, for a database that an earlier one made.
ALTER TABLE archon_mcp_sessions
    ADD COLUMN IF NOT EXISTS disconnect_reason VARCHAR(100),
    ADD COLUMN IF NOT EXISTS user_id UUID,
    ADD COLUMN IF NOT EXISTS user_email VARCHAR(255),
    ADD COLUMN IF NOT EXISTS user_name VARCHAR(255);

-- Ours. Only ended_at and secret_digest decide whether a session lives; Archon's status, disconnected_at,
-- disconnect_reason and total_duration are written for Archon's pages and never read. A row without a
-- secret_digest is Archon's own. initialize_params is JSON and not JSONB, which would refuse \u0000.
ALTER TABLE archon_mcp_sessions
    ADD COLUMN IF NOT EXISTS secret_digest BYTEA,
    ADD COLUMN IF NOT EXISTS owner_issuer TEXT,
    ADD COLUMN IF NOT EXISTS owner_subject TEXT,
    ADD COLUMN IF NOT EXISTS owner_client_id TEXT,
    ADD COLUMN IF NOT EXISTS era TEXT,
    ADD COLUMN IF NOT EXISTS revision TEXT,
    ADD COLUMN IF NOT EXISTS initialize_params JSON,
    ADD COLUMN IF NOT EXISTS initialized BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS log_level TEXT,
    ADD COLUMN IF NOT EXISTS client_name TEXT,
    ADD COLUMN IF NOT EXISTS client_title TEXT,
    ADD COLUMN IF NOT EXISTS user_agent TEXT,
    ADD COLUMN IF NOT EXISTS requests BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS errors BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS bytes_in BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS bytes_out BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS node TEXT,
    ADD COLUMN IF NOT EXISTS ended_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS ended_reason TEXT;

-- The live sessions: to count them, to page through them (a UUIDv7 sorts by its time) and to find the idle
-- among them when ended rows are many. last_activity is in no index of ours, not even by INCLUDE: an update
-- of an indexed column is not HOT, so every touch would pay for a sweep that runs once a minute. Without it the sweep reads every
-- live row: measured 0.2 to 0.4 s over 300,000 of them.
CREATE INDEX IF NOT EXISTS idx_archon_mcp_sessions_live
    ON archon_mcp_sessions (session_id)
    WHERE ended_at IS NULL AND secret_digest IS NOT NULL;

-- The key begins with the session where the table is ours, so that it can be distributed by session; a table
-- that Archon made keeps its key, request_id.
CREATE TABLE IF NOT EXISTS archon_mcp_requests (
    request_id UUID NOT NULL DEFAULT gen_random_uuid(),
    session_id UUID NOT NULL REFERENCES archon_mcp_sessions (session_id) ON DELETE CASCADE,
    method VARCHAR(100),
    tool_name VARCHAR(100),
    prompt_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0,
    total_tokens INTEGER GENERATED ALWAYS AS (prompt_tokens + completion_tokens) STORED,
    estimated_cost DECIMAL(10, 6) DEFAULT 0,
    timestamp TIMESTAMPTZ DEFAULT now(),
    duration_ms INTEGER,
    status VARCHAR(20) DEFAULT 'success' CHECK (status IN ('success', 'error', 'timeout')),
    error_message TEXT,
    PRIMARY KEY (session_id, request_id)
);
