"""Muon, with matrices of equal shape orthogonalised together. Jordan et al. 2024."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Coefficients of the quintic iteration, chosen for the steepest slope at zero (Jordan et al. 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315
# So many elements are stacked at once: copies of them are made.
_ELEMENTS_AT_ONCE = 1 << 24


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` with the same update, computed for matrices of equal shape at once.

    torch hands one matrix after the other to some twenty small operations, which several threads
    cannot share and a GPU is not filled by. Here, a step of a decoder takes a few batched products.
    State and options are torch's; the update's size is always matched to AdamW's
    (`match_rms_adamw`: RMS 0.2 per element, Liu et al. 2025).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient stay as they are."""
        if closure is not None:
            raise ValueError("Muon takes no closure here")
        for group in self.param_groups:
            by_shape: dict[tuple[Any, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault((p.shape, p.dtype, p.device), []).append(p)
            for parameters in by_shape.values():
                many = max(1, _ELEMENTS_AT_ONCE // parameters[0].numel())
                for start in range(0, len(parameters), many):
                    self._update(parameters[start : start + many], group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        grads = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        updates = buffers
        if group["nesterov"]:
            updates = list(torch._foreach_lerp(grads, buffers, group["momentum"]))
        moves = orthogonalise(torch.stack(updates), group["ns_steps"], group["eps"])
        rate = group["lr"]
        size = 0.2 * math.sqrt(max(parameters[0].shape))
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_add_(parameters, list(moves.to(parameters[0].dtype)), alpha=-rate * size)


def orthogonalise(matrices: Tensor, steps: int, eps: float = 1e-7) -> Tensor:
    """About U·Vᵀ of each of `matrices` [N, rows, columns] = U·S·Vᵀ, in bfloat16.

    `steps` Newton–Schulz iterations; singular values come out between about 0.7 and 1.2 (five
    steps), not exactly 1, which the update does not need.
    """
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.transpose(1, 2) if tall else x
