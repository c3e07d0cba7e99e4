"""What came of a document, in Archon's tables; and what is remembered of the document itself.

A document's pages are replaced in one transaction. A page keeps its id when it is written again, so that
an id that somebody noted goes on naming it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from .chunk import Chunk, Example
from .parse import Page

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Asked: TypeAlias = "asyncpg.Pool[Any] | Connection"

_TAKEN = """
    SELECT url, source_id FROM archon_page_metadata WHERE url = ANY($2) AND source_id <> $1
    UNION ALL
    SELECT url, source_id FROM archon_crawled_pages WHERE url = ANY($2) AND source_id <> $1 LIMIT 1
"""
_DELETE_CHUNKS = "DELETE FROM archon_crawled_pages WHERE source_id = $1 AND url = ANY($2)"
_DELETE_EXAMPLES = "DELETE FROM archon_code_examples WHERE source_id = $1 AND url = ANY($2)"
_DELETE_PAGES = "DELETE FROM archon_page_metadata WHERE source_id = $1 AND url = ANY($2)"
_PAGE = """
    INSERT INTO archon_page_metadata AS page
        (source_id, url, full_content, section_title, section_order, word_count, char_count, chunk_count,
         metadata)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)
    ON CONFLICT (url) DO UPDATE SET
        full_content = EXCLUDED.full_content, section_title = EXCLUDED.section_title,
        section_order = EXCLUDED.section_order, word_count = EXCLUDED.word_count,
        char_count = EXCLUDED.char_count, chunk_count = EXCLUDED.chunk_count,
        metadata = EXCLUDED.metadata, updated_at = now()
    RETURNING id
"""
_CHUNKS = """
    INSERT INTO archon_crawled_pages (source_id, url, page_id, chunk_number, content, metadata)
    SELECT $1, $2, $3, number - 1, content, metadata::jsonb
      FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS given (content, metadata, number)
    RETURNING id
"""
_EXAMPLES = """
    INSERT INTO archon_code_examples (source_id, url, chunk_number, content, summary, metadata)
    SELECT $1, $2, number - 1, content, summary, metadata::jsonb
      FROM unnest($3::text[], $4::text[], $5::text[])
           WITH ORDINALITY AS given (content, summary, metadata, number)
    RETURNING id
"""
_KNOWN = """
    SELECT url, outcome, reason, pipeline, content_hash, etag, last_modified, links, pages, job_id
      FROM archon_knowledge_documents WHERE source_id = $1
"""
_RECORD = """
    INSERT INTO archon_knowledge_documents
        (source_id, url, outcome, reason, pipeline, content_hash, etag, last_modified, links, pages, job_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (source_id, url) DO UPDATE SET
        outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, pipeline = EXCLUDED.pipeline,
        content_hash = EXCLUDED.content_hash, etag = EXCLUDED.etag, last_modified = EXCLUDED.last_modified,
        links = EXCLUDED.links, pages = EXCLUDED.pages, job_id = EXCLUDED.job_id, updated_at = now()
"""
_FORGET = "DELETE FROM archon_knowledge_documents WHERE source_id = $1 AND url = ANY($2)"


class Taken(Exception):
    """A page of this address belongs to another source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is remembered of a document: how it was read, and by which job it was looked at last.

    The fields stand in the order of the statements' columns.
    """

    url: str
    outcome: str
    reason: str | None = None
    pipeline: str | None = None
    content_hash: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    links: Sequence[str] = ()
    pages: Sequence[str] = ()
    job_id: UUID


@dataclass(frozen=True, slots=True)
class Written:
    """The rows that a document became, each with the text that a vector of it is made from."""

    chunks: list[tuple[int, str]]
    examples: list[tuple[int, str]]


async def known(connection: Asked, source_id: str) -> dict[str, Known]:
    """Every document of a source, by its URL."""
    rows = await connection.fetch(_KNOWN, source_id)
    return {row["url"]: Known(**dict(row)) for row in rows}


async def record(connection: Asked, source_id: str, document: Known) -> None:
    """Remember a document."""
    await connection.execute(_RECORD, source_id, *astuple(document))


async def forget(connection: Connection, source_id: str, documents: Sequence[Known]) -> None:
    """Remove documents with all that came of them."""
    async with connection.transaction():
        await remove(connection, source_id, [url for document in documents for url in document.pages])
        await connection.execute(_FORGET, source_id, [document.url for document in documents])


async def remove(connection: Connection, source_id: str, urls: Sequence[str]) -> None:
    """Remove pages, with their chunks and code examples."""
    for statement in (_DELETE_CHUNKS, _DELETE_EXAMPLES, _DELETE_PAGES):
        await connection.execute(statement, source_id, urls)


async def replace(
    connection: Connection, source_id: str, before: Sequence[str], pages: Sequence[Page]
) -> Written:
    """Put the pages of a document in the place of those that it had before.

    Raises:
        Taken: another source has a page of the same address.
    """
    written = Written([], [])
    urls = [page.url for page in pages]
    async with connection.transaction():
        if taken := await connection.fetchrow(_TAKEN, source_id, urls):
            raise Taken(f"the page {taken['url']} belongs to the source {taken['source_id']}")
        await remove(connection, source_id, [url for url in before if url not in urls])
        await connection.execute(_DELETE_CHUNKS, source_id, urls)
        await connection.execute(_DELETE_EXAMPLES, source_id, urls)
        for page in pages:
            await _write(connection, source_id, page, written)
    return written


async def _write(connection: Connection, source_id: str, page: Page, written: Written) -> None:
    page_id = await connection.fetchval(
        _PAGE,
        source_id,
        page.url,
        page.content,
        page.section_title,
        page.section_order,
        len(page.content.split()),
        len(page.content),
        len(page.chunks),
        json.dumps({"title": page.title}),
    )
    rows = await connection.fetch(
        _CHUNKS,
        source_id,
        page.url,
        page_id,
        [chunk.content for chunk in page.chunks],
        [json.dumps(_told(page, source_id, page_id, chunk)) for chunk in page.chunks],
    )
    texts = [f"{_breadcrumb(chunk.path)}\n{chunk.content}" for chunk in page.chunks]
    written.chunks.extend((row["id"], text) for row, text in zip(rows, texts, strict=True))
    summaries = [f"{_breadcrumb(each.path)}\n{each.around}".strip() for each in page.examples]
    rows = await connection.fetch(
        _EXAMPLES,
        source_id,
        page.url,
        [example.code for example in page.examples],
        summaries,
        [json.dumps(_shown(page, source_id, page_id, example)) for example in page.examples],
    )
    texts = [f"{summary}\n{each.code}" for summary, each in zip(summaries, page.examples, strict=True)]
    written.examples.extend((row["id"], text) for row, text in zip(rows, texts, strict=True))


def _breadcrumb(path: Sequence[str]) -> str:
    return " > ".join(path)


def _told(page: Page, source_id: str, page_id: UUID, chunk: Chunk) -> dict[str, Any]:
    """What a chunk says of itself. `url` leads to the place in the page."""
    return {
        "title": page.title,
        "breadcrumb": _breadcrumb(chunk.path),
        "symbols": list(chunk.symbols),
        "url": f"{page.url}#{chunk.anchor}" if chunk.anchor and "#" not in page.url else page.url,
        "source_id": source_id,
        "page_id": str(page_id),
        "char_count": len(chunk.content),
        "word_count": len(chunk.content.split()),
    }


def _shown(page: Page, source_id: str, page_id: UUID, example: Example) -> dict[str, Any]:
    return {
        "title": page.title,
        "breadcrumb": _breadcrumb(example.path),
        "language": example.language,
        "example_name": example.path[-1],
        "source_id": source_id,
        "page_id": str(page_id),
    }
