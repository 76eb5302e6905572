"""Passages found by their words and by their meaning at once.

BM25 (`curate.bm25`) finds names, numbers and rare words; vectors find what says the same in other
words, or in another language. The two rankings are fused by reciprocal rank (Cormack, Clarke and
Buettcher 2009), which needs no common scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chatwright.curate.bm25 import SearchIndex
from chatwright.curate.words import is_chinese

if TYPE_CHECKING:
    from numpy.typing import NDArray

RRF_K = 60  # the paper's: how little the first places count for more than those after them
DEPTH = 50  # places of each ranking that take part
# What only the vectors find must be nearer to the question than a passage about anything else is,
# by so much. Of 40 questions of BoolQ it keeps every answer, of 40 of Alpaca in Chinese 95 %, and
# of ten that were asked in one language of a passage in the other, nine.
NEARER = 0.05


@dataclass(frozen=True, slots=True)
class Meaning:
    """A question's vector `[d]`, and its usual cosine with passages that are not about it.

    multilingual-e5 puts two texts of one language nearer to each other than their meaning does, and
    some questions near to everything: so nearness is told from what is `usual` for the question,
    with passages in English (and all else) and with passages in Chinese.
    """

    vector: NDArray[np.float32]
    usual: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A passage to be found: the headings from the document's title down, and its text."""

    headings: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found: which index, which row of it, and the fused score (0 … 2/61)."""

    index: int
    row: int
    score: float


class HybridIndex:
    """An index over passages, in memory. Read-only, so that threads may share one.

    `vectors` float `[n, d]` of length 1 each; a row of zeros is a passage without a vector (yet),
    which words alone find. None: there are no vectors at all.
    """

    def __init__(self, entries: Sequence[Entry], vectors: NDArray[np.floating] | None) -> None:
        if vectors is not None and len(vectors) != len(entries):
            raise ValueError(f"{len(entries)} passages and {len(vectors)} vectors")
        self.rows = len(entries)
        self._words = SearchIndex.build([(entry.headings, entry.text) for entry in entries])
        self._vectors = None if vectors is None or not len(vectors) else np.asarray(vectors)
        self._chinese = np.array([is_chinese(entry.text) for entry in entries], bool)
        self._missing = None if self._vectors is None else ~self._vectors.any(axis=1)

    def by_words(self, query: str) -> list[tuple[int, float]]:
        """(row, BM25 score), best first."""
        return self._words.search(query, DEPTH) if self.rows else []

    def nearness(self, meaning: Meaning) -> NDArray[np.float32]:
        """By how much each row `[n]` is nearer than usual; -1 for a row without a vector."""
        if self._vectors is None:
            return np.full(self.rows, -1.0, np.float32)
        found = self._vectors.astype(np.float32) @ meaning.vector
        found -= np.where(self._chinese, meaning.usual[1], meaning.usual[0]).astype(np.float32)
        found[self._missing] = -1.0
        return found


def search(
    indexes: Sequence[HybridIndex], query: str, meaning: Meaning | None, k: int
) -> list[Hit]:
    """The best `k` passages of all indexes together, best first.

    The same indexes, query and meaning give the same list: of equal scores what words found comes
    first, then it goes by index and row. A passage that no word of the query finds must be nearer
    in meaning than others are (`NEARER`) to be there at all.
    """
    # BM25 scores of two indexes are near enough to one scale to be sorted into one ranking.
    words = [
        (-score, number, row)
        for number, index in enumerate(indexes)
        for row, score in index.by_words(query)
    ]
    rankings = [[(number, row) for _, number, row in sorted(words)][:DEPTH]]
    told = set(rankings[0])
    if meaning is not None:
        near: list[tuple[float, int, int]] = []
        for number, index in enumerate(indexes):
            nearness = index.nearness(meaning)
            best = np.argsort(-nearness, kind="stable")[:DEPTH]
            rows = {int(row) for row in best} | {row for n, row in told if n == number}
            near += [
                (-float(nearness[row]), number, row)
                for row in rows
                if nearness[row] >= NEARER or ((number, row) in told and nearness[row] > 0)
            ]
        rankings.append([(number, row) for _, number, row in sorted(near)][:DEPTH])
    scores: dict[tuple[int, int], float] = {}
    for ranking in rankings:
        for place, found in enumerate(ranking, start=1):
            scores[found] = scores.get(found, 0.0) + 1.0 / (RRF_K + place)
    order = sorted(scores, key=lambda found: (-scores[found], found not in told, found))
    return [Hit(number, row, scores[number, row]) for number, row in order[:k]]
