"""How much of each text repeats itself, by word n-grams: Gopher's measures for a batch at once.

An n-gram that stands twice begins with an (n-1)-gram that stands twice, so each length looks only
at what the one before left over. n-grams are compared by number, not by hash: no two are mistaken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)
_SHIFT = 31  # more words than a batch can have


def repeated_characters(
    words: NDArray[np.int64], lengths: NDArray[np.int64], starts: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Characters of each text in its most frequent n-gram (2…4) or in duplicate ones (5…10).

    `words` are all texts' word numbers one after the other, `lengths` their characters, `starts`
    `[texts + 1]` where each text begins. Rae et al. 2021, appendix A.1.1, as datatrove counts them,
    whose way FineWeb-2's bounds were found with:

    2…4: occurrences times length, of the most frequent n-gram that stands at least twice (the
    first of equally frequent ones), with one space between words, in Chinese too.
    5…10: from the left, an n-gram that was seen before counts with its characters, without spaces,
    and the next one looked at begins after it.
    """
    texts = len(starts) - 1
    found = {n: np.zeros(texts, np.int64) for n in (*TOP, *DUPLICATE)}
    count = len(words)
    if not count:
        return found
    text_of = np.repeat(np.arange(texts), np.diff(starts))
    ends = starts[1:][text_of]  # where the text of each word ends
    corpus = _Corpus(text_of, np.concatenate([[0], np.cumsum(lengths)]))
    at = np.arange(count)
    group = _numbers(text_of << _SHIFT | words)
    for n in range(2, DUPLICATE[-1] + 1):
        # Only what begins a repeated (n-1)-gram can begin a repeated n-gram.
        again = (np.bincount(group)[group] > 1) & (at + n <= ends[at])
        at, group = at[again], group[again]
        if not len(at):
            break
        group = _numbers(group << _SHIFT | words[at + n - 1])
        if n in TOP:
            corpus.add_most_frequent(found[n], n, at, group)
        else:
            corpus.add_duplicates(found[n], n, at, group)
    return found


def _numbers(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The keys as numbers from 0 in the order of their first appearance."""
    import pyarrow as pa

    indices: NDArray[np.int64] = pa.array(keys).dictionary_encode().indices.to_numpy()
    return indices.astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """`text_of` tells each word's text; `sums` are the characters before each word, `[words+1]`."""

    text_of: NDArray[np.int64]
    sums: NDArray[np.int64]

    def add_most_frequent(
        self, out: NDArray[np.int64], n: int, at: NDArray[np.int64], group: NDArray[np.int64]
    ) -> None:
        """Put occurrences times length of each text's most frequent n-gram into `out`."""
        counts = np.bincount(group)
        first = np.zeros(len(counts), np.int64)
        first[group[::-1]] = at[::-1]  # what is written last stays: the first occurrence
        twice = np.flatnonzero(counts > 1)
        if not len(twice):
            return
        text = self.text_of[first[twice]]
        # Each text's highest count, and of those the earliest: groups are in order of appearance.
        order = np.lexsort((twice, -counts[twice], text))
        best = order[np.concatenate([[True], np.diff(text[order]) != 0])]
        chosen, place = twice[best], first[twice[best]]
        out[text[best]] = counts[chosen] * (self.sums[place + n] - self.sums[place] + n - 1)

    def add_duplicates(
        self, out: NDArray[np.int64], n: int, at: NDArray[np.int64], group: NDArray[np.int64]
    ) -> None:
        """Add the characters of n-grams seen before, from the left and without overlap."""
        again = np.bincount(group)[group] > 1
        at, group = at[again], group[again]
        columns = (at, group, self.text_of[at], self.sums[at + n] - self.sums[at])
        seen: set[int] = set()
        free = 0  # the first word that no duplicate covers yet
        for place, key, text, size in zip(*(c.tolist() for c in columns), strict=True):
            if place < free:
                continue
            if key in seen:
                out[text] += size
                free = place + n
            else:
                seen.add(key)
