"""Makes the known-item queries from the documentation's own general index: 300 entries, drawn with a seed.

    python tests/knowledge/evaluation/known_items.py /usr/share/doc/python3.11/html > known_items.jsonl

An entry of the index is a query ("TaskGroup (class in asyncio)"), the pages it leads to are its answers.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

SEED, COUNT = 311, 300

NOT_CONTENT = r"genindex.*|search|py-modindex|contents"
"""Names of the pages that only lead to others: they are no part of what is searched."""


def corpus(folder: Path) -> dict[str, object]:
    """What the queries are about: how many files, and a hash over the hashes of them all."""
    files = [path for path in folder.rglob("*.html") if not re.fullmatch(NOT_CONTENT, path.stem)]
    hashes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return {"name": "python3.11-doc 3.11.2-6+deb12u9 (Debian)", "files": len(hashes), "sha256": digest}


class Index(HTMLParser):
    """Reads the list entries of a general index: the words above an entry, its own words, its links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, set[str]] = {}
        self._open: list[tuple[list[str], list[str]]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table" and "genindextable" in (given.get("class") or ""):
            self._inside = True
        if not self._inside:
            return
        if tag == "li":
            self._open.append(([], []))
        elif tag == "ul" and self._open:
            self._note()
        elif tag == "a" and self._open:
            self._open[-1][1].append((given.get("href") or "").partition("#")[0])

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._inside = False
        elif tag == "li" and self._open:
            self._note()
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._open:
            self._open[-1][0].append(data)

    def _note(self) -> None:
        """Keep the innermost entry once its own line is read."""
        _, links = self._open[-1]
        if links and (entry := " ".join(self._names())):
            self.found.setdefault(entry, set()).update(links)
            links.clear()

    def _names(self) -> Iterator[str]:
        for depth, (words, _) in enumerate(self._open, 1):
            text = re.sub(r"(,?\s*\[\d+\])+", "", " ".join("".join(words).split()))
            inner = depth < len(self._open)
            yield re.sub(r"\s*\(.*\)$", "", text) if inner and self._below_in_brackets() else text

    def _below_in_brackets(self) -> bool:
        """Whether the innermost entry says again, in brackets, what the one above it is."""
        return "".join(self._open[-1][0]).strip().startswith("(")


def entries(folder: Path) -> dict[str, set[str]]:
    """Every entry with the pages that it leads to; those that only point to another entry are left out."""
    index = Index()
    index.feed((folder / "genindex-all.html").read_text(encoding="utf-8"))
    return {entry: pages for entry, pages in index.found.items() if not re.search(r"\bsee (also )?\w", entry)}


def main(folder: Path) -> None:
    found = entries(folder)
    chosen = sorted(random.Random(SEED).sample(sorted(found), COUNT))
    print(json.dumps({"corpus": corpus(folder), "queries": COUNT}))
    for entry in chosen:
        print(json.dumps({"query": entry, "answers": sorted(found[entry])}, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
