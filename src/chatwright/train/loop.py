"""The training loop: one for every objective."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

from chatwright.errors import TrainingError
from chatwright.model import Transformer
from chatwright.progress import Progress, Silent
from chatwright.train.checkpoint import (
    Checkpoints,
    Position,
    TrainingState,
    rng_state,
    set_rng_state,
)
from chatwright.train.fused import fused_blocks
from chatwright.train.metrics import MetricsLog
from chatwright.train.numbers import Numbers
from chatwright.train.objectives import Objective
from chatwright.train.optim import (
    Masters,
    Optimizers,
    finish_gradients,
    group_parameters,
    torch_threads,
)
from chatwright.train.packing import Batch
from chatwright.train.plan import Plan
from chatwright.train.schedule import learning_rate_factor
from chatwright.train.settings import TrainSettings
from chatwright.train.tokens import name_rows

# A uniform guess costs ln V nats per token. A loss three times that has diverged.
_DIVERGED = 3.0


@dataclass(slots=True)
class Interrupted:
    """Set by SIGINT or SIGTERM: the loop finishes its step and saves."""

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@dataclass(slots=True)
class Trainer:
    """Trains `model` in place, step by step, and saves its state in `folder` (None: never).

    Parameters with `requires_grad` are trained; the others stay. The state is bound to `run`, the
    fingerprint of model, data and settings.
    """

    model: Transformer
    objective: Objective
    plan: Plan
    settings: TrainSettings
    numbers: Numbers
    total: int
    seed: int
    run: str
    folder: Path | None = None
    validation: Plan | None = None
    progress: Progress = field(default_factory=Silent)

    position: Position = field(init=False, default_factory=Position)
    last_loss: float = field(init=False, default=math.nan)
    validation_loss: float | None = field(init=False, default=None)

    def fit(self) -> None:
        """Train to the last step, from the newest checkpoint where there is one.

        SIGINT or SIGTERM: the step is finished, saved, and `KeyboardInterrupt` (or `SystemExit`)
        raised. Raises `TrainingError` on divergence, naming step, rows and last good checkpoint.
        """
        s, n = self.settings, self.numbers
        trained = {
            k: p.detach().float() for k, p in self.model.named_parameters() if p.requires_grad
        }
        _to_dtype(self.model, n.dtype)
        masters = Masters(self.model, trained)
        del trained
        groups = group_parameters(masters.masters.items())
        optimizers = Optimizers(
            groups,
            n.optimizer,
            learning_rate=n.learning_rate,
            weight_decay=n.weight_decay,
            betas=s.betas,
        )
        checkpoints = None
        saved = None
        if self.folder is not None:
            checkpoints = Checkpoints(self.folder / "state", self.run, s.keep_checkpoints)
            saved = checkpoints.latest(self.progress.line)
        threads = s.threads or (saved.position.threads if saved else torch.get_num_threads())
        with (
            torch_threads(threads),
            torch.random.fork_rng(),
            fused_blocks(self.model),
            _stop_on_signal() as stop,
            self.progress.task("train", self.total) as task,
        ):
            torch.manual_seed(self.seed)
            if saved is not None:
                self._restore(saved, masters, optimizers)
                task.advance(self.position.step)
                self.progress.line(f"going on after step {self.position.step} of {self.total}")
            self.position.threads = threads
            log = MetricsLog(self.folder, self.position.step) if self.folder else None
            started, saved_at = time.monotonic() - self.position.seconds, time.monotonic()
            saved_step = self.position.step
            try:
                while self.position.step < self.total:
                    begun = time.monotonic()
                    values = self._step(masters, optimizers, checkpoints)
                    taken = time.monotonic() - begun
                    self.position.seconds = time.monotonic() - started
                    done = self.position.step
                    if self._validation_due(done):
                        values |= self.validate()
                    if log is not None:
                        log.write(done, values | self._speed(values, taken))
                    task.advance()
                    task.status(self._status(values, taken))
                    due = (
                        done % s.checkpoint_every == 0
                        if s.checkpoint_every
                        else time.monotonic() - saved_at >= s.checkpoint_seconds
                    )
                    if checkpoints and (due or stop or done == self.total) and done > saved_step:
                        checkpoints.save(self._state(masters, optimizers))
                        saved_at, saved_step = time.monotonic(), done
                    if stop and done < self.total:
                        self._leave(stop, checkpoints is not None)
            finally:
                if log is not None:
                    log.close()
        self.model.eval()

    # -- one step --------------------------------------------------------------------------------

    def _step(
        self, masters: Masters, optimizers: Optimizers, checkpoints: Checkpoints | None
    ) -> dict[str, float]:
        step = self.position.step
        batches = self.plan.step(step, self.numbers.micro_batch_tokens)
        self.model.train()
        masters.clear()
        total = weight = 0.0
        for batch in batches:
            loss = self.objective.loss(self.model, batch.to(self.model.device))
            loss.sum.backward()
            masters.collect()
            total += float(loss.sum.detach())
            weight += float(loss.weight)
        if weight == 0:
            raise TrainingError(
                f"no token of step {step + 1} carries loss; its rows: {_rows_of(batches)}",
                hint="remove these rows from the data",
            )
        value = total / weight
        if not value < _DIVERGED * math.log(self.model.config.vocab_size):
            self._diverged(f"the loss is {value:.4g}", batches, checkpoints)
        norm = finish_gradients(masters.masters.values(), weight, self.settings.clip)
        if not math.isfinite(norm):
            self._diverged(f"the gradient's norm is {norm}", batches, checkpoints)
        s = self.settings
        rate = optimizers.step(
            learning_rate_factor(
                step,
                self.total,
                s.schedule,
                warmup=s.warmup,
                decay=s.decay,
                final=s.final_learning_rate,
            )
        )
        masters.publish()
        self.position.step += 1
        self.position.tokens += sum(batch.tokens.numel() for batch in batches)
        self.position.supervised += int(weight)
        self.last_loss = value
        return {"loss": value, "lr": rate, "gradient_norm": norm}

    def _diverged(
        self, what: str, batches: Sequence[Batch], checkpoints: Checkpoints | None
    ) -> None:
        good = checkpoints.complete()[-1:] if checkpoints else []
        raise TrainingError(
            f"training diverged at step {self.position.step + 1}: {what}. Rows of this step: "
            f"{_rows_of(batches)}. Last good checkpoint: {good[0] if good else 'none'}",
            where=str(self.folder) if self.folder else None,
            hint="lower the learning rate, or look at these rows",
        )

    # -- validation ------------------------------------------------------------------------------

    def _validation_due(self, done: int) -> bool:
        if self.validation is None:
            return False
        every = self.settings.validate_every or max(1, self.total // 10)
        return done % every == 0 or done == self.total

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss on the validation data, and bits per byte where its text is known."""
        assert self.validation is not None
        self.model.eval()
        batches, text_bytes = self.validation.once(
            self.settings.validation_tokens, self.numbers.micro_batch_tokens
        )
        total = weight = 0.0
        for batch in batches:
            loss = self.objective.loss(self.model, batch.to(self.model.device))
            total += float(loss.sum)
            weight += float(loss.weight)
        self.validation_loss = total / max(1.0, weight)
        values = {"validation_loss": self.validation_loss}
        if text_bytes:
            values["validation_bits_per_byte"] = total / math.log(2) / text_bytes
        return values

    # -- state -----------------------------------------------------------------------------------

    def _state(self, masters: Masters, optimizers: Optimizers) -> TrainingState:
        weights = {name: p.detach() for name, p in masters.masters.items()}
        return TrainingState(self.position, weights, optimizers.tensors(), rng_state())

    @torch.no_grad()
    def _restore(self, saved: TrainingState, masters: Masters, optimizers: Optimizers) -> None:
        if set(saved.weights) != set(masters.masters):
            raise TrainingError("the saved training state is of another model")
        for name, master in masters.masters.items():
            master.copy_(saved.weights[name])
        masters.publish()
        optimizers.load_tensors(saved.optimizer)
        set_rng_state(saved.rng)
        self.position = saved.position

    # -- telling ---------------------------------------------------------------------------------

    def _speed(self, values: dict[str, float], taken: float) -> dict[str, float]:
        p = self.position
        return {
            "tokens": p.tokens,
            "supervised_tokens": p.supervised,
            "tokens_per_second": round(p.tokens / max(p.seconds, 1e-9), 1),
            "step_seconds": round(taken, 4),
            "seconds": round(p.seconds, 2),
        }

    def _status(self, values: dict[str, float], taken: float) -> str:
        p = self.position
        left = (self.total - p.step) * p.seconds / p.step
        speed = p.tokens / max(p.seconds, 1e-9)
        return f"loss {values['loss']:.3f} · {speed:,.0f} tok/s · ETA {_clock(left)}"

    def _leave(self, stop: Interrupted, saved: bool) -> None:
        kept = "its state is saved; run it again to go on" if saved else "nothing was saved"
        self.progress.line(f"stopped after step {self.position.step} of {self.total}: {kept}")
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + int(stop.signal or 0))


def _to_dtype(model: Transformer, dtype: torch.dtype) -> None:
    """Weights to `dtype`, except adapters: they stay float32 and are rounded where used."""
    for name, parameter in model.named_parameters():
        if not name.endswith((".lora_A", ".lora_B")):
            parameter.data = parameter.data.to(dtype)


def _rows_of(batches: Sequence[Batch]) -> str:
    return name_rows(dict.fromkeys(row for batch in batches for row in batch.row_ids))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _stop_on_signal() -> Iterator[Interrupted]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT interrupts at once."""
    stop = Interrupted()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
