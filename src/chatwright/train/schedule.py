"""Learning-rate schedules: pure functions from the step to a factor of the peak rate."""

from __future__ import annotations

import math

from chatwright.train.settings import ScheduleName


def warmup_steps(warmup: float, total: int) -> int:
    """`warmup` below 1 is a fraction of all steps, from 1 on a number of steps."""
    return min(total, round(warmup * total) if warmup < 1 else round(warmup))


def learning_rate_factor(
    step: int,
    total: int,
    schedule: ScheduleName,
    *,
    warmup: float = 0.0,
    decay: float = 0.3,
    final: float = 0.0,
) -> float:
    """The factor in [0, 1] of the peak rate at `step` (0-based) of `total`.

    A linear warmup comes first; its first step already moves (factor 1/warmup, not 0). Then
    `wsd` stays at 1 and falls linearly over the last `decay` share of all steps (Hu et al. 2024,
    MiniCPM; linear as in Hägele et al. 2024); `cosine` and `linear` fall from the end of warmup on;
    `constant` stays. The value that a fall would reach one step after the last is `final`.
    """
    warm = warmup_steps(warmup, total)
    if step < warm:
        return (step + 1) / warm
    if schedule == "constant":
        return 1.0
    start = max(warm, total - round(decay * total)) if schedule == "wsd" else warm
    if step < start:
        return 1.0
    # Both ends are left out of the fall: its first step is already below 1, and its last is not
    # yet at `final`, which for 0 would waste a step.
    done = min(1.0, (step - start + 1) / (total - start + 1))
    shape = 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - done
    return final + (1 - final) * shape
