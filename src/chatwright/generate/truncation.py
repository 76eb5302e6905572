"""Which tokens stay in the draw, and the draw: pure functions of one row.

`weights` are probabilities up to a common factor, the largest of them 1. The filters return the
positions that stay, ascending. None of them sorts more than it has to: a vocabulary has 150,000
tokens, of which a few hundred matter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.generate.logits import Floats, Ints, largest
from chatwright.generate.params import SamplingParams

_BLOCK = 256  # `draw` looks for the block first, and then inside it
_LEAST_TEMPERATURE = 1e-6
_SORTED_AT_ONCE = 1024


def scale(row: Floats, temperature: float) -> None:
    """Subtract the maximum and divide by the temperature, in place."""
    # The maximum goes first, so that a tiny temperature makes no infinities but -inf.
    row -= row.max()
    if temperature != 1.0:
        with np.errstate(over="ignore"):
            row /= np.float32(max(temperature, _LEAST_TEMPERATURE))


def keep_top_k(logits: Floats, k: int) -> Ints:
    """The `k` largest; ties with the k-th stay."""
    return np.flatnonzero(logits >= largest(logits, k))


def keep_top_p(weights: Floats, p: float) -> Ints:
    """The fewest largest whose weights reach the share `p` of the sum (Holtzman et al. 2020).

    The token that crosses `p` stays. Of equal ones at the border those with the lower positions do.
    """
    target = p * float(weights.sum(dtype=np.float64))
    # All below (1 - p) / V of the sum hold less than 1 - p of it together: none of them is needed.
    # A little less than that bound, so that rounding never costs one that is.
    bound = (1.0 - p) * (target / p) / len(weights) * (1 - 1e-6)
    candidates = np.flatnonzero(weights >= bound)
    chosen = weights[candidates]
    last, ties = _border(chosen, chosen, target, descending=True)
    kept = chosen > last
    kept[np.flatnonzero(chosen == last)[:ties]] = True
    return candidates[kept]


def keep_min_p(weights: Floats, min_p: float) -> Ints:
    """Those with at least the share `min_p` of the largest's weight (Nguyen et al. 2024)."""
    return np.flatnonzero(weights >= np.float32(min_p) * weights.max())


def keep_typical(logits: Floats, weights: Floats, mass: float) -> Ints:
    """Those nearest the expected information that reach `mass` together (Meister et al. 2022).

    `weights` are exp(`logits`). Ties with the last stay.
    """
    total = float(weights.sum(dtype=np.float64))
    possible = np.flatnonzero(weights)  # the others' information times their probability is 0
    entropy = math.log(total) - float(
        np.dot(weights[possible].astype(np.float64), logits[possible]) / total
    )
    distance = np.abs(logits + np.float32(entropy - math.log(total)))
    last, _ = _border(distance, weights, mass * total, descending=False)
    return np.flatnonzero(distance <= last)


def _border(
    keys: Floats, weights: Floats, target: float, *, descending: bool
) -> tuple[np.float32, int]:
    """The key at which the sum of `weights`, added in the order of `keys` ≥ 0, reaches `target`.

    Also gives how many of the tokens with that very key are needed for it.
    """
    before = 0.0
    if len(keys) > _SORTED_AT_ONCE:
        # The upper half of a positive float's bits orders it but for the last digits: the sums of
        # buckets tell which one holds the border, and only that one is sorted.
        buckets = keys.view(np.int32) >> 16
        sums = np.bincount(buckets, weights=weights)
        used = np.flatnonzero(sums)[:: -1 if descending else 1]
        running = np.cumsum(sums[used], dtype=np.float64)
        place = _reached(running, target)
        before = float(running[place - 1]) if place else 0.0
        inside = np.flatnonzero(buckets == used[place])
        keys, weights = keys[inside], weights[inside]
    order = np.argsort(-keys if descending else keys, kind="stable")
    place = _reached(np.cumsum(weights[order], dtype=np.float64), target - before)
    key = keys[order[place]]
    return key, int(np.count_nonzero(keys[order[: place + 1]] == key))


def _reached(running: NDArray[Any], target: float) -> int:
    """Where a running sum reaches `target`; its end where rounding keeps it just below."""
    return min(int(np.searchsorted(running, target, side="left")), len(running) - 1)


def candidates(row: Floats, params: SamplingParams) -> tuple[Ints | None, Floats]:
    """What can be drawn: positions (None: all) and their weights. `row` is used up.

    Temperature, top-k, top-p, min-p, typical, in that order.
    """
    scale(row, params.temperature)
    kept: Ints | None = None
    logits = row
    if 0 < params.top_k < len(row):
        kept = keep_top_k(row, params.top_k)
        logits = row[kept]
    elif params.min_p > 0 and params.top_p == 1.0:
        # The same as below but for what is far from the border, which is not exponentiated at all.
        kept = np.flatnonzero(row >= math.log(params.min_p) - 0.01)
        logits = row[kept]
    # `logits` are needed again for typical sampling only.
    weights = np.exp(logits, out=None if params.typical_p < 1.0 else logits)

    def narrow(places: Ints) -> None:
        nonlocal kept, logits, weights
        kept = places if kept is None else kept[places]
        weights = weights[places]
        if params.typical_p < 1.0:
            logits = logits[places]

    if params.top_p < 1.0:
        narrow(keep_top_p(weights, params.top_p))
    if params.min_p > 0.0:
        narrow(keep_min_p(weights, params.min_p))
    if params.typical_p < 1.0:
        narrow(keep_typical(logits, weights, params.typical_p))
    return kept, weights


def draw(weights: NDArray[np.floating], uniform: float) -> int:
    """The position at which the running sum of `weights` passes `uniform` in [0, 1) of the total.

    One random number for each token, whatever the size of the vocabulary. Sums run in float64: in
    float32 the tail of a large vocabulary would be lost in rounding. A weight of 0 is never drawn.
    """
    size = len(weights)
    start = 0
    if size > 4 * _BLOCK:
        edges = np.arange(0, size, _BLOCK)
        running = np.cumsum(np.add.reduceat(weights, edges, dtype=np.float64))
        target = uniform * float(running[-1])
        block = int(np.searchsorted(running, target, side="right"))
        if block == len(edges):  # uniform · total can round up to total
            return int(np.flatnonzero(weights)[-1])
        start = block * _BLOCK
        target -= float(running[block - 1]) if block else 0.0
        running = np.cumsum(weights[start : start + _BLOCK], dtype=np.float64)
    else:
        running = np.cumsum(weights, dtype=np.float64)
        target = uniform * float(running[-1])
    place = int(np.searchsorted(running, target, side="right"))
    if place == len(running):
        place = int(np.flatnonzero(weights[start : start + len(running)])[-1])
    return start + place
