-- The keys under which every node seals the state that a client carries between two rounds of a request.
-- Numbers make the newest key plain, and let only one node make the next: a number is taken once.
CREATE TABLE archon_mcp_keys (
    key_id INTEGER PRIMARY KEY,
    secret BYTEA NOT NULL CHECK (octet_length(secret) = 32),
    made_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
