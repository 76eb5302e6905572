"""The training loop: one for every objective."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from chatwright.errors import TrainingError, UsageError
from chatwright.model import Transformer
from chatwright.progress import Progress, Silent
from chatwright.train.blocks import training_blocks
from chatwright.train.checkpoint import (
    Checkpoints,
    Position,
    TrainingState,
    rng_of_ranks,
    rng_state,
    set_rng_state,
)
from chatwright.train.divergence import Divergence
from chatwright.train.metrics import MetricsLog
from chatwright.train.numbers import Numbers
from chatwright.train.objectives import Objective
from chatwright.train.optim import Optimizers, group_parameters, torch_threads
from chatwright.train.packing import Batch
from chatwright.train.padding import padded_batches
from chatwright.train.parallel import Parallel, choose_mode, make_parallel
from chatwright.train.scaling import LossScaler
from chatwright.train.schedule import learning_rate_factor
from chatwright.train.settings import TrainSettings
from chatwright.train.sharing import Part, share
from chatwright.train.source import HeldOut, Source
from chatwright.train.stopping import Stop, stop_on_signal
from chatwright.train.sums import Sums
from chatwright.train.tokens import name_rows
from chatwright.train.watch import Callback, Pace, status_line
from chatwright.train.world import World, peers_named

# Seeds of the ranks' generators lie this far apart; they draw dropout only.
_APART = 1_000_003
# The objectives whose step is the model's own arithmetic; adapters were not tried.
_COMPILED = ("pretrain", "sft")


@dataclass(slots=True)
class Trainer:
    """Trains `model` in place, step by step, and saves its state in `folder` (None: never).

    Parameters with `requires_grad` are trained; the others stay. The state is bound to `run`, the
    fingerprint of model, data and settings. `ceiling` says which losses count as divergence
    (`Divergence`). `batches` are those of the last step, for callbacks to look at.

    With several processes (`world`) all of them call `fit` with the same arguments; callbacks, the
    log and `progress` are the main one's.
    """

    model: Transformer
    objective: Objective
    source: Source
    settings: TrainSettings
    numbers: Numbers
    total: int
    seed: int
    run: str
    folder: Path | None = None
    validation: HeldOut | None = None
    ceiling: float = math.inf
    callbacks: Sequence[Callback] = ()
    progress: Progress = field(default_factory=Silent)
    world: World = field(default_factory=World)

    position: Position = field(init=False, default_factory=Position)
    batches: Sequence[Batch] = field(init=False, default=())
    last_loss: float = field(init=False, default=math.nan)
    validation_loss: float | None = field(init=False, default=None)
    checkpoints: Checkpoints | None = field(init=False, default=None)
    parallel: Parallel = field(init=False)
    optimizers: Optimizers = field(init=False)
    scaler: LossScaler = field(init=False)
    divergence: Divergence = field(init=False)
    pace: Pace = field(init=False)
    _stop: Stop = field(init=False, default_factory=Stop)
    _told: Stop = field(init=False, default_factory=Stop)
    _saved_at: float = field(init=False, default=0.0)
    _late: bool = field(init=False, default=False)

    def fit(self) -> None:
        """Train to the last step, from the newest checkpoint where there is one.

        SIGINT or SIGTERM: the step is finished, saved, and `KeyboardInterrupt` (or `SystemExit`)
        raised. Raises `TrainingError` on divergence, naming step, rows and last good checkpoint.
        """
        with peers_named(self.world):
            self._fit()

    def _fit(self) -> None:
        s = self.settings
        self._begin()
        saved = None
        if self.folder is not None:
            self.checkpoints = self._checkpoints(self.folder / "state")
            saved = self.checkpoints.latest(self.progress.line)
        threads = s.threads or (saved.position.threads if saved else torch.get_num_threads())
        with (
            torch_threads(threads),
            torch.random.fork_rng(_devices()),
            training_blocks(
                self.parallel.model,
                dropout=s.dropout,
                checkpoint=s.checkpoint_activations,
                compile=self._compiles(),
            ),
            stop_on_signal(patient=self.world.size > 1) as stop,
        ):
            torch.manual_seed(self.seed + _APART * self.world.rank)
            if saved is not None:
                self._restore(saved)
                self.progress.line(f"going on after step {self.position.step} of {self.total}")
            self.position.threads = threads
            self._stop = stop
            self._run()
        self.parallel.close()
        self.model.eval()

    def _begin(self) -> None:
        """What is trained, in which types, and by which optimizers."""
        s, n = self.settings, self.numbers
        mode = choose_mode(s, self.model, self.world)
        if mode == "fsdp" and not self.source.static:
            raise UsageError(
                "this run's data is written by the model itself, which FSDP2 cuts up",
                where="distributed: fsdp",
                hint="set distributed: ddp",
            )
        self.parallel = make_parallel(
            self.model,
            self.objective,
            n.dtype,
            mode=mode,
            world=self.world,
            optimizer=n.optimizer,
        )
        self.optimizers = Optimizers(
            group_parameters(self.parallel.masters.items()),
            n.optimizer,
            learning_rate=n.learning_rate,
            rates=n.rates,
            weight_decay=n.weight_decay,
            betas=s.betas,
            momentum=s.momentum,
            nesterov=s.nesterov,
            eps=s.eps,
        )
        self.scaler = LossScaler(n.dtype == torch.float16, batch_tokens=n.batch_tokens)

    def _compiles(self) -> bool:
        """As the settings say. Where they say nothing: on a GPU, in runs that are long enough.

        The same for every process of a run that is gone on with: its total is.
        """
        s = self.settings
        if "compile" in s.model_fields_set or s.objective not in _COMPILED or s.lora is not None:
            return s.compile
        from chatwright.train.compiled import worth_compiling
        from chatwright.train.flops import training_cost

        tokens = self.total * self.numbers.batch_tokens
        return worth_compiling(
            self.parallel.device, training_cost(self.parallel.model).token * tokens
        )

    def _checkpoints(self, folder: Path) -> Checkpoints:
        keep = self.settings.keep_checkpoints
        if self.world.size == 1:
            return Checkpoints(folder, self.run, keep)
        from chatwright.train.world_checkpoint import WorldCheckpoints

        return WorldCheckpoints(folder, self.run, keep, self.world, self.parallel)

    def _run(self) -> None:
        """Step after step, with what belongs between them."""
        s = self.settings
        position = self.position
        main = self.world.is_main
        log = MetricsLog(self.folder, position.step) if self.folder and main else None
        losses = self.world.from_main(lambda: log.losses if log else [])
        self.divergence = Divergence(self.ceiling, losses)
        callbacks = self._callbacks()
        self._saved_at = time.monotonic()
        saved_step = position.step
        try:
            with self.progress.task("train", self.total) as task:
                task.advance(position.step)
                for callback in callbacks:
                    callback.begin(self)
                started = time.monotonic() - position.seconds  # of training, not of what it needs
                self.pace = Pace(position.tokens)
                while position.step < self.total:
                    begun = time.monotonic()
                    values = self._step()
                    stop = self._told if self.world.size > 1 else self._stop
                    taken = time.monotonic() - begun
                    position.seconds = time.monotonic() - started
                    done = position.step
                    if self._validation_due(done):
                        values |= self.validate()
                    values |= self._speed(taken)
                    for callback in callbacks:
                        callback.after_step(self, done, values)
                    if log is not None:
                        log.write(done, values)
                    task.advance()
                    task.status(self._status(values))
                    due = done % s.checkpoint_every == 0 if s.checkpoint_every else self._late
                    if self.checkpoints and (due or stop or done == self.total):
                        if done > saved_step:
                            self.checkpoints.save(self._state())
                        self._saved_at, saved_step = time.monotonic(), done
                    if stop and done < self.total:
                        kept = "its state is saved; run it again to go on"
                        kept = kept if self.checkpoints else "nothing was saved"
                        self.progress.line(f"stopped after step {done} of {self.total}: {kept}")
                        stop.leave()
        finally:
            for callback in callbacks:
                callback.end(self)
            if log is not None:
                log.close()

    def _callbacks(self) -> list[Callback]:
        """Those that look on here: in the main process, and where they find what they look at."""
        if not self.world.is_main:
            return []
        found = list(self.callbacks)
        if self.parallel.mode == "fsdp":
            found = [c for c in found if not getattr(c, "needs_weights", False)]
            if len(found) < len(self.callbacks):
                self.progress.line("samples are left out: with FSDP2 no process has all weights")
        return found

    # -- one step --------------------------------------------------------------------------------

    def _laid_out(self, batches: list[Batch]) -> list[Batch]:
        """As the settings want the sequences: end to end, or padded beside each other."""
        if self.settings.packing == "packed":
            return batches
        return padded_batches(batches, self.numbers.micro_batch_tokens)

    def _made(self, step: int) -> list[Batch]:
        """The micro-batches of a step, the same in every process."""
        tokens = self.numbers.micro_batch_tokens
        if self.source.static:
            batches = self.source.step(step, tokens)
        else:
            batches = self.world.from_main(lambda: self.source.step(step, tokens))
        return self._laid_out(batches)

    def _mine(self, batches: Sequence[Batch]) -> list[Part]:
        tokens = self.numbers.micro_batch_tokens
        return share(batches, self.world.rank, self.world.size, tokens)

    def _step(self) -> dict[str, float]:
        s, scaler, step = self.settings, self.scaler, self.position.step
        batches = self._made(step)
        parallel, parts = self.parallel, self._mine(batches)
        parallel.model.train()
        parallel.clear()
        sums = Sums()
        for number, part in enumerate(parts, start=1):
            sums.add(parallel.backward(part, scaler.scale, last=number == len(parts)))
        sums = self._agreed(sums)
        if sums.weight == 0:
            raise TrainingError(
                f"no token of step {step + 1} carries loss; its rows: {_rows_of(batches)}",
                hint="remove these rows from the data",
            )
        wrong = self.divergence.add(sums.loss)
        if wrong is not None:
            self._diverged(wrong, batches)
        norm = parallel.finish(sums.weight * scaler.scale, s.clip)
        bad = not math.isfinite(norm)
        if bad and not scaler.can_skip:
            self._diverged(f"the gradient's norm is {norm}", batches)
        scaler.update(bad)
        rate = 0.0
        if not bad:
            rate = self.optimizers.step(
                learning_rate_factor(
                    step,
                    self.total,
                    s.schedule,
                    warmup=s.warmup,
                    decay=s.decay,
                    final=s.final_learning_rate,
                )
            )
            parallel.publish()
        self.position.step += 1
        self.position.tokens += sum(batch.tokens.numel() - batch.padding for batch in batches)
        self.position.supervised += int(sums.weight)
        self.batches, self.last_loss = batches, sums.loss
        values = {"loss": sums.loss, "lr": rate}
        if not bad:  # JSON has no infinity
            values["gradient_norm"] = norm
        return values | sums.metrics() | scaler.metrics() | self.source.metrics()

    def _agreed(self, own: Sums) -> Sums:
        """The sums of all processes. What one is told by a signal or its clock, all know then."""
        late = time.monotonic() - self._saved_at >= self.settings.checkpoint_seconds
        told = self.world.gather((own, self._stop.signal, late))
        self._late = told[0][2]
        if self.world.size > 1:
            # A signal of its own that comes later waits for the next step.
            self._told = Stop(next((signal for _, signal, _ in told if signal), None))
        return Sums.of([sums for sums, _, _ in told])

    def _diverged(self, what: str, batches: Sequence[Batch]) -> None:
        good = self.checkpoints.complete()[-1:] if self.checkpoints else []
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
        """Loss and metrics on the validation data, and bits per byte where its text is known."""
        assert self.validation is not None
        self.parallel.model.eval()
        batches, text_bytes = self.validation.once(
            self.settings.validation_tokens, self.numbers.micro_batch_tokens
        )
        sums = Sums()
        for part in self._mine(self._laid_out(batches)):
            sums.add(self.parallel.loss(part))
        sums = Sums.of(self.world.gather(sums))
        self.validation_loss = sums.loss
        values = {"validation_loss": self.validation_loss}
        values |= {f"validation_{name}": value for name, value in sums.metrics().items()}
        if text_bytes:
            values["validation_bits_per_byte"] = sums.total / math.log(2) / text_bytes
        return values

    # -- state -----------------------------------------------------------------------------------

    def _state(self) -> TrainingState:
        weights, optimizer = self.parallel.state(self.optimizers.tensors())
        kept = self.scaler.state()
        self.position.counters |= {f"scaler.{name}": value for name, value in kept.items()}
        rng = rng_of_ranks(self.world.gather(rng_state()))
        return TrainingState(self.position, weights, optimizer, rng, self.source.state())

    @torch.no_grad()
    def _restore(self, saved: TrainingState) -> None:
        self.parallel.load(saved.weights)
        self.optimizers.load_tensors(saved.optimizer)
        set_rng_state(saved.rng, self.world.rank)
        self.source.load_state(saved.source)
        self.position = saved.position
        counters = self.position.counters.items()
        of_scaler = {k.split(".")[1]: v for k, v in counters if k.startswith("scaler.")}
        if of_scaler:
            self.scaler.load_state(of_scaler)

    # -- telling ---------------------------------------------------------------------------------

    def _speed(self, taken: float) -> dict[str, float]:
        p = self.position
        return {
            "tokens": p.tokens,
            "supervised_tokens": p.supervised,
            "tokens_per_second": round(p.tokens / max(p.seconds, 1e-9), 1),
            "step_seconds": round(taken, 4),
            "seconds": round(p.seconds, 2),
        }

    def _status(self, values: dict[str, float]) -> str:
        p = self.position
        return status_line(
            values,
            tokens_per_second=self.pace.add(p.tokens, values["step_seconds"]),
            seconds_left=(self.total - p.step) * p.seconds / p.step,
        )


def _rows_of(batches: Sequence[Batch]) -> str:
    return name_rows(dict.fromkeys(row for batch in batches for row in batch.row_ids))


def _devices() -> list[int]:
    """The GPU whose generator is drawn from, where there is one."""
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []
