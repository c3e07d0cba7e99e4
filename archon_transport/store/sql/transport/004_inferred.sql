-- Requests without a session, grouped as far as can be told: rows without a secret, so they are never served.
-- told_apart says whether the client named its conversation; without that two clients may share a row.
ALTER TABLE archon_mcp_sessions
    ADD COLUMN IF NOT EXISTS inferred BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS told_apart BOOLEAN;

CREATE INDEX IF NOT EXISTS idx_archon_mcp_sessions_inferred
    ON archon_mcp_sessions (session_id)
    WHERE ended_at IS NULL AND inferred;
