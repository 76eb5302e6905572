"""From rewards to advantages: pure functions of tensors, computed in float64.

Letters in shapes: S answers, A tokens of the longest answer. What is by token is [S, A]; the first
`lengths[s]` numbers of row s count, and what comes after them is 0 in every result.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

_TINY_VARIANCE = 1e-8
_TINY_DEVIATION = 1e-4


def token_mask(lengths: Tensor, width: int) -> Tensor:
    """Which of the numbers by token count: bool [S, A] for `lengths` [S] and A = `width`."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def gae(
    rewards: Tensor, values: Tensor, lengths: Tensor, *, gamma: float, lambda_: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns, both float64 [S, A]. Schulman et al. 2016.

    δ[t] = r[t] + γ V[t + 1] − V[t] and Â[t] = δ[t] + γ λ Â[t + 1]; after an answer's last token, V
    and Â are 0 (also after one that was cut off). Returns are Â + V, what the value head learns.
    """
    mask = token_mask(lengths, rewards.shape[1])
    rewards, values = (x.double() * mask for x in (rewards, values))
    advantages = torch.zeros_like(rewards)
    following = next_value = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * lambda_ * following) * mask[:, t]
        advantages[:, t] = following
        next_value = values[:, t]
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """Mean 0 and variance 1 over what `mask` counts, float64; 0 elsewhere.

    With `keep_mean` the mean stays (rewards: a shift would change what an answer's length is
    worth). The variance has Bessel's correction; a single number, or equal ones, only lose their
    mean.
    """
    wide = values.double()
    counted = wide[mask]
    if not len(counted):
        return torch.zeros_like(wide)
    mean = counted.mean()
    variance = counted.var() if len(counted) > 1 else torch.zeros_like(mean)
    result = (wide - mean) * torch.rsqrt(variance + _TINY_VARIANCE)
    return torch.where(mask, result + mean if keep_mean else result, 0.0)


def group_advantages(
    rewards: Tensor, size: int, scale: Literal["group", "batch", "none"] = "group"
) -> Tensor:
    """Each reward less its group's mean, float64 [S]; a group is `size` neighbours.

    Divided by the standard deviation (with Bessel's correction, plus 1e-4) of the group (Shao et
    al. 2024), of all rewards, or by nothing (Liu et al. 2025).
    """
    groups = rewards.double().view(-1, size)
    centred = groups - groups.mean(1, keepdim=True)
    if scale == "group":
        centred = centred / (groups.std(1, keepdim=True) + _TINY_DEVIATION)
    elif scale == "batch":
        centred = centred / (groups.std() + _TINY_DEVIATION)
    return centred.flatten()


def explained_variance(returns: Tensor, values: Tensor, mask: Tensor) -> float:
    """1 − Var(returns − values) / Var(returns): 1 for a perfect value head, 0 for a constant one.

    NaN where the returns do not vary.
    """
    returns, values = returns.double()[mask], values.double()[mask]
    if len(returns) < 2 or (variance := returns.var()) == 0:
        return float("nan")
    return float(1 - (returns - values).var() / variance)
