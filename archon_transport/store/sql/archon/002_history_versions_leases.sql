-- What Archon's later lines keep beside projects and tasks: the history of a task, versions of documents
-- and links to knowledge, with their own names; and what is ours: leases, a place from which a deletion
-- comes back, and the answers to calls that may be repeated. Nothing of an older Archon is changed.

CREATE TABLE IF NOT EXISTS archon_task_history (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    task_id UUID NOT NULL REFERENCES archon_tasks (id) ON DELETE CASCADE,
    field_name TEXT NOT NULL,
    old_value TEXT,
    new_value TEXT,
    changed_by TEXT NOT NULL DEFAULT 'system',
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    change_reason TEXT
);

ALTER TABLE archon_task_history
    ADD COLUMN IF NOT EXISTS change_reason TEXT;

CREATE TABLE IF NOT EXISTS archon_document_versions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id UUID REFERENCES archon_projects (id) ON DELETE CASCADE,
    task_id UUID REFERENCES archon_tasks (id) ON DELETE CASCADE,
    field_name TEXT NOT NULL,
    version_number INTEGER NOT NULL,
    content JSONB NOT NULL,
    change_summary TEXT,
    change_type TEXT DEFAULT 'update',
    document_id TEXT,
    created_by TEXT DEFAULT 'system',
    created_at TIMESTAMPTZ DEFAULT now(),
    CONSTRAINT chk_project_or_task CHECK (num_nonnulls(project_id, task_id) = 1),
    UNIQUE (project_id, task_id, field_name, version_number)
);

ALTER TABLE archon_document_versions
    ADD COLUMN IF NOT EXISTS task_id UUID REFERENCES archon_tasks (id) ON DELETE CASCADE,
    ADD COLUMN IF NOT EXISTS change_summary TEXT,
    ADD COLUMN IF NOT EXISTS change_type TEXT DEFAULT 'update',
    ADD COLUMN IF NOT EXISTS document_id TEXT,
    ADD COLUMN IF NOT EXISTS created_by TEXT DEFAULT 'system';

CREATE TABLE IF NOT EXISTS archon_knowledge_links (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    source_type TEXT NOT NULL,
    source_id UUID NOT NULL,
    knowledge_type TEXT NOT NULL,
    knowledge_id TEXT NOT NULL,
    relevance_score DOUBLE PRECISION,
    created_by TEXT DEFAULT 'system',
    created_at TIMESTAMPTZ DEFAULT now(),
    UNIQUE (source_type, source_id, knowledge_type, knowledge_id)
);

ALTER TABLE archon_knowledge_links
    ADD COLUMN IF NOT EXISTS relevance_score DOUBLE PRECISION,
    ADD COLUMN IF NOT EXISTS created_by TEXT DEFAULT 'system',
    ADD COLUMN IF NOT EXISTS created_at TIMESTAMPTZ DEFAULT now();

-- Who works on a task, until when unless it shows itself, and for how long each sign of life counts.
-- lease_by is the principal or the session that took it, lease_holder the name that it gave.
ALTER TABLE archon_tasks
    ADD COLUMN IF NOT EXISTS lease_holder TEXT,
    ADD COLUMN IF NOT EXISTS lease_by TEXT,
    ADD COLUMN IF NOT EXISTS lease_until TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS lease_seconds INTEGER;

-- What was deleted, row by row as it stood in table_name; the rows of one deletion share its id. It has no
-- foreign keys: it outlives what it refers to.
CREATE TABLE IF NOT EXISTS archon_trash (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deletion UUID NOT NULL,
    kind TEXT NOT NULL,
    item_id TEXT NOT NULL,
    project_id UUID,
    title TEXT,
    table_name TEXT,
    content JSONB NOT NULL,
    deleted_by TEXT NOT NULL,
    deleted_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- The answer to a call that named a key, for a day; the arguments only as a digest.
CREATE TABLE IF NOT EXISTS archon_mcp_idempotency (
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    tool TEXT NOT NULL,
    arguments_digest BYTEA NOT NULL,
    answer JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);

CREATE INDEX IF NOT EXISTS archon_task_history_newest ON archon_task_history (task_id, changed_at DESC);
CREATE INDEX IF NOT EXISTS archon_document_versions_project
    ON archon_document_versions (project_id, field_name, version_number DESC);
CREATE INDEX IF NOT EXISTS archon_document_versions_task
    ON archon_document_versions (task_id, field_name, version_number DESC) WHERE task_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS archon_document_versions_document
    ON archon_document_versions (document_id) WHERE document_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS archon_knowledge_links_source
    ON archon_knowledge_links (source_type, source_id);
CREATE INDEX IF NOT EXISTS archon_trash_item ON archon_trash (kind, item_id, deleted_at DESC);
CREATE INDEX IF NOT EXISTS archon_trash_deletion ON archon_trash (deletion);
CREATE INDEX IF NOT EXISTS archon_trash_deleted_at ON archon_trash (deleted_at);
CREATE INDEX IF NOT EXISTS archon_mcp_idempotency_created_at ON archon_mcp_idempotency (created_at);

-- The orders in which tasks are listed and taken, over those that are not archived.
CREATE INDEX IF NOT EXISTS archon_tasks_listed
    ON archon_tasks (COALESCE(task_order, 0), created_at, id) WHERE archived IS NOT TRUE;
CREATE INDEX IF NOT EXISTS archon_tasks_listed_in_project
    ON archon_tasks (project_id, COALESCE(task_order, 0), created_at, id) WHERE archived IS NOT TRUE;
CREATE INDEX IF NOT EXISTS archon_tasks_waiting
    ON archon_tasks (priority DESC, COALESCE(task_order, 0) DESC, created_at, id)
    WHERE status = 'todo' AND archived IS NOT TRUE;
CREATE INDEX IF NOT EXISTS archon_tasks_leased ON archon_tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX IF NOT EXISTS archon_tasks_completed_at
    ON archon_tasks (completed_at DESC) WHERE completed_at IS NOT NULL;

-- Archon's own constraint lets two versions share a number, as its task_id is null. Where that has
-- happened it stays so; our numbers are made under a lock on the project or task in any case.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM archon_document_versions
         GROUP BY project_id, task_id, field_name, version_number HAVING count(*) > 1
    ) THEN
        CREATE UNIQUE INDEX IF NOT EXISTS archon_document_versions_project_number
            ON archon_document_versions (project_id, field_name, version_number) WHERE task_id IS NULL;
        CREATE UNIQUE INDEX IF NOT EXISTS archon_document_versions_task_number
            ON archon_document_versions (task_id, field_name, version_number) WHERE project_id IS NULL;
    END IF;
END
$$;
