-- What a search reads: for every chunk and code example a text-search vector over four fields, and how
-- many chunks each word is in. Ours; Archon's own content_search_vector stays where it is.
--
-- Words are what is between anything that is no letter or digit, stemmed, and none is left out: "while" and
-- "with" are names of things, and how common a word is tells its weight. Beside its words a text has its
-- identifiers, whole: os.path.join, create_task, --no-cache-dir. An identifier has a mark in it that a word
-- cannot have, so the two never meet.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_ts_dict WHERE dictname = 'archon_stem'
                    AND dictnamespace = current_schema()::regnamespace) THEN
        CREATE TEXT SEARCH DICTIONARY archon_stem (TEMPLATE = pg_catalog.snowball, LANGUAGE = english);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = 'archon_words'
                    AND cfgnamespace = current_schema()::regnamespace) THEN
        CREATE TEXT SEARCH CONFIGURATION archon_words (COPY = pg_catalog.english);
        ALTER TEXT SEARCH CONFIGURATION archon_words
            ALTER MAPPING REPLACE pg_catalog.english_stem WITH archon_stem;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION archon_words(given TEXT) RETURNS TSVECTOR LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('archon_words', regexp_replace(COALESCE(given, ''), '[^[:alnum:]]+', ' ', 'g'));

CREATE OR REPLACE FUNCTION archon_identifiers(given TEXT) RETURNS TEXT[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(
    SELECT DISTINCT lower(found[1])
      FROM regexp_matches(COALESCE(given, ''), '((?:--?|[.@%])?\w+(?:(?:[.:/-]|::|->)\w+)*)', 'g') AS found
     WHERE found[1] ~ '[^[:alnum:]]' AND length(found[1]) <= 100
);

-- The identifiers as a vector whose positions carry a weight, which array_to_tsvector's do not.
CREATE OR REPLACE FUNCTION archon_identifier_vector(given TEXT, weight TEXT) RETURNS TSVECTOR
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN COALESCE(
    (SELECT string_agg('''' || identifier || ''':1' || weight, ' ')::tsvector
       FROM unnest(archon_identifiers(given)) AS identifier), ''::tsvector);

-- A: what the chunk documents. B: its title and the headings above it. C: the last parts of its address, and
-- the words inside of a documented CamelCase name. D: the text, which comes first: a search counts a word's
-- places in it by ts_rank, which reads them in their order.
CREATE OR REPLACE FUNCTION archon_search_vector(content TEXT, summary TEXT, metadata JSONB, url TEXT)
RETURNS TSVECTOR LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN archon_words(concat_ws(' ', left(summary, 10000), left(content, 100000)))
    || archon_identifier_vector(concat_ws(' ', left(summary, 10000), left(content, 100000)), '')
    || setweight(archon_words(metadata ->> 'symbols'), 'A')
    || archon_identifier_vector(metadata ->> 'symbols', 'A')
    || setweight(archon_words(concat_ws(' ', metadata ->> 'title', metadata ->> 'breadcrumb',
                                        metadata ->> 'example_name')), 'B')
    || setweight(archon_words(regexp_replace(metadata ->> 'symbols', '([a-z0-9])([A-Z])', '\1 \2', 'g')), 'C')
    || setweight(archon_words(substring(url FROM '([^/]*/?[^/]*?)(?:\.\w+)?/?(?:[?#].*)?$')), 'C');

ALTER TABLE archon_crawled_pages ADD COLUMN IF NOT EXISTS search_vector TSVECTOR
    GENERATED ALWAYS AS (archon_search_vector(content, NULL, metadata, url)) STORED;
ALTER TABLE archon_code_examples ADD COLUMN IF NOT EXISTS search_vector TSVECTOR
    GENERATED ALWAYS AS (archon_search_vector(content, summary, metadata, url)) STORED;

CREATE INDEX IF NOT EXISTS archon_crawled_pages_search ON archon_crawled_pages USING GIN (search_vector);
CREATE INDEX IF NOT EXISTS archon_code_examples_search ON archon_code_examples USING GIN (search_vector);

-- In how many chunks a word is. Counted after each job, and by a search that finds the count outdated.
CREATE TABLE IF NOT EXISTS archon_search_terms (
    term TEXT PRIMARY KEY,
    chunks INTEGER NOT NULL
);

-- One row: what the words were counted over.
CREATE TABLE IF NOT EXISTS archon_search_corpus (
    only_one BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_one),
    chunks INTEGER NOT NULL,
    mean_length REAL NOT NULL,
    last_id BIGINT NOT NULL,
    counted_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
