"""Permutation tests: how often chance alone gives a difference like this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.statistics import CONFIDENCE, Estimate

Floats = NDArray[np.float64]

PERMUTATIONS = 2_000


@dataclass(frozen=True, slots=True)
class Gap:
    """Highest less lowest column mean; what chance gives on average; how often it gives as much."""

    estimate: Estimate
    chance: float
    p_value: float


def group_gap(values: Floats, *, seed: int = 0, permutations: int = PERMUTATIONS) -> Gap:
    """The gap between the columns (groups) of `values` [rows, groups].

    A row is one prompt and one seed, written out for each group: a matched block. The interval
    draws rows again, whole. Under the null hypothesis the groups of a row can be exchanged, so the
    test shuffles within rows (Good 2005, section 3). A gap of means is never negative and grows
    with the number of groups, which is why `chance` stands beside it. Raises `ValueError` for fewer
    than two groups or no row.
    """
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise ValueError("a gap needs at least one row and two groups")
    random = np.random.default_rng(seed)
    observed = _gap(values)
    rows = len(values)
    drawn = np.array([_gap(values[random.integers(0, rows, rows)]) for _ in range(permutations)])
    shuffled = np.array([_gap(random.permuted(values, axis=1)) for _ in range(permutations)])
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    # A shuffle that changes nothing must count as equal, whatever the order of its additions.
    reached = int(np.count_nonzero(shuffled >= observed - 1e-12))
    return Gap(
        Estimate(observed, float(low), float(high), rows),
        float(shuffled.mean()),
        (reached + 1) / (permutations + 1),
    )


def _gap(values: Floats) -> float:
    means = values.mean(axis=0)
    return float(means.max() - means.min())


def mean_difference(
    first: Floats, second: Floats, *, seed: int = 0, permutations: int = PERMUTATIONS
) -> float:
    """One-sided p-value that `first` is higher on average than `second` only by chance."""
    random = np.random.default_rng(seed)
    pooled = np.concatenate([first, second])
    observed = first.mean() - second.mean()
    reached = 0
    for _ in range(permutations):
        shuffled = random.permutation(pooled)
        reached += shuffled[: len(first)].mean() - shuffled[len(first) :].mean() >= observed - 1e-12
    return float((reached + 1) / (permutations + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979): each may be held against 0.05 by itself."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted
