-- Archon's projects and tasks, with Archon's own names, types and checks, so that the program can be
-- pointed at a database that Archon made and both go on working. Nothing is renamed or removed; what an
-- older Archon lacks is added. Our statements write updated_at and completed_at themselves, so no
-- trigger is made here; triggers that Archon made stay and agree with them.

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
        WHERE typname = 'task_status' AND nspname = current_schema()
    ) THEN
        CREATE TYPE task_status AS ENUM ('todo', 'doing', 'review', 'done');
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
        WHERE typname = 'task_priority' AND nspname = current_schema()
    ) THEN
        CREATE TYPE task_priority AS ENUM ('low', 'medium', 'high', 'critical');
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS archon_projects (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    title TEXT NOT NULL,
    description TEXT DEFAULT '',
    docs JSONB DEFAULT '[]'::jsonb,
    features JSONB DEFAULT '[]'::jsonb,
    data JSONB DEFAULT '[]'::jsonb,
    github_repo TEXT,
    pinned BOOLEAN DEFAULT false,
    created_at TIMESTAMPTZ DEFAULT now(),
    updated_at TIMESTAMPTZ DEFAULT now(),
    archived BOOLEAN DEFAULT false,
    archived_at TIMESTAMPTZ,
    archived_by TEXT
);

ALTER TABLE archon_projects
    ADD COLUMN IF NOT EXISTS docs JSONB DEFAULT '[]'::jsonb,
    ADD COLUMN IF NOT EXISTS features JSONB DEFAULT '[]'::jsonb,
    ADD COLUMN IF NOT EXISTS data JSONB DEFAULT '[]'::jsonb,
    ADD COLUMN IF NOT EXISTS github_repo TEXT,
    ADD COLUMN IF NOT EXISTS pinned BOOLEAN DEFAULT false,
    ADD COLUMN IF NOT EXISTS archived BOOLEAN DEFAULT false,
    ADD COLUMN IF NOT EXISTS archived_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS archived_by TEXT;

CREATE TABLE IF NOT EXISTS archon_tasks (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id UUID REFERENCES archon_projects (id) ON DELETE CASCADE,
    parent_task_id UUID REFERENCES archon_tasks (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    description TEXT DEFAULT '',
    status task_status DEFAULT 'todo',
    assignee TEXT DEFAULT 'User' CHECK (assignee IS NOT NULL AND assignee != ''),
    task_order INTEGER DEFAULT 0,
    priority task_priority NOT NULL DEFAULT 'medium',
    feature TEXT,
    sources JSONB DEFAULT '[]'::jsonb,
    code_examples JSONB DEFAULT '[]'::jsonb,
    archived BOOLEAN DEFAULT false,
    archived_at TIMESTAMPTZ,
    archived_by TEXT,
    created_at TIMESTAMPTZ DEFAULT now(),
    updated_at TIMESTAMPTZ DEFAULT now(),
    completed_at TIMESTAMPTZ,
    completed_by TEXT
);

ALTER TABLE archon_tasks
    ADD COLUMN IF NOT EXISTS parent_task_id UUID REFERENCES archon_tasks (id) ON DELETE CASCADE,
    ADD COLUMN IF NOT EXISTS priority task_priority NOT NULL DEFAULT 'medium',
    ADD COLUMN IF NOT EXISTS feature TEXT,
    ADD COLUMN IF NOT EXISTS sources JSONB DEFAULT '[]'::jsonb,
    ADD COLUMN IF NOT EXISTS code_examples JSONB DEFAULT '[]'::jsonb,
    ADD COLUMN IF NOT EXISTS archived BOOLEAN DEFAULT false,
    ADD COLUMN IF NOT EXISTS archived_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS archived_by TEXT,
    ADD COLUMN IF NOT EXISTS completed_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS completed_by TEXT;

-- source_id has no foreign key: a link may name a source that is not there yet, or no longer.
CREATE TABLE IF NOT EXISTS archon_project_sources (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id UUID REFERENCES archon_projects (id) ON DELETE CASCADE,
    source_id TEXT NOT NULL,
    linked_at TIMESTAMPTZ DEFAULT now(),
    created_by TEXT DEFAULT 'system',
    notes TEXT,
    UNIQUE (project_id, source_id)
);

CREATE INDEX IF NOT EXISTS idx_archon_tasks_project_id ON archon_tasks (project_id);
CREATE INDEX IF NOT EXISTS idx_archon_tasks_status ON archon_tasks (status);
CREATE INDEX IF NOT EXISTS idx_archon_tasks_assignee ON archon_tasks (assignee);
CREATE INDEX IF NOT EXISTS idx_archon_tasks_order ON archon_tasks (task_order);
CREATE INDEX IF NOT EXISTS idx_archon_tasks_priority ON archon_tasks (priority);
CREATE INDEX IF NOT EXISTS idx_archon_tasks_archived ON archon_tasks (archived);
CREATE INDEX IF NOT EXISTS idx_archon_tasks_archived_at ON archon_tasks (archived_at);
CREATE INDEX IF NOT EXISTS idx_archon_project_sources_project_id ON archon_project_sources (project_id);
CREATE INDEX IF NOT EXISTS idx_archon_project_sources_source_id ON archon_project_sources (source_id);

-- Ours: a task is deleted together with its sub-tasks, which are found by their parent.
CREATE INDEX IF NOT EXISTS idx_archon_tasks_parent_task_id ON archon_tasks (parent_task_id);
