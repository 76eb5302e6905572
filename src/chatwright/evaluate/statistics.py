"""How sure a number is: bootstrap confidence intervals, and whether two models really differ.

Every figure here is a ratio of sums over items: a mean (each denominator 1), or a perplexity or
bits per byte (sum of losses over sum of tokens or bytes). Items are drawn again with replacement,
whole, so that a long answer stays one observation (Efron & Tibshirani 1993, chapters 13 and 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Transform = Callable[[Floats], Floats]

RESAMPLES = 5_000
CONFIDENCE = 0.95
# Rows of the index matrix made at a time: 5,000 × 100,000 items would not fit in memory.
_CELLS_AT_A_TIME = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its percentile bootstrap interval over `count` items."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """`other − baseline` on the same items, its interval, and how likely chance alone gives it.

    `p_value` is two-sided; `significant` says whether it lies below 1 − confidence.
    """

    value: float
    low: float
    high: float
    p_value: float
    significant: bool
    count: int


def identity(values: Floats) -> Floats:
    """No transform: the ratio itself."""
    return values


def bootstrap(
    numerator: Floats,
    denominator: Floats | None = None,
    *,
    transform: Transform = identity,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """`transform(sum numerator / sum denominator)` with its interval; a mean where none is given.

    `numerator`, `denominator`: [items]. The same seed gives the same interval. With one item the
    interval is that item's value. Raises `ValueError` for no items or a denominator ≤ 0.
    """
    top, bottom = _pair(numerator, denominator)
    values = _resampled([(top, bottom)], transform, seed, resamples)[0]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = transform(np.asarray(top.sum() / bottom.sum()))
    return Estimate(float(value), float(low), float(high), len(top))


def paired_bootstrap(
    baseline: tuple[Floats, Floats | None],
    other: tuple[Floats, Floats | None],
    *,
    transform: Transform = identity,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models on the same items: each resample draws the same items for both.

    `baseline` and `other` are (numerator, denominator or None), item i of one belonging to item i
    of the other. The p-value is the share of resamples in which the difference changes sign,
    doubled, with one added to each count so that it is never 0 (Koehn 2004; Davison & Hinkley
    1997, section 4.2).
    """
    first, second = _pair(*baseline), _pair(*other)
    if len(first[0]) != len(second[0]):
        raise ValueError("paired comparison needs the same items for both models")
    values = _resampled([first, second], transform, seed, resamples)
    differences = values[1] - values[0]
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    point = transform(np.asarray(second[0].sum() / second[1].sum())) - transform(
        np.asarray(first[0].sum() / first[1].sum())
    )
    below = (np.count_nonzero(differences <= 0) + 1) / (resamples + 1)
    above = (np.count_nonzero(differences >= 0) + 1) / (resamples + 1)
    p_value = min(1.0, 2 * min(below, above))
    return Difference(
        value=float(point),
        low=float(low),
        high=float(high),
        p_value=float(p_value),
        significant=bool(p_value < 1 - confidence),
        count=len(first[0]),
    )


def _pair(numerator: Floats, denominator: Floats | None) -> tuple[Floats, Floats]:
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.ones_like(top) if denominator is None else np.asarray(denominator, np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError("numerator and denominator must be lists of the same length")
    if not len(top):
        raise ValueError("there is nothing to estimate from: no items")
    if not np.isfinite(top).all() or not (bottom > 0).all():
        raise ValueError("values must be finite and denominators above 0")
    return top, bottom


def _resampled(
    pairs: list[tuple[Floats, Floats]], transform: Transform, seed: int, resamples: int
) -> list[Floats]:
    """For each pair, the statistic of each resample; all pairs see the same draws."""
    items = len(pairs[0][0])
    random = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_A_TIME // items)
    out = [np.empty(resamples) for _ in pairs]
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(0, items, size=(count, items))
        for values, (top, bottom) in zip(out, pairs, strict=True):
            ratio = top[drawn].sum(axis=1) / bottom[drawn].sum(axis=1)
            values[start : start + count] = transform(ratio)
    return out
