-- Cancellations of calls that ran at another node than the one that was told, for an hour: whoever runs the call
-- is woken, and looks here now and then in case the wake-up was lost. A request id stands here as its JSON text,
-- a long one as its hash. No key: what was cancelled twice stands here twice.
CREATE TABLE archon_mcp_cancellations (
    session_id UUID NOT NULL,
    request_id TEXT NOT NULL,
    cancelled_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX idx_archon_mcp_cancellations ON archon_mcp_cancellations (session_id, request_id);

CREATE INDEX idx_archon_mcp_cancellations_at ON archon_mcp_cancellations (cancelled_at);
