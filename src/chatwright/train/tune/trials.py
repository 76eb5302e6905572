"""One trial: the recipe's stage with other settings, trained and measured, nothing saved."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from chatwright.errors import TrainingError, UsageError
from chatwright.progress import Progress
from chatwright.records import fingerprint
from chatwright.stage import StageContext
from chatwright.train.metrics import read_metrics
from chatwright.train.stages import TrainStage
from chatwright.train.tune.search import Run, TrialFailed
from chatwright.train.tune.space import explain, with_values
from chatwright.train.watch import Watcher

if TYPE_CHECKING:
    from chatwright.train.loop import Trainer

TENTHS = 10
# The search measures at each tenth of a trial, however long it is.
_OVERRIDES = {"validate_every": None, "samples": None}


class Reports(Watcher):
    """Tells a search the metric at each tenth of the training.

    A validation metric is the last one measured; another one (the training loss, a reward) is the
    mean over the steps since the tenth before. `final` is the value at the end.
    """

    def __init__(self, metric: str, run: Run) -> None:
        self._metric = metric
        self._run = run
        self._tenth = 0
        self._since: list[float] = []
        self._seen: set[str] = set()
        self.final: float | None = None

    def begin(self, trainer: Trainer) -> None:
        """Take in what was measured before the training was interrupted."""
        if trainer.folder is None:
            return
        for line in read_metrics(trainer.folder / "metrics.jsonl"):
            if line["step"] <= trainer.position.step:
                self._take(line["step"], trainer.total, line, again=True)

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        self._take(step, trainer.total, values, again=False)

    def value(self) -> float:
        """The metric at the end. Raises `UsageError` where the training measures no such thing."""
        if self.final is None:
            raise UsageError(
                f"the training measures no {self._metric!r}",
                where="--metric",
                hint=f"it measures {', '.join(sorted(self._seen))}",
            )
        return self.final

    def _take(self, step: int, total: int, values: dict[str, float], *, again: bool) -> None:
        self._seen |= values.keys()
        value = values.get(self._metric)
        if value is not None:
            self._since.append(value)
        tenth = TENTHS * step // total
        if tenth > self._tenth and self._since:
            last = self._metric.startswith("validation_")
            found = self._since[-1] if last else sum(self._since) / len(self._since)
            self._since.clear()
            self._tenth = tenth
            if tenth < TENTHS:
                self._run.report(tenth, found, again=again)
            else:
                self.final = found


class Once:
    """A `Progress` that says no line twice: each trial would name the same rows again."""

    def __init__(self, progress: Progress) -> None:
        self.task = progress.task
        self._line = progress.line
        self._said: set[str] = set()

    def line(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._line(text)


def trainer_of(
    stage: TrainStage, context: StageContext, metric: str, folder: Path
) -> Callable[[Run], float]:
    """What `search` calls: trains `stage` with a trial's values and returns `metric` at the end.

    `context` is the stage's own (its inputs, seed and fingerprint). Each trial has a folder of its
    number in `folder`, with `metrics.jsonl` and a TensorBoard log; tokenised rows are shared.
    Settings that do not go together, that diverge or need more memory than there is raise
    `TrialFailed`.
    """
    once = Once(context.progress)

    def train(run: Run) -> float:
        import torch

        from chatwright.train.stages import fit

        scratch = folder / f"{run.number:04}"
        tokens = scratch / "tokens"
        (folder / "tokens").mkdir(parents=True, exist_ok=True)
        scratch.mkdir(exist_ok=True)
        if not tokens.is_symlink():
            shutil.rmtree(tokens, ignore_errors=True)
            tokens.symlink_to(Path("..") / "tokens", target_is_directory=True)
        reports = Reports(metric, run)
        own = replace(
            context,
            progress=once,
            scratch=scratch,
            fingerprint=fingerprint("trial", [context.fingerprint, run.number, run.values]),
        )
        try:
            fit(with_values(stage, run.values | _OVERRIDES), own, [reports])
            return reports.value()
        except ValidationError as error:
            raise TrialFailed(explain(error)) from error
        except TrainingError as error:
            raise TrialFailed(error.message) from error
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise TrialFailed("there was not enough memory") from error
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    return train


def clear_state(folder: Path, number: int) -> None:
    """Remove what a finished trial would go on from; its metrics stay."""
    shutil.rmtree(folder / f"{number:04}" / "state", ignore_errors=True)
    (folder / f"{number:04}" / "tokens").unlink(missing_ok=True)
