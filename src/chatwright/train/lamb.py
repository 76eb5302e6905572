"""LAMB: Adam's step, made as long for each matrix as the matrix is large. You et al. 2020."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """Algorithm 2 of "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes".

    With m and v as in Adam (bias corrected), the update is u = m / (√v + eps) + weight_decay · p,
    and p changes by −lr · (‖p‖ / ‖u‖) · u; where one of the norms is 0, the ratio is 1. The paper's
    φ is the identity. Groups with `adapt: False` always have the ratio 1 (the authors' own code
    leaves norms and biases out of it).
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient stay as they are."""
        if closure is not None:
            raise ValueError("LAMB takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(p)
            state["exp_avg_sq"] = torch.zeros_like(p)
        state["step"] += 1
        count = int(state["step"])
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(grad, 1 - first)
        square.mul_(second).addcmul_(grad, grad, value=1 - second)
        root = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        update = mean.div(1 - first**count).div_(root)
        if group["weight_decay"]:
            update.add_(p, alpha=group["weight_decay"])
        if group["adapt"]:
            size, length = torch.linalg.vector_norm(p), torch.linalg.vector_norm(update)
            ratio = torch.where((size > 0) & (length > 0), size / length, torch.ones_like(size))
            update.mul_(ratio)
        p.add_(update, alpha=-group["lr"])
