"""How well is it found? Queries with known answers, asked of the search and of a plain BM25 in the same run.

A file has one JSON object a line: first what it is about (`{"corpus": {"name", "sha256"}}`), then queries
(`{"query": ..., "answers": [...]}`), each answer a page's URL or how it ends. The baseline is what a good
textbook would build over the same pages: BM25 over pieces of 250 words, the best piece of each page.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg

from .embed import Embedder
from .search import Query, Search

PIECE = 250
"""Words of one piece of the baseline."""

DEPTH = 10
"""Results that are looked at; an answer further down counts as not found."""

K1, B = 1.2, 0.75
"""BM25's usual parameters."""

_PAGES = "SELECT url, full_content FROM archon_page_metadata"
_HASHES = "SELECT content_hash FROM archon_knowledge_documents WHERE content_hash IS NOT NULL"

Find = Callable[[str], Awaitable[Sequence[str]]]
"""The URLs of the pages found for a query, the best first."""


class EvaluationError(Exception):
    """The file cannot be used; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query and the ends of the URLs that answer it."""

    query: str
    answers: tuple[str, ...]

    def rank(self, urls: Iterable[str]) -> int | None:
        """Where the first answer is, counted from 1."""
        return next((place for place, url in enumerate(urls, 1) if self._answered(url)), None)

    def _answered(self, url: str) -> bool:
        page = url.partition("#")[0]
        return any(page == answer or page.endswith("/" + answer.lstrip("/")) for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a file holds."""

    corpus: str
    sha256: str | None
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """How one way of searching did; times are milliseconds of one query."""

    hit_at_1: float
    hit_at_5: float
    mrr: float
    p50: float
    p95: float
    missed: list[str]
    """Queries without an answer among the first five."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def load(path: Path) -> Evaluation:
    """The queries of a file.

    Raises:
        EvaluationError: it is not such a file.
    """
    try:
        header, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        corpus = header["corpus"]
        questions = tuple(Question(line["query"], tuple(line["answers"])) for line in lines)
        found = Evaluation(str(corpus["name"]), corpus.get("sha256"), questions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} is not a file of queries: {error!r}") from error
    if not questions:
        raise EvaluationError(f"{path} has no queries")
    return found


async def measure(questions: Sequence[Question], find: Find) -> Measured:
    """Ask every question once and see where its answer is."""
    ranks: list[int | None] = []
    times: list[float] = []
    for question in questions:
        started = time.perf_counter()
        urls = await find(question.query)
        times.append(1000 * (time.perf_counter() - started))
        ranks.append(question.rank(urls[:DEPTH]))
    times.sort()
    return Measured(
        hit_at_1=_share(ranks, 1),
        hit_at_5=_share(ranks, 5),
        mrr=round(sum(1 / rank for rank in ranks if rank) / len(ranks), 3),
        p50=round(times[len(times) // 2], 1),
        p95=round(times[math.ceil(0.95 * len(times)) - 1], 1),
        missed=[each.query for each, rank in zip(questions, ranks, strict=True) if not rank or rank > 5],
    )


def _share(ranks: Sequence[int | None], depth: int) -> float:
    return round(sum(rank is not None and rank <= depth for rank in ranks) / len(ranks), 3)


class Baseline:
    """Plain BM25 in memory."""

    def __init__(self, pages: Iterable[tuple[str, str]]) -> None:
        self._pieces: list[tuple[str, int]] = []
        self._postings: dict[str, list[tuple[int, int]]] = {}
        for url, text in pages:
            words = re.findall(r"\w+", text.lower())
            for start in range(0, len(words), PIECE):
                self._add(url, words[start : start + PIECE])
        self._mean = sum(length for _, length in self._pieces) / max(1, len(self._pieces))

    @classmethod
    async def of(cls, pool: asyncpg.Pool[Any]) -> Baseline:
        """Over all pages of the knowledge base."""
        return cls([(row["url"], row["full_content"]) for row in await pool.fetch(_PAGES)])

    def _add(self, url: str, words: Sequence[str]) -> None:
        for word, count in Counter(words).items():
            self._postings.setdefault(word, []).append((len(self._pieces), count))
        self._pieces.append((url, len(words)))

    async def find(self, query: str) -> list[str]:
        """The pages by their best piece."""
        scores: Counter[int] = Counter()
        for word in set(re.findall(r"\w+", query.lower())):
            postings = self._postings.get(word, [])
            rarity = math.log(1 + (len(self._pieces) - len(postings) + 0.5) / (len(postings) + 0.5))
            for piece, count in postings:
                length = self._pieces[piece][1] / self._mean
                scores[piece] += rarity * count * (K1 + 1) / (count + K1 * (1 - B + B * length))  # type: ignore[assignment]
        return list(dict.fromkeys(self._pieces[piece][0] for piece, _ in scores.most_common(40 * DEPTH)))


async def compare(
    pool: asyncpg.Pool[Any], questions: Sequence[Question], embedder: Embedder | None
) -> dict[str, Measured]:
    """How BM25, full text alone and, with an embedder, full text with vectors do."""

    def asked(search: Search) -> Find:
        async def find(query: str) -> list[str]:
            found = await search.find(Query(text=query, kind="pages", count=DEPTH))
            return [hit.url for hit in found.hits]

        return find

    baseline = await Baseline.of(pool)
    ways = {"BM25 over 250 words": baseline.find, "full text": asked(Search(pool))}
    if embedder is not None:
        ways["full text with vectors"] = asked(Search(pool, embedder))
    for find in ways.values():
        await find(questions[0].query)  # the first of all pays for what is loaded once
    return {way: await measure(questions, find) for way, find in ways.items()}


async def fingerprint(pool: asyncpg.Pool[Any]) -> str:
    """The hash of what was read: over the hashes of all documents in order, so that names do not matter."""
    hashes = sorted(row["content_hash"] for row in await pool.fetch(_HASHES))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
