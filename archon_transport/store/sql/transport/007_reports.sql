-- What the page, the REST API and the commands read quickly, however many requests there are.

-- A session's requests in the order of their time, and those that went wrong.
CREATE INDEX IF NOT EXISTS idx_archon_mcp_requests_session_time
    ON archon_mcp_requests (session_id, timestamp DESC);
CREATE INDEX IF NOT EXISTS idx_archon_mcp_requests_failed
    ON archon_mcp_requests (timestamp DESC) WHERE status <> 'success';

-- Ended sessions, the last first; the oldest are forgotten.
CREATE INDEX IF NOT EXISTS idx_archon_mcp_sessions_ended
    ON archon_mcp_sessions (ended_at DESC) WHERE ended_at IS NOT NULL;

-- One row for each tool (or method of the protocol) and hour. It outlives the requests that it counts.
CREATE TABLE archon_mcp_usage (
    tool TEXT NOT NULL,
    hour TIMESTAMPTZ NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    timeouts BIGINT NOT NULL,
    timed BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    min_ms INTEGER,
    max_ms INTEGER,
    tool_bytes BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost NUMERIC NOT NULL,
    PRIMARY KEY (tool, hour)
) WITH (fillfactor = 70); -- the rows of this hour are updated again and again

CREATE INDEX idx_archon_mcp_usage_hour ON archon_mcp_usage (hour);

-- Kept by the database and not by the writer, so that it counts exactly what was committed: also what comes
-- late, comes twice and was dropped, or is inserted by a running Archon v1. Once for a whole batch. The names
-- of tools are the clients' own words: one that never succeeded shares a row with all such.
CREATE FUNCTION archon_mcp_count_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO archon_mcp_usage AS u
    SELECT CASE
            WHEN status = 'success' OR outcome IN ('tool_error', 'cancelled', 'timeout', 'detached') THEN name
            WHEN EXISTS (SELECT FROM archon_mcp_usage AS known WHERE known.tool = name) THEN name
            ELSE '(unknown)' END AS tool,
        date_trunc('hour', at, 'UTC') AS hour, count(*), count(*) FILTER (WHERE status = 'error'),
        count(*) FILTER (WHERE status = 'timeout'), count(ms), COALESCE(sum(ms), 0), min(ms), max(ms),
        COALESCE(sum(bytes_out) FILTER (WHERE method = 'tools/call'), 0), COALESCE(sum(bytes_out), 0),
        COALESCE(sum(prompt_tokens), 0), COALESCE(sum(completion_tokens), 0), COALESCE(sum(cost), 0)
    FROM (
        SELECT COALESCE(tool_name, method, '(none)') AS name, COALESCE(timestamp, now()) AS at, method, status,
            outcome, duration_ms AS ms, bytes_out, prompt_tokens, completion_tokens, estimated_cost AS cost
        FROM added
    ) AS line
    GROUP BY 1, 2 ORDER BY 1, 2 -- one order for every writer: they wait for each other and never both
    ON CONFLICT (tool, hour) DO UPDATE SET
        requests = u.requests + excluded.requests, errors = u.errors + excluded.errors,
        timeouts = u.timeouts + excluded.timeouts, timed = u.timed + excluded.timed,
        duration_ms = u.duration_ms + excluded.duration_ms,
        min_ms = LEAST(u.min_ms, excluded.min_ms), max_ms = GREATEST(u.max_ms, excluded.max_ms),
        tool_bytes = u.tool_bytes + excluded.tool_bytes, bytes_out = u.bytes_out + excluded.bytes_out,
        prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = u.completion_tokens + excluded.completion_tokens, cost = u.cost + excluded.cost;
    RETURN NULL;
END
$$;

CREATE TRIGGER archon_mcp_requests_usage AFTER INSERT ON archon_mcp_requests
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION archon_mcp_count_usage();

-- What was there before: the trigger's lock keeps others out until this is committed.
INSERT INTO archon_mcp_usage
SELECT COALESCE(tool_name, method, '(none)'), date_trunc('hour', COALESCE(timestamp, now()), 'UTC'), count(*),
    count(*) FILTER (WHERE status = 'error'), count(*) FILTER (WHERE status = 'timeout'), count(duration_ms),
    COALESCE(sum(duration_ms), 0), min(duration_ms), max(duration_ms),
    COALESCE(sum(bytes_out) FILTER (WHERE method = 'tools/call'), 0), COALESCE(sum(bytes_out), 0),
    COALESCE(sum(prompt_tokens), 0), COALESCE(sum(completion_tokens), 0), COALESCE(sum(estimated_cost), 0)
FROM archon_mcp_requests GROUP BY 1, 2;
