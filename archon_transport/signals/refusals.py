"""What was refused before it was admitted: counted by minute, rule, network and client, with one example.

A flood is a few rows: a minute tells at most `KEYS` kinds of refusals apart, on this node, and counts the
rest together. The writer of the sessions takes what has been counted and puts back what no store took.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

KEYS: Final = 1000
"""Kinds of refusals that one minute tells apart."""

WAITING: Final = 10_000
"""Kinds, of all minutes, that wait for a store that is away."""

_Key = tuple[int, str, str, str]


@dataclass(slots=True)
class Refusal:
    """How often one rule refused one kind of caller within a minute; `minute` is Unix time over 60."""

    minute: int
    rule: str
    bucket: str
    client: str
    status: int
    example: str
    count: int = 1


class Refusals:
    """The counts that no store has yet; `totals` are those of the whole process, by rule."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minute = 0
        self._seen: set[_Key] = set()
        self._waiting: dict[_Key, Refusal] = {}
        self.totals: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(refusal.count for refusal in self._waiting.values())

    def add(self, rule: str, bucket: str, client: str, status: int, example: str) -> None:
        """Count one refusal by `rule`, answered with `status` and the sentence `example`."""
        self.totals[rule] += 1
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute, self._seen = minute, set()
        refusal = Refusal(minute, rule, bucket, client, status, example)
        if len(self._seen) < KEYS and len(self._waiting) < WAITING:
            self._seen.add(_key(refusal))
        elif _key(refusal) not in self._seen:
            text = "More kinds of refusals in this minute than are told apart."
            refusal = Refusal(minute, "other", "other", "other", 0, text)
        self.put((refusal,))

    def put(self, refusals: Iterable[Refusal]) -> None:
        """Add to the counts: anew, or back after the store did not take them."""
        for refusal in refusals:
            known = self._waiting.setdefault(_key(refusal), refusal)
            if known is not refusal:
                known.count += refusal.count

    def take(self) -> list[Refusal]:
        """The counts, which begin anew."""
        taken, self._waiting = self._waiting, {}
        return list(taken.values())


def _key(refusal: Refusal) -> _Key:
    return refusal.minute, refusal.rule, refusal.bucket, refusal.client
