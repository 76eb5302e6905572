"""CIDEr: how far an answer says what all references say, rare words counting most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatwright.evaluate.metrics.answers import Answer, Columns
from chatwright.evaluate.metrics.tokens import ngram_counts
from chatwright.evaluate.text import rouge_tokens

_LONGEST = 4
_SIGMA = 6.0

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Vector:
    """tf-idf weights of a text's n-grams for each n, their norms, and its number of bigrams."""

    weights: list[dict[Gram, float]]
    norms: list[float]
    length: int


def cider(*, clipped: bool) -> Callable[[Sequence[Answer]], list[Columns]]:
    """The score of CIDEr, or with `clipped` of CIDEr-D (Vedantam et al. 2015), 0…10.

    Document frequencies come from the references of the set itself. An answer without references
    has no value; in a set of fewer than two with references nobody has, for every n-gram then
    occurs in all of them and weighs nothing.
    """

    def score(answers: Sequence[Answer]) -> list[Columns]:
        references = [[_count(r) for r in a.wanted] for a in answers]
        documents = sum(bool(r) for r in references)
        if documents < 2:
            return [None] * len(answers)
        frequency: Counter[Gram] = Counter()
        for one in references:
            frequency.update({gram for counts in one for by_n in counts for gram in by_n})
        logs = {gram: math.log(count) for gram, count in frequency.items()}
        out: list[Columns] = []
        for answer, wanted in zip(answers, references, strict=True):
            if not wanted:
                out.append(None)
                continue
            said = _vector(_count(answer.prose), logs, math.log(documents))
            likeness = [
                _likeness(said, _vector(counts, logs, math.log(documents)), clipped)
                for counts in wanted
            ]
            out.append((10 * sum(likeness) / len(likeness), 1.0))
        return out

    return score


def _count(text: str) -> list[Counter[Gram]]:
    return ngram_counts(rouge_tokens(text), _LONGEST)


def _vector(counts: list[Counter[Gram]], logs: dict[Gram, float], documents: float) -> _Vector:
    weights = [
        {gram: count * (documents - logs.get(gram, 0.0)) for gram, count in by_n.items()}
        for by_n in counts
    ]
    norms = [math.sqrt(sum(w * w for w in by_n.values())) for by_n in weights]
    return _Vector(weights, norms, counts[1].total())


def _likeness(said: _Vector, wanted: _Vector, clipped: bool) -> float:
    """Cosine of the two, averaged over n; clipped, a word said too often earns nothing more."""
    total = 0.0
    for n in range(_LONGEST):
        norm = said.norms[n] * wanted.norms[n]
        if not norm:
            continue
        theirs = wanted.weights[n]
        for gram, weight in said.weights[n].items():
            other = theirs.get(gram, 0.0)
            total += (min(weight, other) if clipped else weight) * other / norm
    if clipped:
        # The reference implementation measures length in bigrams.
        total *= math.exp(-((said.length - wanted.length) ** 2) / (2 * _SIGMA**2))
    return total / _LONGEST
