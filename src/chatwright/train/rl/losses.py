"""The terms of PPO's and GRPO's losses: functions of tensors, a number for each token."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_policy_loss(
    log_probs: Tensor, old: Tensor, advantages: Tensor, clip: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """−min(r Â, clip(r, 1 − low, 1 + high) Â) with r = π / π_old (Schulman et al. 2017, eq. 7).

    Also r itself, and where the clipped term is the one that counts. Different bounds are Yu et
    al.'s clip-higher (2025).
    """
    low, high = clip
    ratio = torch.exp(log_probs - old)
    free = -advantages * ratio
    bounded = -advantages * ratio.clamp(1 - low, 1 + high)
    return torch.maximum(free, bounded), ratio, bounded > free


def clipped_value_loss(
    values: Tensor, old: Tensor, returns: Tensor, clip: float | None
) -> tuple[Tensor, Tensor]:
    """Half the squared error; with `clip` the larger of it and that of old + clip(V − old, ±clip).

    Also where the bounded one is the one that counts.
    """
    error = (values - returns).square()
    if clip is None:
        return 0.5 * error, torch.zeros_like(error, dtype=torch.bool)
    bounded = (old + (values - old).clamp(-clip, clip) - returns).square()
    return 0.5 * torch.maximum(error, bounded), bounded > error
