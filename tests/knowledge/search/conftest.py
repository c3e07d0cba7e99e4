"""A knowledge base with a few passages on a real Postgres, and embedders that need no model."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from archon_transport.knowledge.search import Search
from archon_transport.store.migrations import migrate


class Embedded:
    """Vectors of a text's words, each word one direction; `meanings` gives several words one direction."""

    def __init__(self, dimension: int = 384, model: str = "words", **meanings: str) -> None:
        self.dimension, self.model, self.meanings = dimension, model, meanings

    async def embed(self, texts: list[str]) -> list[list[float]]:
        return [self._vector(re.findall(r"\w+", text.lower())) for text in texts]

    async def close(self) -> None:
        pass

    def _vector(self, words: list[str]) -> list[float]:
        vector = [0.0] * self.dimension
        for word in words:
            digest = hashlib.sha256(self.meanings.get(word, word).encode()).digest()
            vector[int.from_bytes(digest[:4], "big") % self.dimension] += 1
        length = math.hypot(*vector) or 1
        return [number / length for number in vector]


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=3) as pool:
        async with pool.acquire() as connection:
            await migrate(connection, ("transport", "archon", "knowledge"))
        yield pool


@pytest.fixture
def add(pool: asyncpg.Pool) -> Callable[..., Awaitable[int]]:
    """Add a passage to a page and a source of the same name; its id."""

    async def add(content: str, page: str = "page", **metadata: Any) -> int:
        await pool.execute("INSERT INTO archon_sources (source_id) VALUES ($1) ON CONFLICT DO NOTHING", page)
        await pool.execute(
            """INSERT INTO archon_page_metadata (source_id, url, full_content, word_count, char_count)
               VALUES ($1::text, 'https://x.example/' || $1::text, '', 0, 0) ON CONFLICT DO NOTHING""",
            page,
        )
        return await pool.fetchval(
            """INSERT INTO archon_crawled_pages (url, chunk_number, content, metadata, source_id, page_id)
               SELECT url, (SELECT count(*) FROM archon_crawled_pages AS chunk WHERE chunk.url = page.url), $2,
                      $3, source_id, id FROM archon_page_metadata AS page WHERE source_id = $1 RETURNING id""",
            *(page, content, json.dumps(metadata)),
        )

    return add


@pytest.fixture
def search(pool: asyncpg.Pool) -> Search:
    return Search(pool)
