"""`archon-transport evaluate FILE`: how well the search finds, beside a plain BM25 over the same pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .database import with_store
from .parser import CANNOT, DATABASE, EMBEDDER, command_parser, fail, read_command

if TYPE_CHECKING:
    from ..knowledge.embed import Embedder
    from ..knowledge.evaluate import Evaluation, Measured
    from ..store import PostgresStore

DESCRIPTION = """\
Ask the queries of FILE, whose answers are known, of the knowledge base, and say how often the first and the
first five results have the answer, and how long it took; beside it the same for BM25 over the same pages.

FILE has one JSON object a line: first {"corpus": {"name": ..., "sha256": ...}}, then queries:
{"query": "read a file line by line", "answers": ["tutorial/inputoutput.html"]}"""


def command(argv: Sequence[str]) -> int:
    """Measure, and print a table or JSON."""
    from ..knowledge.evaluate import EvaluationError, load

    parser = command_parser("evaluate", DESCRIPTION, (*DATABASE, *EMBEDDER))
    parser.add_argument("file", type=Path, metavar="FILE", help="queries with known answers")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    settings, typed = read_command(parser, argv)
    try:
        evaluation = load(typed.file)
    except EvaluationError as error:
        return fail(str(error), CANNOT)

    from .. import app
    from ..process import StartError

    try:
        embedder = app.open_embedder(settings)
    except StartError as error:
        return fail(str(error), CANNOT)
    return with_store(settings, lambda store: _evaluate(store, evaluation, embedder, typed.json))


async def _evaluate(
    store: PostgresStore, evaluation: Evaluation, embedder: Embedder | None, as_json: bool
) -> int:
    from ..knowledge.evaluate import compare, fingerprint

    read = await fingerprint(store.pool)
    try:
        measured = await compare(store.pool, evaluation.questions, embedder)
    finally:
        if embedder is not None:
            await embedder.close()
    if as_json:
        corpus = {"name": evaluation.corpus, "sha256": evaluation.sha256, "read": read}
        ways = {way: each.as_json() for way, each in measured.items()}
        print(
            json.dumps({"corpus": corpus, "queries": len(evaluation.questions), **ways}, ensure_ascii=False)
        )
        return 0
    print(f"{len(evaluation.questions)} queries about {evaluation.corpus}")
    if evaluation.sha256 != read:
        print(f"The knowledge base has not exactly these documents: {read}, not {evaluation.sha256}.")
    _table(measured)
    return 0


def _table(measured: dict[str, Measured]) -> None:
    print(f"{'':28}  hit@1   hit@5     MRR   p50 ms   p95 ms")
    for way, each in measured.items():
        print(
            f"{way:28}  {each.hit_at_1:5.3f}   {each.hit_at_5:5.3f}   {each.mrr:5.3f}"
            f"   {each.p50:6.1f}   {each.p95:6.1f}"
        )
