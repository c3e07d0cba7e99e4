-- Archon's pages, chunks and code examples, with Archon's own names and types; on a database that Archon
-- made, only what is missing is added. Vectors and the search columns are not here: they need what this
-- file does not (an extension, a text-search configuration).

CREATE TABLE IF NOT EXISTS archon_page_metadata (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    source_id TEXT NOT NULL REFERENCES archon_sources (source_id) ON DELETE CASCADE,
    url TEXT NOT NULL UNIQUE,
    full_content TEXT NOT NULL,
    section_title TEXT,
    section_order INTEGER DEFAULT 0,
    word_count INTEGER NOT NULL,
    char_count INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL DEFAULT 0,
    metadata JSONB DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS archon_crawled_pages (
    id BIGSERIAL PRIMARY KEY,
    url VARCHAR NOT NULL,
    chunk_number INTEGER NOT NULL,
    content TEXT NOT NULL,
    metadata JSONB NOT NULL DEFAULT '{}'::jsonb,
    source_id TEXT NOT NULL REFERENCES archon_sources (source_id) ON DELETE CASCADE,
    page_id UUID REFERENCES archon_page_metadata (id) ON DELETE SET NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (url, chunk_number)
);

ALTER TABLE archon_crawled_pages
    ADD COLUMN IF NOT EXISTS page_id UUID REFERENCES archon_page_metadata (id) ON DELETE SET NULL,
    ADD COLUMN IF NOT EXISTS llm_chat_model TEXT,
    ADD COLUMN IF NOT EXISTS embedding_model TEXT,
    ADD COLUMN IF NOT EXISTS embedding_dimension INTEGER;

CREATE TABLE IF NOT EXISTS archon_code_examples (
    id BIGSERIAL PRIMARY KEY,
    url VARCHAR NOT NULL,
    chunk_number INTEGER NOT NULL,
    content TEXT NOT NULL,
    summary TEXT NOT NULL,
    metadata JSONB NOT NULL DEFAULT '{}'::jsonb,
    source_id TEXT NOT NULL REFERENCES archon_sources (source_id) ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (url, chunk_number)
);

ALTER TABLE archon_code_examples
    ADD COLUMN IF NOT EXISTS llm_chat_model TEXT,
    ADD COLUMN IF NOT EXISTS embedding_model TEXT,
    ADD COLUMN IF NOT EXISTS embedding_dimension INTEGER;

CREATE INDEX IF NOT EXISTS idx_archon_page_metadata_source_id ON archon_page_metadata (source_id);
CREATE INDEX IF NOT EXISTS idx_archon_page_metadata_section
    ON archon_page_metadata (source_id, section_title, section_order);
CREATE INDEX IF NOT EXISTS idx_archon_page_metadata_created_at ON archon_page_metadata (created_at);
CREATE INDEX IF NOT EXISTS idx_archon_page_metadata_metadata ON archon_page_metadata USING GIN (metadata);
CREATE INDEX IF NOT EXISTS idx_archon_crawled_pages_metadata ON archon_crawled_pages USING GIN (metadata);
CREATE INDEX IF NOT EXISTS idx_archon_crawled_pages_source_id ON archon_crawled_pages (source_id);
CREATE INDEX IF NOT EXISTS idx_archon_crawled_pages_page_id ON archon_crawled_pages (page_id);
CREATE INDEX IF NOT EXISTS idx_archon_crawled_pages_embedding_model ON archon_crawled_pages (embedding_model);
CREATE INDEX IF NOT EXISTS idx_archon_crawled_pages_embedding_dimension
    ON archon_crawled_pages (embedding_dimension);
CREATE INDEX IF NOT EXISTS idx_archon_crawled_pages_llm_chat_model ON archon_crawled_pages (llm_chat_model);
CREATE INDEX IF NOT EXISTS idx_archon_code_examples_metadata ON archon_code_examples USING GIN (metadata);
CREATE INDEX IF NOT EXISTS idx_archon_code_examples_source_id ON archon_code_examples (source_id);

-- Ours. What was read of a source, file by file and address by address: one row says how to ask whether
-- it changed, which pages came of it, where it led, and which job looked at it last. A job that was killed
-- goes on behind the rows that carry its id; what carries an older id when a job is done has vanished.
CREATE TABLE IF NOT EXISTS archon_knowledge_documents (
    source_id TEXT NOT NULL REFERENCES archon_sources (source_id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    pipeline TEXT,
    content_hash TEXT,
    etag TEXT,
    last_modified TEXT,
    links TEXT[] NOT NULL DEFAULT '{}',
    pages TEXT[] NOT NULL DEFAULT '{}',
    job_id UUID NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, url)
);

-- Ours. Work on sources: taken with FOR UPDATE SKIP LOCKED, kept by a lease that is renewed, and free again
-- for another worker when the lease runs out. source_id has no foreign key: a job outlives its source.
-- A job in the foreground belongs to the command that made it (its files are that machine's).
CREATE TABLE IF NOT EXISTS archon_knowledge_jobs (
    job_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    source_id TEXT NOT NULL,
    request JSONB NOT NULL,
    foreground BOOLEAN NOT NULL DEFAULT false,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    cancel_requested BOOLEAN NOT NULL DEFAULT false,
    worker TEXT,
    lease_until TIMESTAMPTZ,
    attempts INTEGER NOT NULL DEFAULT 0,
    documents_processed INTEGER NOT NULL DEFAULT 0,
    documents_total INTEGER NOT NULL DEFAULT 0,
    results JSONB NOT NULL DEFAULT '{}'::jsonb,
    failures JSONB NOT NULL DEFAULT '[]'::jsonb,
    created_by TEXT NOT NULL DEFAULT 'system',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ
);

-- One job at a time works on a source, whatever two workers decide at the same moment.
CREATE UNIQUE INDEX IF NOT EXISTS archon_knowledge_jobs_running
    ON archon_knowledge_jobs (source_id) WHERE status = 'running';
CREATE INDEX IF NOT EXISTS archon_knowledge_jobs_due
    ON archon_knowledge_jobs (created_at) WHERE status IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS archon_knowledge_jobs_source ON archon_knowledge_jobs (source_id, created_at);
