"""When a loss is no longer that of a model that learns."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

_STEPS = 20
_SHARE = 1 / 6


class Divergence:
    """Watches the losses of a run, one a step.

    A run has diverged where a loss is not a number, is not finite or reaches `ceiling`; and where
    the mean of the last 20 lies more than a sixth of `ceiling` above the lowest such mean so far.
    For next-token losses `ceiling` is 3 · ln V, so the rise is half of ln V: half of what a model
    loses that guesses. Single spikes below the ceiling pass: many runs recover from them. With
    `ceiling` infinite (losses without a scale, as in PPO) only the first three count.

    `before` are the losses of the steps that a resumed run has behind it.
    """

    def __init__(self, ceiling: float = math.inf, before: Iterable[float] = ()) -> None:
        self._ceiling = ceiling
        self._last: deque[float] = deque(maxlen=_STEPS)
        self._lowest = math.inf
        for loss in before:
            self.add(loss)

    def add(self, loss: float) -> str | None:
        """What is wrong with this step's loss, in words, or None."""
        if not loss < self._ceiling:
            return f"the loss is {loss:.4g}"
        if math.isinf(loss):  # to the other side
            return f"the loss is {loss}"
        self._last.append(loss)
        if len(self._last) < _STEPS:
            return None
        mean = sum(self._last) / _STEPS
        self._lowest = min(self._lowest, mean)
        if mean > self._lowest + _SHARE * self._ceiling:
            return (
                f"the loss of the last {_STEPS} steps is {mean:.4g} on average and was "
                f"{self._lowest:.4g}"
            )
        return None
