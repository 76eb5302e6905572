"""How far a policy has gone from its reference: estimates, and the coefficient of the penalty."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chatwright.train.rl.settings import KlSettings

_LARGEST_ERROR = 0.2


def k1(log_probs: Tensor, reference: Tensor) -> Tensor:
    """The difference log π − log π_ref of drawn tokens: unbiased, and may be negative."""
    return log_probs - reference


def k3(log_probs: Tensor, reference: Tensor) -> Tensor:
    """π_ref / π − 1 − log(π_ref / π): never negative, and smooth (Schulman 2020).

    Not clamped: where the two have parted so far that it overflows, the loop stops and says so.
    """
    difference = reference - log_probs
    return torch.expm1(difference) - difference


@dataclass(slots=True)
class KlController:
    """The penalty's coefficient, fixed or steered towards a target (Ziegler et al. 2019, 2.2)."""

    settings: KlSettings
    coefficient: float

    @classmethod
    def begin(cls, settings: KlSettings) -> KlController:
        return cls(settings, settings.coefficient)

    def update(self, divergence: float, answers: int) -> None:
        """After an iteration of `answers` whose mean divergence was so many nats per answer."""
        target = self.settings.target
        if target is None:
            return
        error = max(-_LARGEST_ERROR, min(_LARGEST_ERROR, divergence / target - 1))
        self.coefficient *= 1 + error * answers / self.settings.horizon
