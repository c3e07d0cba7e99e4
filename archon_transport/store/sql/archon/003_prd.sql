-- Archon keeps versions of four fields of a project, but the fourth has a column only where somebody made
-- one by hand. With it, a version of it can be restored like any other.

ALTER TABLE archon_projects
    ADD COLUMN IF NOT EXISTS prd JSONB DEFAULT '{}'::jsonb;
