"""Whether a share differs from one half: the exact binomial test."""

from __future__ import annotations

import math


def even_chance_p_value(successes: int, count: int) -> float | None:
    """Two-sided exact test that both outcomes are equally likely. None without data."""
    if count == 0:
        return None
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count}")
    fewer = min(successes, count - successes)
    log_half = -count * math.log(2)
    logs = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) + log_half
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(value) for value in logs))
