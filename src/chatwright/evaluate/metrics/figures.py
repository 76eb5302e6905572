"""From values of items to a figure with its interval, and to a difference of two models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chatwright.errors import DataError
from chatwright.evaluate.metrics.answers import Columns
from chatwright.evaluate.results import Metric
from chatwright.evaluate.statistics import (
    STATISTICS,
    Difference,
    Estimate,
    Sample,
    difference,
    estimate,
)


def figure(metric: Metric, values: Sequence[Columns], *, seed: int, resamples: int) -> Estimate:
    """The figure over the items that have values. Raises `DataError` where none has."""
    used = [one for one in values if one is not None]
    _some(metric, len(used), len(values))
    return estimate([_sample(metric, used)], seed=seed, resamples=resamples)


def paired(
    metric: Metric,
    baseline: Sequence[Columns],
    other: Sequence[Columns],
    *,
    seed: int,
    resamples: int,
) -> Difference:
    """`other − baseline` over the items that have values in both. Raises `DataError` for none.

    Item i of one is item i of the other.
    """
    pairs = [
        (first, second)
        for first, second in zip(baseline, other, strict=True)
        if first is not None and second is not None
    ]
    _some(metric, len(pairs), len(baseline))
    first, second = (_sample(metric, side) for side in zip(*pairs, strict=True))
    return difference([first], [second], seed=seed, resamples=resamples)


def _sample(metric: Metric, values: Sequence[tuple[float, ...]]) -> Sample:
    return Sample(np.array(values, dtype=np.float64), STATISTICS[metric.statistic])


def _some(metric: Metric, count: int, of: int) -> None:
    if not count:
        raise DataError(
            f"{metric.name} applies to none of the {of} items",
            hint="it may need references, probabilities, passages with a gold one, another "
            "language, or more than one item",
        )
