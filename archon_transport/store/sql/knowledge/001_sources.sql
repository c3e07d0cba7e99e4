-- Archon's knowledge sources, with Archon's own names and types. Projects name them as their
-- technical and business sources.

CREATE TABLE IF NOT EXISTS archon_sources (
    source_id TEXT PRIMARY KEY,
    source_url TEXT,
    source_display_name TEXT,
    summary TEXT,
    total_word_count INTEGER DEFAULT 0,
    title TEXT,
    metadata JSONB DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

ALTER TABLE archon_sources
    ADD COLUMN IF NOT EXISTS source_url TEXT,
    ADD COLUMN IF NOT EXISTS source_display_name TEXT,
    ADD COLUMN IF NOT EXISTS summary TEXT,
    ADD COLUMN IF NOT EXISTS total_word_count INTEGER DEFAULT 0,
    ADD COLUMN IF NOT EXISTS title TEXT,
    ADD COLUMN IF NOT EXISTS metadata JSONB DEFAULT '{}'::jsonb;

CREATE INDEX IF NOT EXISTS idx_archon_sources_title ON archon_sources (title);
CREATE INDEX IF NOT EXISTS idx_archon_sources_url ON archon_sources (source_url);
CREATE INDEX IF NOT EXISTS idx_archon_sources_display_name ON archon_sources (source_display_name);
CREATE INDEX IF NOT EXISTS idx_archon_sources_metadata ON archon_sources USING GIN (metadata);
CREATE INDEX IF NOT EXISTS idx_archon_sources_knowledge_type
    ON archon_sources ((metadata ->> 'knowledge_type'));
