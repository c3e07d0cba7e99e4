"""Finding passages and pages: full text and vectors, ranked apart and merged, in one SQL statement.

Full text is BM25 over weighted fields. Postgres finds the candidates by an index and counts a word's places;
what it lacks, how rare a word is, is kept in a table (`terms`). Of a query's words the rarest choose the
candidates, a rough score keeps 400 of them, and those are scored by every word. Vectors, where there is an
embedder and the extension, are the nearest by cosine. The two orders are merged by reciprocal rank: 1 / (60 +
place) from full text, half of that from vectors, which know what an identifier is called less well than what
a question means. Each hit says which of the two found it, at which place, and by which words.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any, Literal, Self
from uuid import UUID

import asyncpg

from . import terms, vectors
from .embed import Embedder, EmbedderError
from .terms import Wording

_log = logging.getLogger(__name__)

Kind = Literal["pages", "chunks", "code"]
MatchType = Literal["hybrid", "vector", "keyword"]

EMBED_PATIENCE = 8.0
"""Seconds that a query waits for its vector before full text answers alone."""

# k1 and b are BM25's; a word in what a chunk documents counts as 4 places in its text, in its headings as 2,
# in its address as 1. A word in more than half of all chunks is not scored where rarer ones are.
_WORDS = """
    corpus AS (
        SELECT COALESCE(max(chunks), 0)::float8 AS chunks,
               GREATEST(max(mean_length), 1)::float8 AS mean_length
          FROM archon_search_corpus
    ), typed AS (
        SELECT lexeme, min(word) AS shown
          FROM regexp_split_to_table($1, '[^[:alnum:]]+') AS word,
               unnest(tsvector_to_array(archon_words(word))) AS lexeme GROUP BY lexeme
         UNION SELECT identifier, identifier FROM unnest(archon_identifiers($1)) AS identifier
    ), counted AS (
        SELECT lexeme, shown, COALESCE(term.chunks, 0)::float8 AS chunks
          FROM typed LEFT JOIN archon_search_terms AS term ON term.term = lexeme
    ), weighed AS (
        SELECT lexeme, shown, ln(1 + GREATEST(corpus.chunks - counted.chunks + 0.5, 0.5)
                                     / (counted.chunks + 0.5)) AS rarity,
               row_number() OVER place = 1 OR sum(counted.chunks) OVER place <= 2000 AS rare,
               counted.chunks <= corpus.chunks / 2 AS telling
          FROM counted, corpus WINDOW place AS (ORDER BY counted.chunks, lexeme)
    ), words AS MATERIALIZED (
        SELECT shown, rarity, rare, ('''' || lexeme || '''')::tsquery AS anywhere,
               ('''' || lexeme || ''':ABC')::tsquery AS named, ('''' || lexeme || ''':A')::tsquery AS a,
               ('''' || lexeme || ''':B')::tsquery AS b
          FROM weighed WHERE rare OR telling
    ), phrases AS (
        SELECT wanted, '(' || phraseto_tsquery('archon_words',
                                 regexp_replace(phrase, '[^[:alnum:]]+', ' ', 'g'))::text || ')' AS phrase
          FROM (SELECT unnest($2::text[]) AS phrase, true AS wanted
                 UNION ALL SELECT unnest($3::text[]), false) AS given
    ), asked AS MATERIALIZED (
        SELECT (SELECT string_agg(anywhere::text, '|')::tsquery FROM words WHERE rare) AS any_of,
               (SELECT string_agg(phrase, '&')::tsquery FROM phrases WHERE wanted) AS all_of,
               (SELECT string_agg(phrase, '|')::tsquery FROM phrases WHERE NOT wanted) AS none_of
    )
"""

# Subselects and no join: a join would keep the planner from reading vectors in the order of their index.
_FILTER = """
    ($4::text[] IS NULL OR item.source_id = ANY($4))
    AND COALESCE(item.search_vector @@ (SELECT all_of FROM asked), true)
    AND COALESCE(NOT item.search_vector @@ (SELECT none_of FROM asked), true)
"""

# The vector is joined with nothing where several words are looked for in it: so it is unpacked once.
# ts_rank of one word with weight 1 in the text alone is the sum of 1/j^2 over its places there, divided by
# pi^2/6 = 1.645: solved for their number, it is a count that costs no walk over the whole vector.
_TEXT = f"""
    roughly AS MATERIALIZED (
        SELECT item.id
          FROM asked CROSS JOIN {{table}} AS item
               CROSS JOIN LATERAL (SELECT item.search_vector || ''::tsvector AS vector OFFSET 0) AS whole
               CROSS JOIN LATERAL (
                SELECT sum(rarity * (1 + (whole.vector @@ named)::int)) AS score FROM words
                 WHERE rare AND whole.vector @@ anywhere) AS rough
         WHERE item.search_vector @@ asked.any_of AND {_FILTER}
         ORDER BY rough.score DESC, item.id LIMIT 400
    ), scored AS (
        SELECT item.id, {{key}} AS key, total.score
          FROM roughly JOIN {{table}} AS item USING (id), corpus,
               LATERAL (SELECT item.search_vector || ''::tsvector AS vector,
                               0.25 + 0.75 * length(item.search_vector) / mean_length AS length
                        OFFSET 0) AS whole,
               LATERAL (SELECT sum(rarity * places / (places + 1.2)) AS score
                          FROM words, LATERAL (
                                SELECT CASE WHEN NOT whole.vector @@ named THEN 0
                                            WHEN whole.vector @@ a THEN 4
                                            WHEN whole.vector @@ b THEN 2 ELSE 1 END
                                     + GREATEST(0, 1 / (1.645 * (1 - LEAST(0.998,
                                            ts_rank('{{{{1,0,0,0}}}}', whole.vector, anywhere)))) - 0.608)
                                     / whole.length AS places) AS counted
                         WHERE whole.vector @@ anywhere) AS total
    ), text AS (
        SELECT key, row_number() OVER (ORDER BY score DESC, key) AS place, best, found
          FROM (SELECT key, (array_agg(id ORDER BY score DESC, id))[1] AS best, count(*) AS found,
                       max(score) + (sum(score) - max(score)) / (count(*) + 1) AS score
                  FROM scored GROUP BY key) AS grouped
         ORDER BY place LIMIT 100
    )
"""

_NEAR = f"""
    near AS MATERIALIZED (
        SELECT item.id, {{key}} AS key, {{distance}} AS distance FROM {{table}} AS item
         WHERE item.embedding_model = $7 AND {_FILTER} ORDER BY distance LIMIT 100
    ), nearest AS (
        SELECT key, row_number() OVER (ORDER BY min(distance), key) AS place, 1 - min(distance) AS similarity,
               (array_agg(id ORDER BY distance, id))[1] AS best, count(*) AS found
          FROM near WHERE distance < 0.95 GROUP BY key
    )
"""

_NOT_NEAR = """
    nearest AS (SELECT NULL::text AS key, NULL::bigint AS place, NULL::float8 AS similarity,
                       NULL::bigint AS best, NULL::bigint AS found WHERE false)
"""

_MERGED = """
    merged AS (
        SELECT text.place AS text_rank, nearest.place AS vector_rank, nearest.similarity,
               COALESCE(text.best, nearest.best) AS best, GREATEST(text.found, nearest.found) AS found,
               COALESCE(1.0 / (60 + text.place), 0) + COALESCE(0.5 / (60 + nearest.place), 0) AS score
          FROM text FULL JOIN nearest USING (key)
         ORDER BY score DESC, LEAST(text.place, nearest.place), best LIMIT $5
    )
    SELECT merged.*, item.id, item.url, item.source_id, item.content, item.metadata::text AS metadata,
           {summary} AS summary, page.id AS page_id, page.section_title, page.word_count,
           page.metadata ->> 'title' AS page_title,
           ARRAY(SELECT shown FROM words WHERE item.search_vector @@ anywhere ORDER BY rarity DESC) AS matched
      FROM merged JOIN {table} AS item ON item.id = merged.best
           LEFT JOIN archon_page_metadata AS page ON {page}
     ORDER BY score DESC, LEAST(text_rank, vector_rank), best
"""

_PLACES: dict[Kind, dict[str, str]] = {
    "pages": {
        "table": "archon_crawled_pages",
        "key": "COALESCE(item.page_id::text, item.url)",
        "summary": "NULL::text",
        "page": "page.id = item.page_id",
    },
    "chunks": {
        "table": "archon_crawled_pages",
        "key": "item.id::text",
        "summary": "NULL::text",
        "page": "page.id = item.page_id",
    },
    "code": {
        "table": "archon_code_examples",
        "key": "item.id::text",
        "summary": "item.summary",
        "page": "page.url = item.url",
    },
}

_SOURCES = """
    SELECT source_id FROM archon_sources
     WHERE ($1::text IS NULL OR source_id = $1)
       AND ($2::uuid IS NULL OR source_id IN (
                SELECT source_id FROM archon_project_sources WHERE project_id = $2))
       AND ($3::text IS NULL OR metadata -> 'tags' ? $3)
"""

_HAS_MODEL = "SELECT EXISTS (SELECT FROM {table} WHERE embedding_model = $1 AND embedding_dimension = $2)"
_OTHER_MODEL = """
    SELECT embedding_model, embedding_dimension FROM {table} WHERE embedding_dimension IS NOT NULL LIMIT 1
"""
_SCAN = "SELECT set_config('hnsw.ef_search', '100', true)"
_SCAN_ON = "SELECT set_config('hnsw.iterative_scan', 'strict_order', true)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for, and where; a filter that is None lets everything through."""

    text: str
    kind: Kind = "pages"
    count: int = 5
    source_id: str | None = None
    project_id: UUID | None = None
    tag: str | None = None

    @property
    def filtered(self) -> bool:
        """Whether not all sources are searched."""
        return any((self.source_id, self.project_id, self.tag))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A page by its best passage, a passage, or a code example; and why it was found."""

    id: int
    url: str
    source_id: str
    content: str
    metadata: dict[str, Any]
    summary: str | None
    page_id: UUID | None
    section_title: str | None
    page_title: str | None
    word_count: int | None
    found: int
    """Passages of the page that were found."""

    score: float
    """1 for what both searches, or the only one, have at their first place."""

    similarity: float | None
    """Cosine similarity to the query, where vectors found it."""

    text_rank: int | None
    vector_rank: int | None
    matched: list[str]
    """The query's words that are in it, the rarest first."""

    @property
    def match_type(self) -> MatchType:
        """Which of the two searches found it."""
        if self.text_rank is None:
            return "vector"
        return "keyword" if self.vector_rank is None else "hybrid"

    @property
    def preview(self) -> str:
        """Some 300 characters of the passage, from a little before the rarest word of the query."""
        text = " ".join(self.content.split())
        for word in self.matched:
            # An inflected word is found by how it begins.
            place = text.lower().find(word[: max(4, len(word) - 2)].lower())
            if place >= 0:
                start = text.rfind(" ", 0, max(0, place - 80)) + 1
                return text[start : start + 300]
        return text[:300]

    @classmethod
    def from_row(cls, row: asyncpg.Record, *, best: float) -> Self:
        """From a row of the statement; `best` is the highest score that there can be."""
        values = {name: value for name, value in row.items() if name != "best"}
        metadata = json.loads(values.pop("metadata") or "{}")
        values["score"] = float(values["score"]) / best
        return cls(**values, metadata=metadata if isinstance(metadata, dict) else {})


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and what it could not do or did otherwise than asked."""

    hits: list[Hit]
    notices: list[str]


class Search:
    """Searches one knowledge base; the pool's connections have Archon's tables in their search path."""

    def __init__(self, pool: asyncpg.Pool[Any], embedder: Embedder | None = None) -> None:
        self._pool = pool
        self._embedder = embedder

    async def find(self, query: Query) -> Found:
        """The best hits, best first.

        A phrase in quotes that is nowhere is looked for as single words; a notice says so.
        """
        notices: list[str] = []
        wording = Wording.read(query.text)
        vector = await self._vector(wording.text, notices)
        async with self._pool.acquire() as connection, connection.transaction():
            await terms.refresh_if_outdated(connection)
            sources = await self._sources(connection, query)
            if sources == []:
                return Found([], ["No source fits the filter; rag_get_available_sources lists them."])
            place = await self._place(connection, query.kind, vector, notices)
            hits = await self._hits(connection, query, wording, sources, place, vector)
            if not hits and wording.phrases:
                notices.append("No passage has the quoted words together; these have some of them.")
                loose = Wording(wording.text, (), wording.excluded)
                hits = await self._hits(connection, query, loose, sources, place, vector)
        return Found(hits, notices)

    async def _hits(
        self,
        connection: vectors.Connection,
        query: Query,
        wording: Wording,
        sources: list[str] | None,
        place: vectors.Space | None,
        vector: list[float] | None,
    ) -> list[Hit]:
        given: list[object] = [
            wording.text,
            list(wording.phrases),
            list(wording.excluded),
            sources,
            query.count,
        ]
        if place is not None and vector is not None and self._embedder is not None:
            given += [vectors.literal(vector), self._embedder.model]
        rows = await connection.fetch(statement(query.kind, place), *given)
        best = 1.5 / 61 if place else 1 / 61
        return [Hit.from_row(row, best=best) for row in rows]

    async def _vector(self, text: str, notices: list[str]) -> list[float] | None:
        """The query's vector; why there is none is a notice, unless nobody asked for vectors."""
        if self._embedder is None or not text:
            return None
        try:
            async with asyncio.timeout(EMBED_PATIENCE):
                (vector,) = await self._embedder.embed([text])
            return vector
        except (EmbedderError, TimeoutError) as error:
            _log.warning("a query was not embedded", extra={"reason": str(error) or "time-out"})
            notices.append("The embedder did not answer: found by full text alone.")
            return None

    async def _place(
        self, connection: vectors.Connection, kind: Kind, vector: list[float] | None, notices: list[str]
    ) -> vectors.Space | None:
        """Where vectors that can be compared with the query's are; none is said in a notice."""
        if vector is None or self._embedder is None:
            return None
        table, model = _PLACES[kind]["table"], self._embedder.model
        place = await vectors.space(connection, len(vector))
        if place and await connection.fetchval(_HAS_MODEL.format(table=table), model, len(vector)):
            await connection.execute(_SCAN)
            if place.iterative:
                await connection.execute(_SCAN_ON)
            return place
        other = await connection.fetchrow(_OTHER_MODEL.format(table=table))
        if other is not None:
            notices.append(
                f"The stored vectors are of {other[0]} with {other[1]} dimensions, the query's of {model} "
                f"with {len(vector)}: they cannot be compared, so this was found by full text alone."
            )
        return None

    async def _sources(self, connection: vectors.Connection, query: Query) -> list[str] | None:
        if not query.filtered:
            return None
        rows = await connection.fetch(_SOURCES, query.source_id, query.project_id, query.tag)
        return [row["source_id"] for row in rows]


def statement(kind: Kind, place: vectors.Space | None) -> str:
    """The SQL of one search; $6 and $7 are there only with a place for vectors."""
    near = _NOT_NEAR if place is None else _NEAR
    parts = ",".join((_WORDS, _TEXT, near, _MERGED))
    distance = "" if place is None else place.distance("$6")
    return "WITH" + parts.format(**_PLACES[kind], distance=distance)
