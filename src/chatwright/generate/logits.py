"""A row of logits changed or read: pure functions of numpy arrays, one row [V] at a time.

Those that change a row do it in place. The order in which `Sampler` calls them, and each but
OpenAI's two penalties, are those of `transformers`' logits processors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_GROUPS = 64  # `largest` first looks at the maxima of V / 64 groups of tokens


def penalise_repetition(row: Floats, seen: Ints, penalty: float) -> None:
    """Make the tokens in `seen` (each once) less likely: divided, if negative multiplied.

    As in CTRL (Keskar et al. 2019).
    """
    chosen = row[seen]
    row[seen] = np.where(chosen < 0, chosen * penalty, chosen / penalty)


def penalise_counts(
    row: Floats, tokens: Ints, counts: Ints, frequency: float, presence: float
) -> None:
    """OpenAI's penalties: `frequency` × count + `presence` is subtracted from each of `tokens`.

    `counts` says how often each is in the answer so far (at least once; the prompt does not count).
    """
    row[tokens] -= (frequency * counts + presence).astype(np.float32)


def guide(row: Floats, negative: Floats, scale: float) -> None:
    """Classifier-free guidance: log-probabilities moved away from those of `negative` [V].

    negative + scale × (row - negative), of log-probabilities (Sanchez et al. 2023). `row` holds the
    result; `negative` is not changed.
    """
    other = log_probabilities(negative)
    row -= np.float32(_log_sum(row))
    row -= other
    row *= np.float32(scale)
    row += other


def log_probabilities(row: Floats) -> Floats:
    """Natural log-probabilities [V] under the logits `row`, which is not changed."""
    return row - np.float32(_log_sum(row))


def log_probability(row: Floats, token: int) -> float:
    """The natural log-probability of `token` under the logits `row`."""
    return float(row[token]) - _log_sum(row)


def top_log_probabilities(row: Floats, k: int) -> list[tuple[int, float]]:
    """The `k` likeliest tokens and their log-probabilities, the likeliest first.

    Of equal ones the lower id comes first.
    """
    if k <= 0:
        return []
    total = _log_sum(row)
    found = np.flatnonzero(row >= largest(row, k))
    order = np.argsort(-row[found], kind="stable")[:k]
    return [(int(token), float(row[token]) - total) for token in found[order]]


def largest(row: Floats, k: int) -> np.float32:
    """The `k`-th largest value of `row` (its smallest where it has fewer), without sorting it.

    The k-th largest of the maxima of disjoint groups is a lower bound for it, and little else is
    above that bound.
    """
    size = len(row)
    if k >= size:
        return np.float32(row.min())
    groups = size // _GROUPS
    candidates = row
    if 4 * k <= groups:
        # Groups of tokens far from each other: elementwise maxima of long rows are quick.
        maxima = row[: groups * _GROUPS].reshape(_GROUPS, groups).max(axis=0)
        bound = np.partition(maxima, groups - k)[groups - k]
        candidates = row[row >= bound]
    place = len(candidates) - k
    return np.float32(np.partition(candidates, place)[place])


def _log_sum(row: Floats) -> float:
    """The logarithm of Σ exp(row), summed in float64; the largest must be finite."""
    top = row.max()
    scaled = row - top
    np.exp(scaled, out=scaled)
    return float(top) + float(np.log(scaled.sum(dtype=np.float64)))
