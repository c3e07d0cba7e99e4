-- Every admitted request is a row; what was refused before is counted. Archon's status keeps its three words,
-- outcome has ours: ok, tool_error, error, cancelled, timeout, detached.
ALTER TABLE archon_mcp_requests
    ADD COLUMN IF NOT EXISTS outcome TEXT,
    ADD COLUMN IF NOT EXISTS error_code INTEGER,
    ADD COLUMN IF NOT EXISTS principal TEXT,
    ADD COLUMN IF NOT EXISTS bytes_in BIGINT,
    ADD COLUMN IF NOT EXISTS bytes_out BIGINT,
    ADD COLUMN IF NOT EXISTS node TEXT;

-- Rows come nearly in the order of their time: the last ones are found by it, and old ones forgotten.
CREATE INDEX IF NOT EXISTS idx_archon_mcp_requests_timestamp ON archon_mcp_requests (timestamp DESC);

-- One row for each minute, rule, network of the caller and client: how often, and one short example in words.
CREATE TABLE archon_mcp_refusals (
    minute TIMESTAMPTZ NOT NULL,
    rule TEXT NOT NULL,
    bucket TEXT NOT NULL,
    client TEXT NOT NULL,
    status INTEGER NOT NULL,
    count BIGINT NOT NULL DEFAULT 0,
    example TEXT NOT NULL,
    PRIMARY KEY (minute, rule, bucket, client)
);
