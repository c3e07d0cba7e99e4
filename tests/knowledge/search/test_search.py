"""What is found, in which order, and why."""

from __future__ import annotations

import json

import pytest

from archon_transport.knowledge import terms, vectors
from archon_transport.knowledge.embed import EmbedderError
from archon_transport.knowledge.search import Query, Search, statement
from archon_transport.knowledge.terms import Wording
from archon_transport.store.migrations import migrate

from .conftest import Embedded


async def contents(search: Search, text: str, **how: object) -> list[str]:
    found = await search.find(Query(text=text, **{"kind": "chunks", "count": 10, **how}))
    return [hit.content for hit in found.hits]


@pytest.mark.parametrize(
    ("query", "wording"),
    [
        ("read a file", Wording("read a file")),
        ('a "task group" here', Wording("a  task group  here", ("task group",))),
        ("groups -threads", Wording("groups", (), ("threads",))),
        ('groups -"thread pool"', Wording("groups", (), ("thread pool",))),
        ("--no-cache-dir", Wording("--no-cache-dir")),
        ("python -m venv --clear", Wording("python -m venv --clear")),
        ("-quiet", Wording("-quiet")),
        ("cats OR dogs", Wording("cats   dogs")),
        ('broken "quote', Wording('broken "quote')),
        ('""', Wording("")),
    ],
)
def test_a_query_is_read_as_web_searches_read_it(query, wording):
    """Phrases and exclusions are taken out; options of programs are not mistaken for exclusions."""
    assert Wording.read(query) == wording


async def test_no_query_breaks_the_statement(search, add):
    """Whatever is typed is looked for, not executed."""
    await add("日本語 and others")
    for query in ("'", "\\", "':*", "(", "!", ")(", '"', "-", "a & | b", "\u0301", "日本語", ":="):
        await search.find(Query(text=query))


async def test_a_rare_word_is_worth_more_than_common_ones(search, add):
    """Of two passages with one word each, the one with the rarer word is first; few words are no hindrance."""
    for number in range(20):
        await add(f"the function returns a value {number}")
    await add("zipping is described here")
    found = await contents(search, "which function does zipping")
    assert found[0] == "zipping is described here"
    assert len(found) == 10


async def test_identifiers_are_found_whole_and_by_their_parts(search, add):
    """asyncio.TaskGroup finds itself before asyncio and TaskGroup apart; TaskGroup alone finds it too."""
    await add("asyncio has a TaskGroup and asyncio has a TaskGroup")
    await add("use asyncio.TaskGroup for that")
    await add("pip install --no-cache-dir")
    await add("the cache of a dir, no doubt")
    assert (await contents(search, "asyncio.TaskGroup"))[0] == "use asyncio.TaskGroup for that"
    assert len(await contents(search, "TaskGroup")) == 2
    assert (await contents(search, "--no-cache-dir"))[0] == "pip install --no-cache-dir"


async def test_where_a_word_stands_counts(search, add):
    """What a passage documents goes before its headings, those before its address and its text."""
    await add("chain in the text, once")
    await add("nothing", breadcrumb="Tools > chain")
    await add("nothing at all", symbols=["itertools.chain"])
    assert await contents(search, "chain") == ["nothing at all", "nothing", "chain in the text, once"]


async def test_phrases_and_exclusions(search, add):
    """A phrase must occur and an excluded word must not; a phrase that is nowhere is relaxed, and said to be."""
    await add("a group of tasks")
    await add("tasks of a group")
    assert await contents(search, '"group of tasks"') == ["a group of tasks"]
    assert await contents(search, "group -tasks") == []
    found = await search.find(Query(text='"tasks group"'))
    assert len(found.hits) == 1 and "quoted" in found.notices[0]


async def test_words_that_are_common_in_prose_are_words(search, add):
    """There are no stop words: "with" and "while" are names of things."""
    await add("the while statement")
    await add("the if statement")
    assert (await contents(search, "while"))[0] == "the while statement"


async def test_counts_follow_the_passages(pool, search, add):
    """Words are counted at the first search and again when the knowledge base has grown by much."""
    await add("first")
    await contents(search, "first")
    assert await pool.fetchval("SELECT chunks FROM archon_search_terms WHERE term = 'first'") == 1
    for number in range(120):
        await add(f"first {number}")
    await contents(search, "first")
    assert await pool.fetchval("SELECT chunks FROM archon_search_terms WHERE term = 'first'") == 121
    await pool.execute("DELETE FROM archon_crawled_pages")
    async with pool.acquire() as connection:
        await terms.refresh(connection)
    assert await pool.fetchval("SELECT count(*) FROM archon_search_terms") == 0


async def embed_all(pool, embedder) -> None:
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT id, content FROM archon_crawled_pages")
        made = await embedder.embed([row["content"] for row in rows])
        pairs = [(row["id"], vector) for row, vector in zip(rows, made, strict=True)]
        assert await vectors.store_vectors(connection, "archon_crawled_pages", pairs, embedder) == len(rows)


async def test_words_and_vectors_are_merged_and_each_says_its_part(pool, add):
    """A passage that both find is first; what only one finds is there, with the place it had."""
    embedder = Embedded(automobile="car", vehicle="car")
    await add("a vehicle", "meaning")
    await add("car repair, and repair again and more of what has nothing to do with it", "both")
    await add("repair repair", "words")
    await embed_all(pool, embedder)
    found = await Search(pool, embedder).find(Query(text="automobile repair", count=10))
    hits = {hit.source_id: hit for hit in found.hits}
    assert hits["meaning"].match_type == "vector"
    assert hits["meaning"].text_rank is None and hits["meaning"].similarity > 0.3
    assert hits["both"].match_type == "hybrid" and hits["both"].matched == ["repair"]
    assert found.hits[0].match_type == "hybrid" and found.notices == []
    assert all(0 < hit.score <= 1 for hit in found.hits)


async def test_vectors_of_another_model_are_not_compared(pool, add):
    """The query goes on by full text, and the answer says which two models there are."""
    await add("a vehicle")
    await embed_all(pool, Embedded(model="old"))
    found = await Search(pool, Embedded(768, model="new")).find(Query(text="vehicle"))
    assert [hit.match_type for hit in found.hits] == ["keyword"]
    assert "old with 384" in found.notices[0] and "new with 768" in found.notices[0]


async def test_an_embedder_that_fails_is_no_failed_search(pool, add):
    """Full text answers alone, and says so."""

    class Broken(Embedded):
        async def embed(self, texts):
            raise EmbedderError("away")

    await add("a vehicle")
    found = await Search(pool, Broken()).find(Query(text="vehicle"))
    assert len(found.hits) == 1 and "full text alone" in found.notices[0]


async def test_without_the_extension_full_text_goes_on(pool, add, monkeypatch):
    """Where Postgres has no vector extension nothing is stored, and searches work."""
    monkeypatch.setattr(vectors, "_PROBE", vectors._PROBE.replace("'vector'", "'no such extension'"))
    number = await add("a vehicle")
    async with pool.acquire() as connection:
        given = [(number, [1.0] * 384)]
        assert await vectors.store_vectors(connection, "archon_crawled_pages", given, Embedded()) == 0
    found = await Search(pool, Embedded()).find(Query(text="vehicle"))
    assert len(found.hits) == 1 and found.notices == []


@pytest.mark.parametrize(
    "dimension", [384, 3072, *(pytest.param(size, marks=pytest.mark.long) for size in (768, 1024, 1536))]
)
async def test_every_dimension_is_searched_by_its_index(pool, add, dimension):
    """The nearest vectors come from an HNSW index, also where 3072 numbers need half precision."""
    embedder = Embedded(dimension)
    for number in range(30):
        await add(f"passage number {number}")
    await embed_all(pool, embedder)
    async with pool.acquire() as connection, connection.transaction():
        place = await vectors.space(connection, dimension)
        assert place is not None
        # Thirty rows are read faster than any index; thousands are not.
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        await connection.execute("DROP INDEX idx_archon_crawled_pages_embedding_model; ANALYZE")
        (query,) = await embedder.embed(["passage number 7"])
        given = ("passage", [], [], None, 5, vectors.literal(query), embedder.model)
        rows = await connection.fetch("EXPLAIN " + _bound(statement("chunks", place), given))
    plan = "\n".join(row[0] for row in rows)
    assert f"Index Scan using archon_crawled_pages_embedding_{dimension}_hnsw" in plan
    found = await Search(pool, embedder).find(Query(text="passage number 7", kind="chunks"))
    assert (found.hits[0].content, found.hits[0].vector_rank) == ("passage number 7", 1)


def _bound(sql: str, values) -> str:
    """EXPLAIN takes no parameters that an extension's operators are typed by: put them in."""
    for number, value in sorted(enumerate(values, 1), reverse=True):
        text = "NULL" if value is None else "'{}'" if value == [] else f"'{value}'"
        sql = sql.replace(f"${number}", str(value) if isinstance(value, int) else text)
    return sql


OLD = """
    CREATE EXTENSION vector;
    CREATE TABLE archon_sources (
        source_id TEXT PRIMARY KEY, summary TEXT, total_word_count INTEGER DEFAULT 0, title TEXT,
        metadata JSONB DEFAULT '{}', created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        updated_at TIMESTAMPTZ NOT NULL DEFAULT now());
    CREATE TABLE archon_crawled_pages (
        id BIGSERIAL PRIMARY KEY, url VARCHAR NOT NULL, chunk_number INTEGER NOT NULL, content TEXT NOT NULL,
        metadata JSONB NOT NULL DEFAULT '{}', source_id TEXT NOT NULL REFERENCES archon_sources,
        embedding_384 VECTOR(384), embedding_768 VECTOR(768), embedding_1024 VECTOR(1024),
        embedding_1536 VECTOR(1536), embedding_3072 VECTOR(3072), llm_chat_model TEXT, embedding_model TEXT,
        embedding_dimension INTEGER,
        content_search_vector tsvector GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(), UNIQUE (url, chunk_number));
    INSERT INTO archon_sources (source_id) VALUES ('old');
"""


async def test_a_knowledge_base_that_archon_made_is_searched_as_it_is(pool):
    """Its passages are found by words, by its own vectors where the model is the same, and nothing is rewritten."""
    await pool.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await pool.execute(OLD)
    embedder = Embedded(1536, model="text-embedding-3-small")
    texts = ["a vehicle", "use asyncio.TaskGroup", "something else"]
    for number, vector in enumerate(await embedder.embed(texts)):
        await pool.execute(
            """INSERT INTO archon_crawled_pages (url, chunk_number, content, metadata, source_id, embedding_1536,
                                                 embedding_model, embedding_dimension)
               VALUES ('https://old.example/page', $1, $2, $3, 'old', $4::text::vector, $5, 1536)""",
            *(number, texts[number], json.dumps({"chunk_size": 9}), vectors.literal(vector), embedder.model),
        )
    async with pool.acquire() as connection:
        await migrate(connection, ("transport", "archon", "knowledge"))
    assert await contents(Search(pool), "asyncio.TaskGroup") == ["use asyncio.TaskGroup"]
    found = await Search(pool, embedder).find(Query(text="vehicle", kind="chunks"))
    assert (found.hits[0].content, found.hits[0].match_type) == ("a vehicle", "hybrid")
