"""Whether answers differ from each other, and whether one repeats itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from chatwright.evaluate.metrics.answers import Answer, Columns
from chatwright.evaluate.metrics.tokens import ngram_counts, ngrams
from chatwright.evaluate.text import rouge_tokens

_LONGEST = 4
_EPSILON = 0.1  # nltk's SmoothingFunction.method1, which Texygen uses


def distinct(n: int) -> Callable[[Sequence[Answer]], list[Columns]]:
    """The score of distinct-n (Li et al. 2016): different n-grams ÷ n-grams of all answers.

    Each occurrence of an n-gram that occurs c times in the set counts 1/c, so that the items' sums
    give the number of different ones exactly. An answer of fewer than n words has no n-gram.
    """

    def score(answers: Sequence[Answer]) -> list[Columns]:
        grams = [ngrams(rouge_tokens(a.prose), n) for a in answers]
        counts = Counter(gram for one in grams for gram in one)
        return [
            (math.fsum(1 / counts[gram] for gram in one), float(len(one))) if one else None
            for one in grams
        ]

    return score


def self_bleu(answers: Sequence[Answer]) -> list[Columns]:
    """BLEU-4 of each answer against all others (Zhu et al. 2018), 0…1; 1: all say the same.

    Equals nltk's `sentence_bleu` with `SmoothingFunction().method1`, in time linear in the words.
    """
    counts = [ngram_counts(rouge_tokens(a.prose), _LONGEST) for a in answers]
    if len(counts) < 2:
        return [None] * len(counts)
    # The most and the second most that any one answer holds of an n-gram: without answer i, the
    # others' most is the second where i itself has the most.
    most: dict[tuple[str, ...], tuple[int, int]] = {}
    for one in counts:
        for by_n in one:
            for gram, count in by_n.items():
                first, second = most.get(gram, (0, 0))
                most[gram] = (max(first, count), max(second, min(first, count)))
    lengths = Counter(one[0].total() for one in counts)
    return [(_bleu_of(one, most, lengths), 1.0) for one in counts]


def _bleu_of(
    counts: list[Counter[tuple[str, ...]]],
    most: dict[tuple[str, ...], tuple[int, int]],
    lengths: Counter[int],
) -> float:
    length = counts[0].total()
    logs = 0.0
    for n, by_n in enumerate(counts):
        shared = 0
        for gram, count in by_n.items():
            first, second = most[gram]
            shared += min(count, second if count == first else first)
        if n == 0 and not shared:
            return 0.0
        logs += math.log((shared or _EPSILON) / max(1, by_n.total())) / _LONGEST
    others = (n for n, times in lengths.items() if n != length or times > 1)
    closest = min(others, key=lambda n: (abs(n - length), n))
    return min(1.0, math.exp(1 - closest / length)) * math.exp(logs)


def repeated(n: int) -> Callable[[Answer], float | None]:
    """rep-n of one answer (Welleck et al. 2020): 1 − different n-grams ÷ n-grams."""

    def value(answer: Answer) -> float | None:
        grams = ngrams(rouge_tokens(answer.prose), n)
        return 1 - len(set(grams)) / len(grams) if grams else None

    return value


def repetition(answer: Answer) -> float | None:
    """Share of the answer's words that stand in a 4-gram which it has more than once."""
    tokens = rouge_tokens(answer.prose)
    if not tokens:
        return None
    grams = ngrams(tokens, 4)
    counts = Counter(grams)
    inside = {at + k for at, gram in enumerate(grams) if counts[gram] > 1 for k in range(4)}
    return len(inside) / len(tokens)


def longest_repeat(answer: Answer) -> float | None:
    """Words of the longest run that the answer has at least twice; the two may overlap."""
    tokens = rouge_tokens(answer.prose)
    if not tokens:
        return None
    # names[k][i] is equal for two places where the next 2^k words are equal.
    known: dict[str, int] = {}
    names = [np.array([known.setdefault(t, len(known)) for t in tokens], dtype=np.int64)]
    while len(np.unique(names[-1])) < len(names[-1]) and len(names[-1]) > 2 ** (len(names) - 1):
        names.append(_joined(names[-1], names[-1], 2 ** (len(names) - 1)))
    length, current = 0, np.zeros(len(tokens) + 1, dtype=np.int64)
    for power in range(len(names) - 1, -1, -1):
        tried = _joined(current, names[power], length)
        if len(np.unique(tried)) < len(tried):
            length, current = length + 2**power, tried
    return float(length)


def _joined(first: np.ndarray, second: np.ndarray, distance: int) -> np.ndarray:
    """Names of the runs that are one of `first` and, `distance` words on, one of `second`."""
    count = max(0, min(len(first), len(second) - distance))
    pairs = first[:count] * (second.max(initial=0) + 1) + second[distance : distance + count]
    return np.unique(pairs, return_inverse=True)[1].astype(np.int64)
