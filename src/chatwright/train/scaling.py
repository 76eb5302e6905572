"""Loss scaling for float16, whose smallest numbers are larger than many gradients."""

from __future__ import annotations

import math

# A scale of 65,536 for the mean loss is torch's start as well; it halves until it fits.
_START = 2.0**16
# torch waits 2,000 steps before it doubles the scale. Runs here may be shorter than that.
_GROW_AFTER = 200
_LARGEST = 2.0**24
# From 65,536 halved so often the scale is 1, and float16 overflows for another reason.
_BAD_AT_MOST = 16


class LossScaler:
    """Dynamic loss scaling (Micikevicius et al. 2018): what the loss is multiplied by.

    Gradients too large for float16 become infinite: that step is skipped and the scale is halved.
    After `grow_after` good steps in a row it doubles. Without float16 (`enabled` false) the scale
    is 1 and nothing is ever skipped.

    `batch_tokens` is about how many tokens a step's loss is the sum of: the start is divided by it,
    because the loop scales sums, not means.
    """

    def __init__(
        self, enabled: bool, *, batch_tokens: int = 1, grow_after: int = _GROW_AFTER
    ) -> None:
        self.enabled = enabled
        self.scale = 1.0
        if enabled:
            self.scale = 2.0 ** math.floor(math.log2(_START / max(1, batch_tokens)))
        self._grow_after = grow_after
        self._good_in_a_row = 0
        self.bad_in_a_row = 0
        self.skipped = 0

    @property
    def can_skip(self) -> bool:
        """Whether one more step with infinite gradients may be skipped, or it is an error."""
        return self.enabled and self.bad_in_a_row < _BAD_AT_MOST

    def update(self, found_bad: bool) -> None:
        """Take note of a step; with `found_bad` its gradients were infinite and it was skipped."""
        if not self.enabled:
            return
        if found_bad:
            self.scale /= 2
            self.skipped += 1
            self.bad_in_a_row += 1
            self._good_in_a_row = 0
            return
        self.bad_in_a_row = 0
        self._good_in_a_row += 1
        if self._good_in_a_row == self._grow_after:
            self.scale = min(_LARGEST, self.scale * 2)
            self._good_in_a_row = 0

    def metrics(self) -> dict[str, float]:
        """For the log: the scale, and how many steps were skipped so far."""
        if not self.enabled:
            return {}
        return {"loss_scale": self.scale, "skipped_steps": float(self.skipped)}

    def state(self) -> dict[str, float]:
        """What a checkpoint must keep; powers of two and counts, exact in JSON."""
        if not self.enabled:
            return {}
        return {
            "scale": self.scale,
            "good_in_a_row": float(self._good_in_a_row),
            "bad_in_a_row": float(self.bad_in_a_row),
            "skipped": float(self.skipped),
        }

    def load_state(self, state: dict[str, float]) -> None:
        """Put back what `state` gave."""
        if not self.enabled:
            return
        self.scale = float(state["scale"])
        self._good_in_a_row = int(state["good_in_a_row"])
        self.bad_in_a_row = int(state["bad_in_a_row"])
        self.skipped = int(state["skipped"])
