"""Bradley–Terry strengths from paired comparisons, with bootstrap intervals.

The model (Bradley & Terry 1952): a beats b with probability pₐ / (pₐ + p_b). A tie counts as half a
win for each. That is not the model of ties that Rao & Kupper (1967) or Davidson (1970) give, which
estimate one more parameter for how easily judges call a tie: too much for few votes. Davidson's has
the same sufficient statistic, wins and half the ties, so that where all pairs were judged equally
often both give the same order. Strengths are found by the MM algorithm of
Hunter (2004), whose likelihood never falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ELO = 400 / math.log(10)  # points per unit of log-strength: 400 points are odds of 10 to 1
CENTRE = 1000.0
# Ties imagined for each pair that was compared, only where the likelihood has no maximum (Ford
# 1957): a model that never lost would be infinitely strong. Half a tie is less than any one vote.
IMAGINED_TIES = 0.5
_MOST_ITERATIONS = 20_000
_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Fit:
    """Log-strengths [models] with mean 0 within each group, and what had to be assumed.

    `groups[i]` numbers the set of models that votes link model i to, directly or through others;
    strengths of two groups cannot be compared. `bounded`: imagined ties were added (see
    `IMAGINED_TIES`), since somebody only won or only lost.
    """

    strengths: Floats
    groups: tuple[int, ...]
    bounded: bool


def bradley_terry(wins: Floats) -> Fit:
    """Fit `wins` [models, models]: how often the row's model beat the column's, ties as halves.

    Raises `ValueError` for a table that is not square, or has negative or infinite entries.
    """
    table = np.asarray(wins, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError("wins must be a square table")
    if not np.isfinite(table).all() or (table < 0).any():
        raise ValueError("wins must be finite and not negative")
    table = table * (1 - np.eye(len(table)))
    groups = _components(table + table.T > 0)
    bounded = not _strongly_connected(table, groups)
    return Fit(_fit(table[None], groups)[0], groups, bounded)


def bootstrap_strengths(
    by_item: Floats, *, resamples: int = 1_000, seed: int = 0, confidence: float = 0.95
) -> tuple[Fit, Floats, Floats]:
    """The fit of all items together, and the lower and upper bounds [models] of its strengths.

    `by_item` [items, models, models]: each item's table of wins. Items are drawn again whole, with
    all their votes, for votes on one item are not independent. A resample in which a model has no
    vote at all says nothing about it and is left out of its interval.
    """
    items, models = by_item.shape[0], by_item.shape[1]
    whole = bradley_terry(by_item.sum(axis=0))
    random = np.random.default_rng(seed)
    counts = np.empty((resamples, items))
    for row in range(resamples):
        drawn = random.integers(0, items, size=items)
        counts[row] = np.bincount(drawn, minlength=items)
    tables = (counts @ by_item.reshape(items, -1)).reshape(resamples, models, models)
    strengths = _fit(tables, whole.groups)
    strengths[(tables + tables.transpose(0, 2, 1)).sum(axis=2) == 0] = np.nan
    low, high = whole.strengths.copy(), whole.strengths.copy()
    bounds = [(1 - confidence) / 2, (1 + confidence) / 2]
    for model in range(models):
        known = strengths[:, model][~np.isnan(strengths[:, model])]
        if len(known):
            low[model], high[model] = np.quantile(known, bounds)
    return whole, low, high


def elo(strengths: Floats) -> Floats:
    """Log-strengths on the scale that chess players know, 1000 being the mean."""
    return CENTRE + ELO * strengths


def _fit(tables: Floats, groups: tuple[int, ...]) -> Floats:
    """Log-strengths [tables, models] of many tables at once, centred within each of `groups`."""
    tables = tables.copy()
    models = tables.shape[1]
    played = tables + tables.transpose(0, 2, 1)
    for number, pairs in enumerate(played):
        found = _components(pairs > 0)
        if not _strongly_connected(tables[number], found):
            # In a resample a pair may be missing that the whole data has: then every pair of its
            # group gets the imagined ties, or its strengths would drift apart without bound.
            same = np.equal.outer(np.asarray(groups), np.asarray(groups))
            linked = pairs > 0 if found == groups else same
            tables[number] += IMAGINED_TIES / 2 * linked * (1 - np.eye(models))
    played = tables + tables.transpose(0, 2, 1)
    won = tables.sum(axis=2)
    strength = np.ones(won.shape)
    alone = won == 0  # no vote: stays where it is
    active = np.arange(len(tables))
    for _ in range(_MOST_ITERATIONS):
        now = strength[active]
        sums = now[:, :, None] + now[:, None, :]
        new = won[active] / np.maximum((played[active] / sums).sum(axis=2), 1e-300)
        new = np.where(alone[active], 1.0, new)
        logs = _centred(np.log(new), groups)
        moved = np.abs(logs - np.log(now)).max(axis=1)
        strength[active] = np.exp(logs)
        active = active[moved > _TOLERANCE]
        if not len(active):
            break
    return _centred(np.log(strength), groups)


def _centred(logs: Floats, groups: tuple[int, ...]) -> Floats:
    out = logs.copy()
    for group in set(groups):
        members = [i for i, g in enumerate(groups) if g == group]
        out[:, members] -= out[:, members].mean(axis=1, keepdims=True)
    return out


def _components(linked: NDArray[np.bool_]) -> tuple[int, ...]:
    """The number of each model's connected component, counted in the order of models."""
    groups = [-1] * len(linked)
    number = 0
    for start in range(len(linked)):
        if groups[start] >= 0:
            continue
        waiting = [start]
        groups[start] = number
        while waiting:
            for other in np.flatnonzero(linked[waiting.pop()]):
                if groups[other] < 0:
                    groups[other] = number
                    waiting.append(int(other))
        number += 1
    return tuple(groups)


def _strongly_connected(wins: Floats, groups: tuple[int, ...]) -> bool:
    """Whether within each group every model has beaten every other, if through others (Ford)."""
    reach = (wins > 0) | np.eye(len(wins), dtype=bool)
    for via in range(len(wins)):
        reach |= np.outer(reach[:, via], reach[via])
    same = np.equal.outer(np.asarray(groups), np.asarray(groups))
    return bool(reach[same].all())
