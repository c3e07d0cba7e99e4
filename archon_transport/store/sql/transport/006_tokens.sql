-- Bearer tokens that the operator makes. Only a digest is kept: the table opens nothing. A token stands for
-- its name, which is the owner of sessions: a new digest in the same row is a rotation.
CREATE TABLE archon_mcp_tokens (
    name TEXT PRIMARY KEY,
    digest BYTEA NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    scopes TEXT[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    rotated_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ
);
