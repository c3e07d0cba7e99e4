"""The `rag_*` tools that read: sources, searches for passages and code, the pages of a source, one page.

How things are found is in the room `knowledge`; here are the tools' parameters and answers. A search that
could not do all it should says so in `notices`, and one that failed is an error: neither looks like a
search without hits.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import asyncpg
from pydantic import BeforeValidator, Field

from ..knowledge.search import Hit, MatchType, Query, Search
from .answers import Described, Failure, Success, failure, invalid, not_found, shorten
from .budget import excerpt
from .context import Archon
from .listing import Listing, Lists, Page, Where
from .registry import READS, tool
from .schemas import Arguments, Id, Name, NoArguments, Text

SHOWN_PASSAGE = 1000
"""Characters of a passage in a list of results; its page can be read whole."""

_SOURCES = """
    SELECT source_id, COALESCE(title, source_display_name, source_id) AS title, source_url AS url, summary,
           COALESCE(metadata, '{}')::text AS metadata, COALESCE(total_word_count, 0) AS total_words,
           created_at, updated_at
      FROM archon_sources ORDER BY source_id
"""

_PAGE_COLUMNS = """
    id, url, section_title, COALESCE(section_order, 0) AS section_order, word_count, char_count, chunk_count
"""

_PAGES = Lists(_PAGE_COLUMNS, "archon_page_metadata", "section_order, created_at, url")
_SOURCE_EXISTS = "SELECT EXISTS (SELECT FROM archon_sources WHERE source_id = $1)"

# The longer conditions first; an address without its fragment is tried after the address as it was given.
_READ = f"""
    SELECT {_PAGE_COLUMNS}, source_id, substr(full_content, $3 + 1, $4) AS full_content,
           length(full_content) AS length, COALESCE(metadata, '{{}}')::text AS metadata, created_at,
           updated_at
      FROM archon_page_metadata
     WHERE CASE WHEN $1::uuid IS NOT NULL THEN id = $1 ELSE url IN ($2, split_part($2, '#', 1)) END
     ORDER BY url = $2 DESC LIMIT 1
"""


def _as_object(value: object) -> object:
    """A JSONB column that should be an object, read as its text."""
    value = json.loads(value) if isinstance(value, str) else value
    return value if isinstance(value, dict) else {}


JsonObject = Annotated[dict[str, Any], BeforeValidator(_as_object)]


class Source(Described):
    """A source of the knowledge base."""

    source_id: str
    """What the other tools take as source_id."""
    title: str
    url: str | None
    summary: str | None
    metadata: JsonObject
    total_words: int
    update_frequency: int
    """Days after which Archon reads it again."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: asyncpg.Record) -> Self:
        """From a row of `_SOURCES`."""
        metadata = _as_object(row["metadata"])
        days = metadata.get("update_frequency") if isinstance(metadata, dict) else None
        values = {**row, "metadata": metadata, "summary": shorten(row["summary"])}
        return cls(**values, update_frequency=days if isinstance(days, int) else 7)


class Sources(Success):
    """What `rag_get_available_sources` answers."""

    sources: list[Source]
    count: int


async def rag_get_available_sources(archon: Archon, arguments: NoArguments) -> Sources:
    """Lists the sources of the knowledge base. Pass a `source_id` on to search in one."""
    sources = [Source.from_row(row) for row in await archon.pool.fetch(_SOURCES)]
    return Sources(sources=sources, count=len(sources))


class SearchCode(Arguments):
    """The arguments of `rag_search_code_examples`."""

    query: Name
    """What to look for: a few words, an identifier such as asyncio.TaskGroup, or a question. "Words in
    quotes" must occur together, -word must not occur."""
    source_id: Text | None = None
    """Search this source only; an id, not a URL."""
    project_id: Id | None = None
    """Search the sources of this project only."""
    tag: Text | None = None
    """Search the sources with this tag only."""
    match_count: int = Field(5, ge=1, le=50)
    """Results, at most 50."""


class SearchKnowledge(SearchCode):
    """The arguments of `rag_search_knowledge_base`."""

    return_mode: Literal["pages", "chunks"] = "pages"
    """pages: whole pages with a preview, to be read next; chunks: the passages."""


class Result(Described):
    """What every result says about where it is from and why it is here."""

    url: str
    source_id: str
    match_type: MatchType
    """Found by its words, by its meaning (vector), or by both."""
    text_rank: int | None
    """Its place by words alone."""
    vector_rank: int | None
    """Its place by vectors alone."""
    matched_terms: list[str]
    """Words of the query that are in it, the rarest first."""

    @classmethod
    def from_hit(cls, hit: Hit, **values: Any) -> Self:
        """From a hit, with what it does not have under the same name."""
        own = {name: getattr(hit, name) for name in cls.model_fields if hasattr(hit, name)}
        return cls(**own | {"matched_terms": hit.matched} | values)


class FoundItem(Result):
    """A page (page_id, title, preview, ...) or a passage (id, content, metadata, ...)."""

    page_id: UUID | None
    """For rag_read_full_page."""


class PageResult(FoundItem):
    """A page, by its best passage."""

    title: str | None
    section_title: str | None
    preview: str
    """The part of its best passage that has the words of the query."""
    word_count: int | None
    chunk_matches: int
    """Passages of the page that were found."""
    aggregate_similarity: float
    """What the results are ordered by; 1 is first in all."""
    average_similarity: float | None
    """Cosine similarity; null without vectors."""


class ChunkResult(FoundItem):
    """A passage."""

    id: int
    content: str
    """Its first 1000 characters."""
    content_length: int
    """Characters of the whole passage."""
    metadata: dict[str, Any]
    similarity_score: float
    """What the results are ordered by; 1 is first in all."""


class CodeResult(Result):
    """A code example."""

    code: str
    summary: str | None
    metadata: dict[str, Any]
    similarity: float
    """What the results are ordered by; 1 is first in all."""


class Searched(Success):
    """What both searches answer beside their results."""

    reranked: bool = False
    """Always false: there is no reranker behind the ranking."""
    notices: list[str]
    """What could not be done as asked, such as using vectors."""


class KnowledgeFound(Searched):
    """What `rag_search_knowledge_base` answers."""

    results: list[PageResult | ChunkResult]
    return_mode: Literal["pages", "chunks"]
    """chunks also where pages were asked for and nothing that was found belongs to one."""


class CodeFound(Searched):
    """What `rag_search_code_examples` answers."""

    results: list[CodeResult]


async def rag_search_knowledge_base(archon: Archon, given: SearchKnowledge) -> KnowledgeFound | Failure:
    """Searches the knowledge base by words and, where the server has an embedder, by meaning. Answers pages
    with a preview (read one with rag_read_full_page) or, with return_mode chunks, the passages themselves.
    No results means that nothing fits; a search that failed is an error.
    """
    if missing := await _missing(archon, given.source_id):
        return missing
    search, mode = Search(archon.pool, archon.embedder), given.return_mode
    found = await search.find(_query(given, mode))
    if mode == "pages" and found.hits and not any(hit.page_id for hit in found.hits):
        mode = "chunks"
        found = await search.find(_query(given, mode))
    show = _page if mode == "pages" else _chunk
    return KnowledgeFound(results=[show(hit) for hit in found.hits], return_mode=mode, notices=found.notices)


async def rag_search_code_examples(archon: Archon, given: SearchCode) -> CodeFound | Failure:
    """Searches the code examples of the knowledge base, whole, with what is said about them."""
    if missing := await _missing(archon, given.source_id):
        return missing
    found = await Search(archon.pool, archon.embedder).find(_query(given, "code"))
    results = [
        CodeResult.from_hit(hit, code=hit.content, similarity=round(hit.score, 4)) for hit in found.hits
    ]
    return CodeFound(results=results, notices=found.notices)


def _query(given: SearchCode, kind: Literal["pages", "chunks", "code"]) -> Query:
    where = given.model_dump(include={"source_id", "project_id", "tag"})
    return Query(text=given.query, kind=kind, count=given.match_count, **where)


def _page(hit: Hit) -> PageResult:
    return PageResult.from_hit(
        hit,
        title=hit.page_title or hit.metadata.get("title") or hit.section_title,
        chunk_matches=hit.found,
        aggregate_similarity=round(hit.score, 4),
        average_similarity=hit.similarity,
    )


def _chunk(hit: Hit) -> ChunkResult:
    where = {"page_id": hit.page_id and str(hit.page_id), "url": hit.url, "source_id": hit.source_id}
    return ChunkResult.from_hit(
        hit,
        content=hit.content[:SHOWN_PASSAGE],
        content_length=len(hit.content),
        metadata={**hit.metadata, **where},
        similarity_score=round(hit.score, 4),
    )


async def _missing(archon: Archon, source_id: str | None) -> Failure | None:
    """The refusal for a source that is not there."""
    if source_id is None or await archon.pool.fetchval(_SOURCE_EXISTS, source_id):
        return None
    return not_found("source", source_id, "rag_get_available_sources lists them.")


class ListPages(Listing):
    """The arguments of `rag_list_pages_for_source`."""

    source_id: Name
    """The source, as rag_get_available_sources names it."""
    section: Text | None = None
    """Only pages of this section: the exact heading, such as "# Core Concepts"."""
    per_page: int = Field(50, ge=1, le=200)
    """Pages in one answer, at most 200."""


class PageItem(Described):
    """A page in the list of a source."""

    id: UUID
    """The page_id for rag_read_full_page."""
    url: str
    section_title: str | None
    section_order: int
    word_count: int
    char_count: int
    chunk_count: int


class Pages(Page):
    """What `rag_list_pages_for_source` answers."""

    pages: list[PageItem]
    total: int
    """Pages in all answers."""
    source_id: str


async def rag_list_pages_for_source(archon: Archon, given: ListPages) -> Pages | Failure:
    """Lists the pages of a source in their order, in parts; `query` keeps those whose address or heading has
    its words.
    """
    if missing := await _missing(archon, given.source_id):
        return missing
    where = Where()
    where.add("source_id = {value}", given.source_id)
    where.add("section_title = {value}", given.section)
    where.add_words("url, section_title", given.query)
    rows, place = await _PAGES.page(archon.pool, where, given)
    return Pages(pages=[PageItem(**row) for row in rows], source_id=given.source_id, **place)


class ReadPage(Arguments):
    """The arguments of `rag_read_full_page`."""

    page_id: Id | None = None
    """The page's id; this or url."""
    url: Annotated[str, Field(max_length=4000)] | None = None
    """The page's address."""
    offset: int = Field(0, ge=0, le=1_000_000_000)
    """The character to begin with."""
    limit: int = Field(20_000, ge=1, le=100_000)
    """Characters to read, at most 100,000."""


class WholePage(PageItem):
    """A page, or the part of it that was asked for."""

    source_id: str
    full_content: str
    metadata: JsonObject
    created_at: datetime
    updated_at: datetime


class PageRead(Success):
    """What `rag_read_full_page` answers."""

    page: WholePage
    offset: int
    has_more: bool
    next_offset: int | None
    """The offset to go on with; null at the end of the page."""


async def rag_read_full_page(archon: Archon, given: ReadPage) -> PageRead | Failure:
    """Reads a page by page_id or url: 20,000 characters from `offset` on, or as many as `limit` says. Where
    has_more is true, call again with offset set to next_offset.
    """
    if given.page_id is None and given.url is None:
        return invalid("Must provide either page_id or url.")
    url = (given.url or "").replace("\0", "")
    row = await archon.pool.fetchrow(_READ, given.page_id, url, given.offset, given.limit)
    if row is None:
        where = "rag_search_knowledge_base finds pages, rag_list_pages_for_source lists those of a source."
        return failure("not_found", f"There is no page {given.page_id or given.url}.", where, status=404)
    text, _, _ = excerpt(row["full_content"], limit=given.limit)
    end = given.offset + len(text)
    more = end < row["length"]
    return PageRead(
        page=WholePage(**{**row, "full_content": text}),
        offset=given.offset,
        has_more=more,
        next_offset=end if more else None,
    )


TOOLS = (
    tool(rag_get_available_sources, "List knowledge sources", READS),
    tool(rag_search_knowledge_base, "Search the knowledge base", READS),
    tool(rag_search_code_examples, "Search code examples", READS),
    tool(rag_list_pages_for_source, "List the pages of a source", READS),
    tool(rag_read_full_page, "Read a page", READS),
)
