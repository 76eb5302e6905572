"""How sure a number is: bootstrap confidence intervals, and whether two models really differ.

Every figure here is a function of sums over items: a mean, a ratio of two sums (perplexity, bits
per byte), or something of more sums (corpus BLEU, macro F1). Items are drawn again with
replacement, whole, so that a long answer stays one observation (Efron & Tibshirani 1993, chapters
13 and 16).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Transform = Callable[[Floats], Floats]
# From sums over items [resamples, columns] to the figure of each resample [resamples].
Statistic = Callable[[Floats], Floats]

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


def ratio(sums: Floats) -> Floats:
    """First column over second."""
    return np.asarray(sums[:, 0] / sums[:, 1])


def exp_ratio(sums: Floats) -> Floats:
    """Exponential of the first column over the second: a perplexity from nats and tokens."""
    return np.exp(sums[:, 0] / sums[:, 1])


STATISTICS: dict[str, Statistic] = {"ratio": ratio, "exp_ratio": exp_ratio}


@dataclass(frozen=True, slots=True)
class Sample:
    """What one figure rests on: values of items, `columns` [items, k], and how they become it."""

    columns: Floats
    statistic: Statistic = ratio


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
    sample = Sample(_pair(numerator, denominator), lambda sums: transform(ratio(sums)))
    return estimate([sample], seed=seed, resamples=resamples, confidence=confidence)


def paired_bootstrap(
    baseline: tuple[Floats, Floats | None],
    other: tuple[Floats, Floats | None],
    *,
    transform: Transform = identity,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models on the same items; see `difference`.

    `baseline` and `other` are (numerator, denominator or None), item i of one belonging to item i
    of the other.
    """
    samples = [Sample(_pair(*b), lambda sums: transform(ratio(sums))) for b in (baseline, other)]
    return difference(
        samples[:1], samples[1:], seed=seed, resamples=resamples, confidence=confidence
    )


def estimate(
    samples: Sequence[Sample],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A figure with its percentile interval: the mean of the samples' figures (usually of one).

    Several samples are several data sets, drawn again each for itself: an average over tasks.
    `count` is the items of all. Raises `ValueError` where there is nothing to estimate from.
    """
    values = _mean([_resampled([s], seed + i, resamples)[0] for i, s in enumerate(samples)])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    count = sum(len(s.columns) for s in samples)
    return Estimate(_figure(samples), float(low), float(high), count)


def difference(
    baseline: Sequence[Sample],
    other: Sequence[Sample],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Compare two models on the same items: each resample draws the same items for both.

    Sample i of one rests on the items of sample i of the other, row by row. The p-value is the
    share of resamples in which the difference changes sign, doubled, with one added to each count
    so that it is never 0 (Koehn 2004; Davison & Hinkley 1997, section 4.2). It is never below
    2 · ½ᵏ where k items differ at all, which is what a sign test could say at best: resampling
    three items that all gained would call any gain certain. A difference that is no number is not
    significant.
    """
    parts = []
    changed = 0
    for i, (first, second) in enumerate(zip(baseline, other, strict=True)):
        if len(first.columns) != len(second.columns):
            raise ValueError("paired comparison needs the same items for both models")
        values = _resampled([first, second], seed + i, resamples)
        parts.append(values[1] - values[0])
        rows = np.asarray(first.columns) != np.asarray(second.columns)
        changed += int(rows.any(axis=1).sum())
    differences = _mean(parts)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    below = (np.count_nonzero(differences <= 0) + 1) / (resamples + 1)
    above = (np.count_nonzero(differences >= 0) + 1) / (resamples + 1)
    value = _figure(other) - _figure(baseline)
    p_value = min(1.0, max(2 * min(below, above), 2 * 0.5**changed))
    if not (np.isfinite(value) and np.isfinite(differences).all()):
        p_value = 1.0
    return Difference(
        value=value,
        low=float(low),
        high=float(high),
        p_value=float(p_value),
        significant=bool(p_value < 1 - confidence),
        count=sum(len(s.columns) for s in baseline),
    )


def _figure(samples: Sequence[Sample]) -> float:
    return float(np.mean([s.statistic(s.columns.sum(axis=0, keepdims=True))[0] for s in samples]))


def _mean(parts: Sequence[Floats]) -> Floats:
    return np.asarray(np.mean(parts, axis=0))


def _pair(numerator: Floats, denominator: Floats | None) -> Floats:
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.ones_like(top) if denominator is None else np.asarray(denominator, np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError("numerator and denominator must be lists of the same length")
    if not (bottom > 0).all():
        raise ValueError("denominators must be above 0")
    return np.stack((top, bottom), axis=1)


def _resampled(samples: Sequence[Sample], seed: int, resamples: int) -> list[Floats]:
    """For each sample, the figure of each resample; all see the same draws of the same items."""
    columns = [np.asarray(s.columns, dtype=np.float64) for s in samples]
    items = len(columns[0])
    if not items:
        raise ValueError("there is nothing to estimate from: no items")
    if any(c.ndim != 2 or not np.isfinite(c).all() for c in columns):
        raise ValueError("values must be finite numbers, [items, columns]")
    random = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_A_TIME // items)
    out = [np.empty(resamples) for _ in samples]
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(0, items, size=(count, items))
        # How often each item was drawn; sums over the draws are then one product.
        drawn += np.arange(count)[:, None] * items
        times = np.bincount(drawn.ravel(), minlength=count * items).reshape(count, items)
        for values, sample, own in zip(out, samples, columns, strict=True):
            values[start : start + count] = sample.statistic(times.astype(np.float64) @ own)
    return out


def wilson(successes: float, trials: int, confidence: float = CONFIDENCE) -> Estimate:
    """A share with its score interval (Wilson 1927); half successes (ties) may occur.

    The bootstrap would be sure of what it cannot know: of forty trials that all failed, every draw
    fails too, and it says 0 % [0, 0] where this says [0, 8.8]. Raises `ValueError` for no trials,
    and for fewer successes than 0 or more than trials.
    """
    from statistics import NormalDist

    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials}: a share needs 0 ≤ successes ≤ trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * (share * (1 - share) / trials + (z / (2 * trials)) ** 2) ** 0.5
    # At the ends rounding must not part the interval from its value.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return Estimate(share, low, high, trials)
