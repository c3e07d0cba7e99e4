"""Measuring: the file of queries, where an answer is, the baseline, and the command that prints a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from archon_transport.knowledge.evaluate import Baseline, EvaluationError, Question, load, measure
from tests.needs import needs_path

EVALUATION = Path(__file__).parents[1] / "evaluation"
DOCUMENTATION = Path("/usr/share/doc/python3.11/html")


def test_an_answer_is_a_url_or_its_end():
    """The first result that is one of the answers counts, whatever its fragment."""
    question = Question("q", ("library/os.html",))
    assert question.rank(["file:///x/posix/library/os.html#name"]) == 1
    assert question.rank(["https://x/anotherlibrary/os.html", "library/os.html"]) == 2
    assert question.rank(["https://x/library/os.path.html"]) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "no", '{"corpus": {"name": "x"}}', '{"corpus": {"name": "x"}}\n{}']
)
def test_a_file_that_is_no_evaluation_is_refused(tmp_path, text):
    """The error names the file."""
    path = tmp_path / "queries.jsonl"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=r"queries\.jsonl"):
        load(path)


async def test_the_measures():
    """hit@1, hit@5 and MRR over ranks 1, 3, 7 and none."""
    found = {"a": "a", "b": "..a", "c": "......a", "d": "."}

    async def find(query: str) -> str:
        return found[query]

    measured = await measure([Question(query, ("a",)) for query in found], find)
    assert (measured.hit_at_1, measured.hit_at_5) == (0.25, 0.5)
    assert measured.mrr == pytest.approx((1 + 1 / 3 + 1 / 7) / 4, abs=0.001)
    assert measured.missed == ["c", "d"]


async def test_the_baseline_finds_the_page_with_the_rare_word():
    """Plain BM25: the page whose best piece has most of what is rare."""
    pages = [(f"page{number}", "a word and another word " * 200) for number in range(5)]
    baseline = Baseline([*pages, ("wanted", "a word " * 900 + "zebra")])
    assert (await baseline.find("a zebra word"))[0] == "wanted"


def test_the_committed_files_are_whole():
    """300 known items and 100 questions about one corpus, each with an answer, none twice."""
    known, natural = load(EVALUATION / "known_items.jsonl"), load(EVALUATION / "questions.jsonl")
    assert (len(known.questions), len(natural.questions)) == (300, 100)
    assert known.sha256 == natural.sha256 is not None
    for evaluation in (known, natural):
        assert len({question.query for question in evaluation.questions}) == len(evaluation.questions)
        assert all(question.answers for question in evaluation.questions)


@pytest.mark.long
def test_the_known_items_can_be_made_again():
    """The generator gives the committed file, byte for byte, from the documentation that it names."""
    needs_path(str(DOCUMENTATION), "python3.11-doc")
    made = subprocess.run(
        [sys.executable, EVALUATION / "known_items.py", DOCUMENTATION], capture_output=True, check=True
    )
    committed = (EVALUATION / "known_items.jsonl").read_bytes()
    if made.stdout.splitlines()[0] != committed.splitlines()[0]:
        pytest.skip("this is another edition of the documentation than the one that the file names")
    assert made.stdout == committed


@pytest.mark.long
def test_the_command_prints_both_ways_of_searching(dsn, tmp_path):
    """`evaluate --json` on a small folder taken in by `ingest`: full text and the baseline, and the hash."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "zebra.md").write_text("# Zebra\n\nIt has stripes.\n")
    (folder / "horse.md").write_text("# Horse\n\nIt has none.\n")
    queries = tmp_path / "queries.jsonl"
    header = {"corpus": {"name": "animals", "sha256": "0"}}
    lines = [header, {"query": "stripes", "answers": ["docs/zebra.md"]}]
    queries.write_text("\n".join(json.dumps(line) for line in lines))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "archon_transport", *map(str, words), "--database-url", dsn]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("ingest", folder).returncode == 0
    answer = json.loads(run("evaluate", queries, "--json").stdout)
    assert answer["full text"]["hit_at_1"] == answer["BM25 over 250 words"]["hit_at_1"] == 1
    table = run("evaluate", queries).stdout
    assert "not exactly these documents" in table and "hit@5" in table
