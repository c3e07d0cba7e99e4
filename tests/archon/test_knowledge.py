"""The `rag_*` tools that read, asked through a client on a real Postgres."""

from __future__ import annotations

import json
from uuid import uuid4

import asyncpg
import pytest

PAGES = {
    "https://docs.example/asyncio": (
        "Coroutines",
        "# Coroutines\n\n" + "A task group waits for its tasks. " * 900,
    ),
    "https://docs.example/pip": ("Installing", "Pass --no-cache-dir and nothing is kept."),
}

CHUNKS = [
    ("https://docs.example/asyncio", 0, "class asyncio.TaskGroup waits for all tasks", ["asyncio.TaskGroup"]),
    ("https://docs.example/asyncio", 1, "create_task() starts a coroutine in the group", []),
    ("https://docs.example/pip", 0, "Pass --no-cache-dir and nothing is kept.", []),
]


@pytest.fixture(autouse=True)
async def knowledge(pool: asyncpg.Pool) -> None:
    """Two sources, two pages, three passages and a code example."""
    await pool.execute(
        """INSERT INTO archon_sources (source_id, source_url, title, summary, metadata) VALUES
           ('docs', 'https://docs.example', 'Docs', 'About it', '{"tags": ["python"], "update_frequency": 3}'),
           ('empty', NULL, NULL, NULL, NULL)"""
    )
    for url, (title, text) in PAGES.items():
        await pool.execute(
            """INSERT INTO archon_page_metadata (source_id, url, full_content, section_title, word_count,
                                                 char_count) VALUES ('docs', $1, $2, $3, 5, length($2))""",
            *(url, text, title),
        )
    for url, number, content, symbols in CHUNKS:
        await pool.execute(
            """INSERT INTO archon_crawled_pages (url, chunk_number, content, metadata, source_id, page_id)
               VALUES ($1::text, $2, $3, $4, 'docs', (SELECT id FROM archon_page_metadata WHERE url = $1::text))""",
            *(url, number, content, json.dumps({"symbols": symbols, "title": PAGES[url][0]})),
        )
    await pool.execute(
        """INSERT INTO archon_code_examples (url, chunk_number, content, summary, metadata, source_id) VALUES
           ('https://docs.example/asyncio', 0, 'async with asyncio.TaskGroup() as group: ...',
            'Waiting for several tasks', '{"language": "python"}', 'docs')"""
    )


async def test_sources(call) -> None:
    """Every source has its id, its address and Archon's defaults for what was never written."""
    answer = await call("rag_get_available_sources")
    docs, empty = answer["sources"]
    assert answer["count"] == 2
    assert (docs["source_id"], docs["url"], docs["update_frequency"]) == ("docs", "https://docs.example", 3)
    assert (empty["title"], empty["update_frequency"], empty["metadata"]) == ("empty", 7, {})


async def test_pages_are_found_with_title_preview_and_reason(call) -> None:
    """A page comes with what the documentation promises, and with why it matched."""
    answer = await call("rag_search_knowledge_base", query="asyncio.TaskGroup")
    assert (answer["return_mode"], answer["reranked"], answer["notices"]) == ("pages", False, [])
    first = answer["results"][0]
    assert (first["url"], first["title"]) == ("https://docs.example/asyncio", "Coroutines")
    assert "TaskGroup" in first["preview"]
    assert (first["match_type"], first["text_rank"], first["vector_rank"]) == ("keyword", 1, None)
    assert "asyncio.taskgroup" in first["matched_terms"]
    assert first["aggregate_similarity"] == 1
    read = await call("rag_read_full_page", page_id=first["page_id"], limit=12)
    assert read["page"]["full_content"] == "# Coroutines"


async def test_passages_and_filters(call, pool) -> None:
    """Passages are found in one source, in a project's sources, or in those with a tag, and nowhere else."""
    project = await pool.fetchval("INSERT INTO archon_projects (title) VALUES ('P') RETURNING id")

    async def found(**filters: str) -> list[str]:
        answer = await call(
            "rag_search_knowledge_base", query="--no-cache-dir", return_mode="chunks", **filters
        )
        return [result["content"] for result in answer["results"]]

    wanted = [CHUNKS[2][2]]
    assert await found() == await found(source_id="docs") == await found(tag="python") == wanted
    assert (
        await found(source_id="empty")
        == await found(tag="rust")
        == await found(project_id=str(project))
        == []
    )
    await pool.execute(
        "INSERT INTO archon_project_sources (project_id, source_id) VALUES ($1, 'docs')", project
    )
    assert await found(project_id=str(project)) == wanted


@pytest.mark.usefixtures("own_database")
async def test_nothing_found_is_not_a_failure_and_a_failure_is_not_nothing(call, pool) -> None:
    """No hits is a success with an empty list; an unknown source and a broken search are errors."""
    assert (await call("rag_search_knowledge_base", query="zebra"))["results"] == []
    unknown = await call("rag_search_knowledge_base", query="zebra", source_id="nobody")
    assert unknown["error"]["type"] == "not_found"
    for count in (0, 51):
        refused = await call("rag_search_code_examples", query="x", match_count=count)
        assert refused["error"]["type"] == "validation_error"
    assert (await call("rag_search_code_examples", query="  "))["error"]["type"] == "validation_error"
    await pool.execute("ALTER TABLE archon_crawled_pages RENAME TO away")
    assert not (await call("rag_search_knowledge_base", query="zebra"))["success"]


async def test_code_examples(call) -> None:
    """Code is found by what is said about it and comes whole."""
    (found,) = (await call("rag_search_code_examples", query="wait for several tasks"))["results"]
    assert found["code"].startswith("async with asyncio.TaskGroup()")
    assert (found["summary"], found["metadata"]) == ("Waiting for several tasks", {"language": "python"})


async def test_a_large_page_is_read_in_parts(call) -> None:
    """The parts of a page, one after the other by next_offset, are the whole page."""
    url, parts, offset = "https://docs.example/asyncio", [], 0
    while offset is not None:
        answer = await call("rag_read_full_page", url=url + "#part", offset=offset, limit=10_000)
        parts.append(answer["page"]["full_content"])
        assert answer["has_more"] is (answer["next_offset"] is not None)
        offset = answer["next_offset"]
    assert len(parts) == 4
    assert "".join(parts) == PAGES[url][1]
    assert (await call("rag_read_full_page"))["error"]["type"] == "validation_error"
    assert (await call("rag_read_full_page", page_id=str(uuid4())))["error"]["type"] == "not_found"


async def test_pages_of_a_source(call) -> None:
    """They come in parts with a true total; a section and words narrow them."""
    answer = await call("rag_list_pages_for_source", source_id="docs", per_page=1)
    assert (answer["total"], answer["count"], answer["has_more"]) == (2, 1, True)
    only = await call("rag_list_pages_for_source", source_id="docs", section="Installing")
    assert [page["url"] for page in only["pages"]] == ["https://docs.example/pip"]
    assert (await call("rag_list_pages_for_source", source_id="nobody"))["error"]["type"] == "not_found"


async def test_passages_without_pages(call, pool) -> None:
    """A knowledge base of an older Archon, without pages, answers passages and says so."""
    await pool.execute("DELETE FROM archon_page_metadata")
    answer = await call("rag_search_knowledge_base", query="task group")
    assert answer["return_mode"] == "chunks"
    assert answer["results"][0]["page_id"] is None


async def test_the_former_names(call) -> None:
    """An assistant that knows the former names is told the new ones."""
    for old in ("perform_rag_query", "search_code_examples", "get_available_sources"):
        assert "rag_" in (await call(old))["error"]["suggestion"]
