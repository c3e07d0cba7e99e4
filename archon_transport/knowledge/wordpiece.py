"""Text to the token ids that BERT models were trained on: WordPiece over the uncased vocabulary.

A word that the vocabulary lacks is cut into the longest pieces that it has, from the left. The model
package carries no tokenizer, and this is all of one that an English MiniLM needs. `local` calls it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib import resources

LONGEST_WORD = 100
"""Characters of a word that is still cut into pieces; BERT's own limit."""

_UNKNOWN, _START, _END = "[UNK]", "[CLS]", "[SEP]"


@cache
def vocabulary() -> dict[str, int]:
    """Every piece with its id, which is its line in the file."""
    text = (resources.files(__package__) / "data" / "vocab.txt").read_text("utf-8")
    return {piece: number for number, piece in enumerate(text.split("\n")[:-1])}


def encode(text: str, limit: int = 256) -> list[int]:
    """The ids of a text between its start and end marks, `limit` in all at most."""
    known = vocabulary()
    ids = [known[_START]]
    for word in _words(text):
        ids += _pieces(word)
        if len(ids) >= limit:
            break
    return [*ids[: limit - 1], known[_END]]


def _words(text: str) -> Iterator[str]:
    """Lower-case words without accents; a mark of punctuation and a CJK character is a word of its own."""
    word: list[str] = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn" or (category[0] == "C" and character not in "\t\n\r") or character == "\ufffd":
            continue
        alone = _is_punctuation(character, category) or _is_cjk(ord(character))
        if alone or character.isspace():
            if word:
                yield "".join(word)
                word.clear()
            if alone:
                yield character
        else:
            word.append(character)
    if word:
        yield "".join(word)


def _is_punctuation(character: str, category: str) -> bool:
    return category[0] == "P" or (
        character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    )


def _is_cjk(point: int) -> bool:
    return (
        0x3400 <= point <= 0x4DBF
        or 0x4E00 <= point <= 0x9FFF
        or 0xF900 <= point <= 0xFAFF
        or (0x20000 <= point <= 0x2FA1F)
    )


def _pieces(word: str) -> list[int]:
    known = vocabulary()
    if word in known:
        return [known[word]]
    found: list[int] = []
    start = 0
    while start < len(word) <= LONGEST_WORD:
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in known), None)
        if end is None:
            break
        found.append(known[mark + word[start:end]])
        start = end
    return found if start == len(word) else [known[_UNKNOWN]]
