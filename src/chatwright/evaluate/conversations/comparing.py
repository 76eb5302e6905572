"""Whether a model version is worse than the one before it, and which figures say so.

For each measure that has a better side: the two-sample difference, its bootstrap interval, and a
one-sided permutation test for "worse" (and one for "better"); Benjamini & Hochberg (1995) over the
measures of a pair of versions, so that a dozen looks at the same conversations raise a false alarm
no more often than the level says. Where people are named, labels are shuffled whole person by
person, and within those who met both versions: the exchangeable units (Good 2005, chapter 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.conversations.figures import (
    MEASURES,
    Booleans,
    Floats,
    Measure,
    Observations,
)
from chatwright.evaluate.conversations.measured import SEVERAL, Measured
from chatwright.evaluate.statistics import CONFIDENCE

PERMUTATIONS = 2_000
MINIMUM = 30  # conversations of each version that say something about a measure
LEVEL = 0.05
_EXAMPLES = 5
_CELLS_AT_A_TIME = 4_000_000

Verdict = Literal["worse", "better", "no clear difference"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of two versions: `difference` is new − old, `low`…`high` its 95 % interval.

    `p_worse`, `p_better`: one-sided; `adjusted_*` the same after Benjamini–Hochberg. `examples`
    are ids of conversations with the new version that pull the figure down most.
    """

    measure: str
    old: str
    new: str
    old_value: float
    new_value: float
    old_count: int
    new_count: int
    difference: float
    low: float
    high: float
    p_worse: float
    p_better: float
    adjusted_worse: float
    adjusted_better: float
    verdict: Verdict
    examples: list[str]


@dataclass(frozen=True, slots=True)
class NotCompared:
    """A measure of two versions (`measure` None: a whole version) that was not tested, and why."""

    old: str | None
    new: str
    measure: str | None
    reason: str


def version_order(rows: Sequence[Measured]) -> list[str]:
    """Models by when they were first seen; those without times by their place in the data."""
    first: dict[str, tuple[datetime, int]] = {}
    late = datetime.max.replace(tzinfo=UTC)
    for place, row in enumerate(rows):
        if row.model is None or row.model == SEVERAL:
            continue
        key = (row.at or late, place)
        first[row.model] = min(first.get(row.model, key), key)
    return sorted(first, key=lambda model: first[model])


def compare_versions(
    rows: Sequence[Measured],
    *,
    minimum: int = MINIMUM,
    level: float = LEVEL,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> tuple[list[Comparison], list[NotCompared]]:
    """Each version against the one before it, over versions with at least `minimum` conversations.

    Conversations in which several models answered belong to none. The last comparisons are about
    the newest version that has enough conversations.
    """
    groups: dict[str, list[Measured]] = {model: [] for model in version_order(rows)}
    for row in rows:
        if row.model in groups:
            groups[row.model].append(row)
    left = [
        NotCompared(None, model, None, f"{len(found)} conversations; {minimum} are needed")
        for model, found in groups.items()
        if len(found) < minimum
    ]
    enough = [model for model, found in groups.items() if len(found) >= minimum]
    out: list[Comparison] = []
    for old, new in pairwise(enough):
        found, missing = compare_pair(
            (old, groups[old]),
            (new, groups[new]),
            minimum=minimum,
            level=level,
            seed=seed,
            permutations=permutations,
        )
        out += found
        left += missing
    return out, left


def compare_pair(
    old: tuple[str, Sequence[Measured]],
    new: tuple[str, Sequence[Measured]],
    *,
    minimum: int = MINIMUM,
    level: float = LEVEL,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> tuple[list[Comparison], list[NotCompared]]:
    """All measures with a better side, of two named groups of conversations."""
    together = [*old[1], *new[1]]
    label = {id(row): row_is_new for rows, row_is_new in ((old[1], 0), (new[1], 1)) for row in rows}
    tested: list[_Tested] = []
    left: list[NotCompared] = []
    for number, measure in enumerate(m for m in MEASURES if m.direction != "neither"):
        seen = Observations(measure, together)
        is_new = np.array([label[id(row)] for row in seen.rows], dtype=bool)
        counts = (int((~is_new).sum()), int(is_new.sum()))
        if min(counts) == 0:
            continue  # not recorded, or nothing of the kind happened: nothing to say
        if min(counts) < minimum:
            reason = f"{counts[0]} and {counts[1]} conversations; {minimum} of each are needed"
            left.append(NotCompared(old[0], new[0], measure.name, reason))
            continue
        tested.append(_test(seen, is_new, np.random.default_rng([seed, number]), permutations))
    worse = _adjusted(tested, [t.p_worse for t in tested])
    better = _adjusted(tested, [t.p_better for t in tested])
    out = []
    for t, bad, good in zip(tested, worse, better, strict=True):
        verdict: Verdict = "no clear difference"
        if bad <= level:
            verdict = "worse"
        elif good <= level:
            verdict = "better"
        out.append(
            Comparison(
                measure=t.seen.measure.name,
                old=old[0],
                new=new[0],
                old_value=t.old_value,
                new_value=t.new_value,
                old_count=int((~t.is_new).sum()),
                new_count=int(t.is_new.sum()),
                difference=t.new_value - t.old_value,
                low=t.low,
                high=t.high,
                p_worse=t.p_worse,
                p_better=t.p_better,
                adjusted_worse=bad,
                adjusted_better=good,
                verdict=verdict,
                examples=_examples(t.seen, t.is_new) if verdict == "worse" else [],
            )
        )
    return out, left


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Benjamini & Hochberg 1995), in the order given.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i], reverse=True)
    out = [1.0] * len(p_values)
    smallest = 1.0
    for place, i in enumerate(order):
        smallest = min(smallest, p_values[i] * len(p_values) / (len(p_values) - place))
        out[i] = smallest
    return out


def _adjusted(tested: Sequence[_Tested], p_values: Sequence[float]) -> list[float]:
    """Corrected over the measures that vary: one that cannot fail (nobody was refused) is no look.

    Whether it varies is the same for every shuffling of the labels, so leaving it out is fair.
    """
    varied = [i for i, t in enumerate(tested) if t.varies]
    out = [1.0] * len(tested)
    for i, p in zip(varied, benjamini_hochberg([p_values[i] for i in varied]), strict=True):
        out[i] = p
    return out


@dataclass(slots=True)
class _Tested:
    """One measure of a pair. `varies`: whether shuffled labels can change its difference."""

    seen: Observations
    is_new: Booleans
    old_value: float
    new_value: float
    low: float
    high: float
    p_worse: float
    p_better: float
    varies: bool


def _test(seen: Observations, is_new: Booleans, random: np.random.Generator, times: int) -> _Tested:
    def differences(weights: Floats | None, labels: Booleans) -> Floats:
        old, new = seen.figures_of_both(weights, labels)
        return new - old

    old_value, new_value = (float(v[0]) for v in seen.figures_of_both(None, is_new[None]))
    sign = 1.0 if seen.measure.direction == "higher" else -1.0
    gain = sign * (new_value - old_value)
    shuffled = sign * np.concatenate(
        [differences(None, labels) for labels in _shuffled(seen, is_new, random, times)]
    )
    # Ties count for both sides; a hair of slack, because sums in another order differ in a bit.
    slack = 1e-12 * max(1.0, abs(old_value), abs(new_value))
    p_worse = (1 + np.count_nonzero(shuffled <= gain + slack)) / (times + 1)
    p_better = (1 + np.count_nonzero(shuffled >= gain - slack)) / (times + 1)
    found = np.concatenate([differences(w, is_new) for w in _redrawn(seen, is_new, random, times)])
    low, high = np.nanquantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return _Tested(
        seen=seen,
        is_new=is_new,
        old_value=old_value,
        new_value=new_value,
        low=float(low),
        high=float(high),
        p_worse=float(p_worse),
        p_better=float(p_better),
        varies=bool(np.ptp(shuffled) > 2 * slack),
    )


def _strata(seen: Observations, is_new: Booleans) -> NDArray[np.int64]:
    """For each unit: 0 met only the old version, 1 only the new one, 2 both."""
    old, new = np.zeros(seen.units, bool), np.zeros(seen.units, bool)
    old[seen.unit[~is_new]] = True
    new[seen.unit[is_new]] = True
    return np.where(old & new, 2, np.where(new, 1, 0))


def _batches(seen: Observations, times: int) -> Iterator[int]:
    step = max(1, _CELLS_AT_A_TIME // max(1, seen.width))
    for start in range(0, times, step):
        yield min(step, times - start)


def _shuffled(
    seen: Observations, is_new: Booleans, random: np.random.Generator, times: int
) -> Iterator[Booleans]:
    """Labels [some times, rows] as they could have fallen were the versions the same."""
    stratum = _strata(seen, is_new)
    single = np.flatnonzero(stratum < 2)
    both = np.flatnonzero(stratum == 2)
    rows_of_both = [np.flatnonzero(seen.unit == unit) for unit in both]
    for count in _batches(seen, times):
        of_unit = np.zeros((count, seen.units), bool)
        of_unit[:, single] = random.permuted(np.tile(stratum[single] == 1, (count, 1)), axis=1)
        labels = of_unit[:, seen.unit]
        for rows in rows_of_both:
            labels[:, rows] = random.permuted(np.tile(is_new[rows], (count, 1)), axis=1)
        yield labels


def _redrawn(
    seen: Observations, is_new: Booleans, random: np.random.Generator, times: int
) -> Iterator[Floats]:
    """Weights [some times, rows]: people drawn again among those who met the same versions."""
    stratum = _strata(seen, is_new)
    for count in _batches(seen, times):
        of_unit = np.zeros((count, seen.units))
        for number in range(3):
            members = np.flatnonzero(stratum == number)
            if len(members):
                places = random.integers(0, len(members), size=(count, len(members)))
                places += np.arange(count)[:, None] * len(members)
                found = np.bincount(places.ravel(), minlength=count * len(members))
                of_unit[:, members] = found.reshape(count, -1)
        yield of_unit[:, seen.unit]


def _examples(seen: Observations, is_new: Booleans) -> list[str]:
    """Ids of the new version's conversations that are worst in this measure, the worst first."""
    sign = 1.0 if seen.measure.direction == "higher" else -1.0

    def badness(row: Measured) -> tuple[float, float]:
        return _own_value(seen.measure, row, sign)

    rows = [row for row, new in zip(seen.rows, is_new, strict=True) if new]
    return [row.id for row in sorted(rows, key=lambda r: (*badness(r), r.id))[:_EXAMPLES]]


def _own_value(measure: Measure, row: Measured, sign: float) -> tuple[float, float]:
    if measure.ratio is not None:
        top, bottom = measure.ratio(row)
        return sign * top / bottom, -bottom
    assert measure.values is not None
    return sign * max(measure.values(row)), 0.0
