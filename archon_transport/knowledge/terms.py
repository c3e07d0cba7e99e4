"""The words of a query, and in how many chunks each word of the knowledge base is.

A query is read as web searches read it: "a phrase" must occur, -word must not, everything else is looked
for and ranked. How rare a word is decides what it is worth; `refresh` counts that after each job, and a
search counts it when it finds that the knowledge base has grown behind our back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

LONGEST = 2000
"""Characters of a query that are read."""

PATIENCE = 600.0
"""Seconds for counting a very large knowledge base."""

_LOCK = 0x7465726D73  # "terms"

# A dash before a word of three letters or more excludes it, but only behind another word: --quiet, -m and a
# query that begins with a dash are names of options.
_PART = re.compile(r'(?P<minus>(?<!\S)-)?"(?P<phrase>[^"]*)"|(?<=\s)-(?P<without>[^\W\d_]{3,})(?=\s|$)')

_COUNT = """
    INSERT INTO archon_search_terms (term, chunks)
    SELECT word, ndoc FROM ts_stat('SELECT search_vector FROM archon_crawled_pages')
"""
_NOTE = """
    INSERT INTO archon_search_corpus (chunks, mean_length, last_id)
    SELECT count(*), COALESCE(avg(length(search_vector)), 0), COALESCE(max(id), 0) FROM archon_crawled_pages
"""
_OUTDATED = """
    SELECT COALESCE(abs(seen.newest - last_id) > 100 + last_id / 20, seen.newest > 0)
      FROM (SELECT COALESCE(max(id), 0) AS newest FROM archon_crawled_pages) AS seen
      LEFT JOIN archon_search_corpus ON true
"""


@dataclass(frozen=True, slots=True)
class Wording:
    """A query taken apart."""

    text: str
    """All words that are looked for, those of the phrases among them."""

    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @classmethod
    def read(cls, query: str) -> Self:
        """From what was typed."""
        phrases, excluded = [], []
        query = query[:LONGEST]
        for part in _PART.finditer(query):
            if part["without"] or part["minus"]:
                excluded.append(part["without"] or part["phrase"])
            elif re.search(r"\w", part["phrase"]):
                phrases.append(part["phrase"])
        text = _PART.sub(lambda part: f" {'' if part['minus'] else part['phrase'] or ''} ", query)
        return cls(re.sub(r"(?<=\s)OR(?=\s)", " ", text).strip(), tuple(phrases), tuple(excluded))


async def refresh(connection: Connection) -> None:
    """Count in how many chunks each word is: about a second for every 50,000 chunks."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await _count(connection)


async def refresh_if_outdated(connection: Connection) -> None:
    """The same where a twentieth of the chunks is new, unless somebody is at it."""
    if not await connection.fetchval(_OUTDATED):
        return
    async with connection.transaction():
        if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            await _count(connection)


async def _count(connection: Connection) -> None:
    # DELETE and not TRUNCATE: searches go on reading the old counts until the new ones are there.
    await connection.execute("DELETE FROM archon_search_terms; DELETE FROM archon_search_corpus")
    await connection.execute(_COUNT, timeout=PATIENCE)
    await connection.execute(_NOTE, timeout=PATIENCE)
