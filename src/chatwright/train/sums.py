"""Losses and metrics of a step, added up over its micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chatwright.train.objectives import Loss


@dataclass(slots=True)
class Sums:
    """The loss's sum and weight, and for each metric a sum and the weight that it is divided by."""

    total: float = 0.0
    weight: float = 0.0
    others: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, loss: Loss) -> None:
        """Add a micro-batch."""
        weight = float(loss.weight)
        self.total += float(loss.sum.detach())
        self.weight += weight
        for name, found in loss.metrics.items():
            values = found.detach().reshape(-1).tolist()
            value, own = values if len(values) == 2 else (values[0], weight)
            before = self.others.get(name, (0.0, 0.0))
            self.others[name] = (before[0] + value, before[1] + own)

    @classmethod
    def of(cls, parts: Sequence[Sums]) -> Sums:
        """The sum of what several processes have added up, in their order."""
        if len(parts) == 1:
            return parts[0]
        whole = cls()
        for part in parts:
            whole.total += part.total
            whole.weight += part.weight
            for name, (value, weight) in part.others.items():
                before = whole.others.get(name, (0.0, 0.0))
                whole.others[name] = (before[0] + value, before[1] + weight)
        return whole

    @property
    def loss(self) -> float:
        """The mean over everything that carries loss; 0 where nothing does."""
        return self.total / self.weight if self.weight else 0.0

    def metrics(self) -> dict[str, float]:
        """The mean of each metric."""
        return {name: value / weight for name, (value, weight) in self.others.items() if weight}
