"""BLEU and chrF of a whole set of answers: counts by sacrebleu, summed, then the figure.

Both are ratios of counts over the corpus and no mean of items. Each answer therefore gives the
counts that sacrebleu sums, so that a bootstrap draws answers and computes the figure anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from chatwright.evaluate.metrics.answers import Answer, Columns
from chatwright.evaluate.statistics import Floats

_ORDERS = 4
_BETA_SQUARED = 4.0


def bleu_counts(answers: Sequence[Answer]) -> list[Columns]:
    """(length, reference length, matched 1…4-grams, 1…4-grams) of each answer.

    Tokenized as mteval-v13a does, Chinese by sacrebleu's `zh`.
    """
    out: list[Columns] = []
    for answer in answers:
        if not answer.references:
            out.append(None)
            continue
        scorer = _bleu("zh" if answer.chinese else "13a")
        out.append(_counts(scorer, answer))
    return out


def chrf_counts(words: int) -> Callable[[Sequence[Answer]], list[Columns]]:
    """(n-grams of the answer, of the reference, matched) for characters 1…6 and words 1…`words`.

    Of several references the one with the best score of its own counts, as in sacrebleu.
    """

    def score(answers: Sequence[Answer]) -> list[Columns]:
        scorer = _chrf(words)
        return [_counts(scorer, answer) if answer.references else None for answer in answers]

    return score


def bleu(sums: Floats) -> Floats:
    """BLEU (Papineni et al. 2002), 0…100, from `bleu_counts`' sums [resamples, 10].

    Orders without a match are smoothed as NIST's mteval does it (`exp`, sacrebleu's default).
    """
    length, wanted = sums[:, 0], sums[:, 1]
    matched, total = sums[:, 2 : 2 + _ORDERS], sums[:, 2 + _ORDERS :]
    # The k-th order without a match counts 1 / 2^k matches.
    empty = (matched == 0) & (total > 0)
    halves = np.power(2.0, -np.cumsum(empty, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.where(empty, halves, matched) / total
        brevity = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
        figure = 100 * brevity * np.exp(np.log(precisions).mean(axis=1))
    return np.where((total > 0).all(axis=1) & (matched > 0).any(axis=1), figure, 0.0)


def chrf(sums: Floats) -> Floats:
    """The chrF (Popović 2015) or chrF++ (2017), 0…100, of `chrf_counts`' sums [resamples, 3n].

    Precision and recall are averaged over the orders that occur in both texts, then F with β 2.
    """
    said, wanted, matched = (sums[:, i::3] for i in range(3))
    used = (said > 0) & (wanted > 0)
    orders = np.maximum(used.sum(axis=1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(used, matched / said, 0.0).sum(axis=1) / orders
        recall = np.where(used, matched / wanted, 0.0).sum(axis=1) / orders
        figure = (1 + _BETA_SQUARED) * precision * recall / (_BETA_SQUARED * precision + recall)
    return np.where(precision + recall > 0, 100 * figure, 0.0)


def _counts(scorer: Any, answer: Answer) -> tuple[float, ...]:
    # The counts of one segment are what sacrebleu's own significance tests resample.
    (counts,) = scorer._extract_corpus_statistics([answer.prose], [[r] for r in answer.wanted])
    return tuple(float(c) for c in counts)


@cache
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, force=True)


@cache
def _chrf(words: int) -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=words)
