"""How far labellers agree beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal"]


def cohen_kappa(
    first: Sequence[int], second: Sequence[int], categories: int, *, quadratic: bool = False
) -> float | None:
    """Agreement of two judges on the same units, each judgement in 0…categories − 1.

    1 is full agreement, 0 what chance gives (Cohen 1960). `quadratic` weighs a disagreement by the
    square of its distance (Cohen 1968), for ordered categories. None where it is undefined: no
    unit, or both judges always chose the one same category.
    """
    if len(first) != len(second):
        raise ValueError("both judges must have judged the same units")
    if not first:
        return None
    table = np.zeros((categories, categories))
    np.add.at(table, (np.asarray(first), np.asarray(second)), 1.0)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    steps = np.arange(categories)
    distance = np.subtract.outer(steps, steps).astype(float) ** 2
    weights = distance if quadratic else (distance > 0).astype(float)
    by_chance = float((weights * expected).sum())
    return None if by_chance == 0 else 1 - float((weights * table).sum()) / by_chance


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Agreement of several judges: `counts` [units, categories] of judgements (Fleiss 1971).

    Every unit must have been judged by the same number (two or more) of judges, not necessarily the
    same ones; else `ValueError`. None where there is no unit, or only one category was ever chosen.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.size == 0:
        return None
    sums = table.sum(axis=1)
    judges = sums[0]
    if judges < 2 or (sums != judges).any():
        raise ValueError("every unit needs the same number of judgements, two or more")
    observed = float((((table**2).sum(axis=1) - judges) / (judges * (judges - 1))).mean())
    by_chance = float(((table.sum(axis=0) / table.sum()) ** 2).sum())
    return None if np.isclose(by_chance, 1.0) else (observed - by_chance) / (1 - by_chance)


def krippendorff_alpha(
    units: Sequence[Mapping[str, int]], categories: int, level: Level = "nominal"
) -> float | None:
    """Agreement where judgements may be missing (Krippendorff 2004, chapter 11).

    `units`: of each, judge → category in 0…categories − 1. "ordinal" distances grow with the
    judgements that lie between two categories. Units with fewer than two judgements say nothing.
    None where no unit has two, or only one category was ever chosen.
    """
    coincidences = np.zeros((categories, categories))
    for judged in units:
        values = list(judged.values())
        if len(values) < 2:
            continue
        counts = np.bincount(values, minlength=categories).astype(float)
        pairs = np.outer(counts, counts) - np.diag(counts)
        coincidences += pairs / (len(values) - 1)
    totals = coincidences.sum(axis=1)
    whole = totals.sum()
    if whole < 2:
        return None
    distance = _distances(totals, level)
    expected = float((np.outer(totals, totals) * distance).sum()) / (whole - 1)
    return None if expected == 0 else 1 - float((coincidences * distance).sum()) / expected


def _distances(totals: Floats, level: Level) -> Floats:
    size = len(totals)
    if level == "nominal":
        return 1 - np.eye(size)
    # Krippendorff's: (sum of the totals from one category to the other, the ends counted half)².
    upto = np.cumsum(totals) - totals / 2
    return np.asarray(np.subtract.outer(upto, upto) ** 2)


def wilson(successes: int, count: int) -> tuple[float, float, float] | None:
    """A share with its 95 % interval (Wilson 1927): value, low, high. None without data."""
    if count == 0:
        return None
    z = 1.959963984540054
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    half /= 1 + z * z / count
    return share, max(0.0, middle - half), min(1.0, middle + half)
