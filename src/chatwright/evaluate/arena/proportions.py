"""A share and how sure it is: Wilson's interval, and the exact binomial test."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(successes: float, count: int, z: float = Z_95) -> tuple[float, float] | None:
    """The score interval of a proportion (Wilson 1927); half successes (ties) may occur.

    Unlike the textbook's, it stays within 0…1 and has a width at 0 and 1. None without data.
    """
    if count == 0:
        return None
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes of {count}")
    share = successes / count
    divisor = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / divisor
    half = z / divisor * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


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
