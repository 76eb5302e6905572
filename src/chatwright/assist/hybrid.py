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

if TYPE_CHECKING:
    from numpy.typing import NDArray

RRF_K = 60  # the paper's: how little the first places count for more than those after them
DEPTH = 50  # places of each ranking that take part
# Cosines of multilingual-e5-small between a question and passages that have nothing to do with it
# reach 0.82; what only the vectors find must be nearer than that (tests/assist/test_hybrid.py).
NEAR = 0.82


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
        self._missing = None if self._vectors is None else ~self._vectors.any(axis=1)

    def by_words(self, query: str) -> list[tuple[int, float]]:
        """(row, BM25 score), best first."""
        return self._words.search(query, DEPTH) if self.rows else []

    def cosines(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of each row `[n]`; -1 for a row without a vector."""
        if self._vectors is None:
            return np.full(self.rows, -1.0, np.float32)
        found = self._vectors.astype(np.float32) @ vector
        found[self._missing] = -1.0
        return found


def search(
    indexes: Sequence[HybridIndex], query: str, vector: NDArray[np.float32] | None, k: int
) -> list[Hit]:
    """The best `k` passages of all indexes together, best first.

    The same indexes, query and vector give the same list: of equal scores what words found comes
    first, then it goes by index and row. A passage that no word of the query finds must be near in
    meaning (`NEAR`) to be there at all.
    """
    # BM25 scores of two indexes are near enough to one scale to be sorted into one ranking.
    words = [
        (-score, number, row)
        for number, index in enumerate(indexes)
        for row, score in index.by_words(query)
    ]
    rankings = [[(number, row) for _, number, row in sorted(words)][:DEPTH]]
    told = set(rankings[0])
    if vector is not None:
        near: list[tuple[float, int, int]] = []
        for number, index in enumerate(indexes):
            cosines = index.cosines(vector)
            best = np.argsort(-cosines, kind="stable")[:DEPTH]
            rows = {int(row) for row in best} | {row for n, row in told if n == number}
            near += [
                (-float(cosines[row]), number, row)
                for row in rows
                if cosines[row] >= NEAR or ((number, row) in told and cosines[row] > 0)
            ]
        rankings.append([(number, row) for _, number, row in sorted(near)][:DEPTH])
    scores: dict[tuple[int, int], float] = {}
    for ranking in rankings:
        for place, found in enumerate(ranking, start=1):
            scores[found] = scores.get(found, 0.0) + 1.0 / (RRF_K + place)
    order = sorted(scores, key=lambda found: (-scores[found], found not in told, found))
    return [Hit(number, row, scores[number, row]) for number, row in order[:k]]
