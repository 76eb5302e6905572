"""Figures of a set of answers, and the difference between two models' sets."""

from __future__ import annotations

from collections.abc import Sequence

from chatwright.evaluate.metrics.answers import Answer
from chatwright.evaluate.metrics.figures import figure, paired
from chatwright.evaluate.metrics.registry import text_metric
from chatwright.evaluate.statistics import RESAMPLES, Difference, Estimate


def aggregate(
    answers: Sequence[Answer],
    names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """The figure of each metric over the answers that it applies to, with its bootstrap interval.

    An estimate's `count` says how many answers those are. Raises `UsageError` for an unknown name
    and `DataError` for a metric that applies to none of the answers.
    """
    found = {name: text_metric(name) for name in names}
    return {
        name: figure(one.metric, one.score(answers), seed=seed, resamples=resamples)
        for name, one in found.items()
    }


def compare(
    baseline: Sequence[Answer],
    other: Sequence[Answer],
    names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """`other − baseline` of each metric on the same items, by a paired bootstrap.

    Answer i of one belongs to the same item as answer i of the other; items to which a metric
    applies for only one of them are left out. Raises as `aggregate` does, and `ValueError` for
    lists of different lengths.
    """
    if len(baseline) != len(other):
        raise ValueError(f"{len(baseline)} answers cannot be paired with {len(other)}")
    found = {name: text_metric(name) for name in names}
    return {
        name: paired(
            one.metric, one.score(baseline), one.score(other), seed=seed, resamples=resamples
        )
        for name, one in found.items()
    }
