"""Watching a run: callbacks that the loop calls, and the line that a terminal shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from chatwright.tokenizer import Tokenizer
    from chatwright.train.flops import Cost
    from chatwright.train.loop import Trainer
    from chatwright.train.samples import SampleSettings


class Callback(Protocol):
    """Looks on while a model is trained. The loop calls it; it changes neither weights nor order.

    What a callback draws at random it draws from a generator of its own: a run with callbacks and
    one without give the same bits. An exception ends the run (that is how a search prunes it).
    """

    def begin(self, trainer: Trainer) -> None:
        """Before the first step of this process; `trainer.position.step` steps are done."""

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        """After step number `step` (1-based), before its line is written to `metrics.jsonl`.

        `values` holds the loss, the learning rate and, where they were due, validation losses;
        what is added to it goes into the file and onto TensorBoard too.
        """

    def end(self, trainer: Trainer) -> None:
        """After the last step of this process, also when it was interrupted or failed."""


class Watcher:
    """A `Callback` that does nothing: a base for those that need only one of its methods."""

    def begin(self, trainer: Trainer) -> None:
        return None

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        return None

    def end(self, trainer: Trainer) -> None:
        return None


class Mfu(Watcher):
    """Adds `mfu`, the share of the machine's peak that a step's own arithmetic gets (0 … 1).

    Operations are counted by `flops.training_cost`, for the sequences of the step as they are. The
    time is the whole step's, rollouts included, whose arithmetic is not counted; nor is that of
    helping models (reference, reward, teacher).
    """

    def __init__(self) -> None:
        self._cost: Cost | None = None
        self._peak = 0.0

    def begin(self, trainer: Trainer) -> None:
        from chatwright.train.flops import peak_of, training_cost

        model = trainer.model
        self._cost = training_cost(model, head=trainer.settings.objective != "reward")
        peak = peak_of(trainer.parallel.device, trainer.numbers.dtype)
        self._peak = peak.flops * trainer.world.size

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        seconds = values["step_seconds"]
        if self._cost is not None and seconds > 0:
            operations = self._cost.of_batches(trainer.batches)
            values["mfu"] = round(operations / seconds / self._peak, 4)


class Pace:
    """Tokens per second over the last steps, by the time that the steps themselves took.

    What comes between steps (validation, samples, checkpoints) is in the time that is left, and
    not in the speed.
    """

    def __init__(self, tokens: int = 0, steps: int = 20) -> None:
        self._tokens = tokens
        self._last: deque[tuple[int, float]] = deque(maxlen=steps)

    def add(self, tokens: int, seconds: float) -> float:
        """`tokens` seen so far in all, and how long the step took: the speed."""
        self._last.append((tokens - self._tokens, seconds))
        self._tokens = tokens
        return sum(n for n, _ in self._last) / max(sum(s for _, s in self._last), 1e-9)


def default_callbacks(samples: SampleSettings | None, tokenizer: Tokenizer) -> list[Callback]:
    """Those that every run has: MFU, and samples where they are asked for."""
    found: list[Callback] = [Mfu()]
    if samples is not None:
        from chatwright.train.samples import Samples

        found.append(Samples(samples, tokenizer))
    return found


def status_line(
    values: Mapping[str, float], *, tokens_per_second: float, seconds_left: float
) -> str:
    """What a terminal shows beside the bar: loss, speed, MFU where it is known, time left.

    >>> status_line({"loss": 3.2, "mfu": 0.41}, tokens_per_second=2150, seconds_left=75)
    'loss 3.200 · 2,150 tok/s · MFU 41 % · ETA 1:15'
    """
    parts = [f"loss {values['loss']:.3f}"]
    if "reward" in values:
        parts.append(f"reward {values['reward']:.3f}")
    parts.append(f"{tokens_per_second:,.0f} tok/s")
    if "mfu" in values:
        parts.append(f"MFU {100 * values['mfu']:.0f} %")
    parts.append(f"ETA {clock(seconds_left)}")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: `1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
