"""The search itself: Optuna proposes settings, trainings are measured, bad ones are cut short."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from chatwright.records import fingerprint
from chatwright.train.tune.journal import Journal, Trial
from chatwright.train.tune.space import Choices, Range, Space, points_of, varied

if TYPE_CHECKING:
    import optuna

PrunerName = Literal["median", "hyperband", "none"]

# Drawn at random before the model of good settings has something to learn from.
_RANDOM_TRIALS = 8
# The median rule compares with this many finished trials at least, and from this tenth on: before
# it, the learning rate is still rising.
_TRIALS_BEFORE_PRUNING = 4
_PRUNED_FROM_TENTH = 2
_DIGITS = 4


class Pruned(Exception):  # noqa: N818 (an event, not an error)
    """Ends a training that is not worth finishing."""


class TrialFailed(Exception):  # noqa: N818
    """Ends a trial whose settings do not train; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search: `first` are the values that are tried first, where the space has them.

    A space with no more points than `trials` is gone through whole. Otherwise the
    tree-structured Parzen estimator proposes (Bergstra et al. 2011; multivariate as in Falkner et
    al. 2018). `pruner` "median" stops a training that is worse than the median of the others at
    the same tenth (Golovin et al. 2017); "hyperband" is Li et al. 2018.
    """

    space: Space
    trials: int
    seed: int = 0
    maximise: bool = False
    pruner: PrunerName = "median"
    timeout: float | None = None
    first: Mapping[str, Any] | None = None


class Run:
    """One trial while it is trained: its number and values, and where to report."""

    def __init__(self, number: int, values: dict[str, Any], trial: optuna.Trial) -> None:
        self.number = number
        self.values = values
        self.measured: dict[int, float] = {}
        self._trial = trial

    def report(self, tenth: int, value: float, *, again: bool = False) -> None:
        """The metric after that tenth of the training. Raises `Pruned` where it should end.

        `again`: it was reported before the training was interrupted, and did not end it.
        """
        self.measured[tenth] = value
        self._trial.report(value, tenth)
        if self._trial.should_prune() and not again:
            raise Pruned


def search(
    plan: Plan,
    train: Callable[[Run], float],
    journal: Journal,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Train with proposed settings until the journal holds `plan.trials` finished trials.

    `train(run)` returns the metric at the end, or raises `Pruned` or `TrialFailed`, which are
    recorded; any other exception ends the search and leaves the trial to be gone on with. With one
    seed the trials are the same, interrupted or not: each is proposed from the journal alone.
    After `plan.timeout` seconds no further trial begins.
    """
    began = time.monotonic()
    points = _points(plan)
    total = plan.trials if points is None else len(points)
    while (index := _unfinished(journal)) < total:
        if plan.timeout is not None and time.monotonic() - began >= plan.timeout:
            break
        study = _study(plan, journal.trials[:index])
        proposed = _propose(plan, study, index, journal, points)
        values = _values(plan.space, proposed)
        trial = Trial(index + 1, "running", values, dict(proposed.params))
        before = next((t for t in journal.trials[:index] if t.values == values), None)
        if before is not None:
            trial = replace(
                before, number=index + 1, params=trial.params, same_as=before.number, seconds=0.0
            )
        else:
            journal.add(trial)
            trial = _train(trial, train, proposed)
            remembered = study.get_trials(deepcopy=False)[index].system_attrs
            # What its pruner remembers; what a sampler notes is for trials that run side by side.
            kept = {k: v for k, v in remembered.items() if k.startswith("completed_rung")}
            trial = replace(trial, optuna=kept)
        journal.add(trial)
        tell(trial)
    return list(journal.trials)


def best_of(trials: Sequence[Trial], maximise: bool) -> Trial | None:
    """The finished trial with the best result; the earlier one of equals."""
    done = [t for t in trials if t.state == "complete" and t.result is not None]
    sign = -1.0 if maximise else 1.0
    return min(done, key=lambda t: (sign * float(t.result or 0.0), t.number), default=None)


def importances(plan: Plan, trials: Sequence[Trial]) -> dict[str, float]:
    """What share of the results' variance each setting explains (fANOVA, Hutter et al. 2014).

    Empty with fewer than eight finished trials, and where all gave the same.
    """
    import optuna

    results = {t.result for t in trials if t.state == "complete" and t.same_as is None}
    if len(results) < _RANDOM_TRIALS:
        return {}
    found = optuna.importance.get_param_importances(
        _study(plan, trials),
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=plan.seed),
    )
    return {key: float(share) for key, share in found.items()}


# -- inside ----------------------------------------------------------------------------------------


def _unfinished(journal: Journal) -> int:
    """Which trial to train next, from 0: the one that was cut off, or a new one."""
    trials = journal.trials
    return len(trials) - 1 if trials and trials[-1].state == "running" else len(trials)


def _train(trial: Trial, train: Callable[[Run], float], proposed: optuna.Trial) -> Trial:
    run = Run(trial.number, dict(trial.values), proposed)
    started = time.monotonic()
    reason = None
    result: float | None = None
    state: Literal["complete", "pruned", "failed"] = "complete"
    try:
        result = train(run)
        if not math.isfinite(result):
            raise TrialFailed(f"the result is {result}")
    except Pruned:
        state = "pruned"
        tenth = max(run.measured)
        result = run.measured[tenth]
        reason = f"stopped at {10 * tenth} % of the training"
    except TrialFailed as failed:
        state, reason, result = "failed", str(failed), None
    return replace(
        trial,
        state=state,
        result=result,
        reason=reason,
        measured=dict(run.measured),
        seconds=round(time.monotonic() - started, 2),
    )


def _study(plan: Plan, trials: Sequence[Trial]) -> optuna.Study:
    """A study in memory that holds these finished trials."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    number = len(trials)
    # Drawn anew for each trial, so that a search that goes on draws what it would have drawn.
    digest = fingerprint("sampler", [plan.seed, number])
    study = optuna.create_study(
        study_name="tune",  # Hyperband chooses a trial's bracket by it
        direction="maximize" if plan.maximise else "minimize",
        sampler=optuna.samplers.TPESampler(
            n_startup_trials=_RANDOM_TRIALS, multivariate=True, seed=int(digest[:8], 16)
        ),
        pruner=_pruner(plan.pruner),
    )
    distributions = {key: _distribution(v) for key, v in varied(plan.space).items()}
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=states[trial.state],
                params=trial.params,
                distributions=distributions,
                value=trial.result,
                intermediate_values=trial.measured,
                system_attrs=trial.optuna,
            )
        )
    return study


def _propose(
    plan: Plan,
    study: optuna.Study,
    index: int,
    journal: Journal,
    points: Sequence[dict[str, Any]] | None,
) -> optuna.Trial:
    fixed: Mapping[str, Any] = {}
    if index < len(journal.trials):
        fixed = journal.trials[index].params
    elif points is not None:
        fixed = points[index]
    elif index == 0 and plan.first is not None:
        fixed = {k: v for k, v in plan.first.items() if _contains(plan.space.get(k), v)}
    if fixed:
        study.enqueue_trial(dict(fixed))
    trial = study.ask()
    for key, values in varied(plan.space).items():
        if isinstance(values, Choices):
            trial.suggest_categorical(key, values.values)
        elif values.whole:
            step = int(values.step or 1)
            trial.suggest_int(key, int(values.low), int(values.high), log=values.log, step=step)
        else:
            trial.suggest_float(key, values.low, values.high, log=values.log, step=values.step)
    return trial


def _values(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """The settings of a trial: what a person would write, four digits at most."""
    found: dict[str, Any] = {}
    for key, values in space.items():
        if isinstance(values, Choices):
            found[key] = trial.params.get(key, values.values[0])
            continue
        value = trial.params[key]
        if not values.whole:
            value = min(max(float(f"{value:.{_DIGITS}g}"), values.low), values.high)
        found[key] = value
    return found


def _points(plan: Plan) -> list[dict[str, Any]] | None:
    """Every combination, the plan's first one first, where there are few enough."""
    count = points_of(plan.space)
    if count is None or count > plan.trials:
        return None
    searched = varied(plan.space)
    axes = [_axis(values) for values in searched.values()]
    points = [dict(zip(searched, point, strict=True)) for point in itertools.product(*axes)]
    first = plan.first or {}
    return sorted(points, key=lambda p: sum(first.get(k) != v for k, v in p.items()))


def _axis(values: Range | Choices) -> Sequence[Any]:
    if isinstance(values, Choices):
        return values.values
    if values.whole:
        return range(int(values.low), int(values.high) + 1, int(values.step or 1))
    step = values.step or 1.0
    count = int((values.high - values.low) / step + 1e-9) + 1
    return [values.low + i * step for i in range(count)]


def _contains(values: Range | Choices | None, value: Any) -> bool:
    if isinstance(values, Choices):
        return len(values.values) > 1 and value in values.values
    if values is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return values.low <= value <= values.high and (
        values.step is None or math.isclose((value - values.low) % values.step, 0, abs_tol=1e-12)
    )


def _distribution(values: Range | Choices) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(values, Choices):
        return CategoricalDistribution(values.values)
    if values.whole:
        step = int(values.step or 1)
        return IntDistribution(int(values.low), int(values.high), values.log, step)
    return FloatDistribution(values.low, values.high, values.log, values.step)


def _pruner(name: PrunerName) -> Any:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    if name == "median":
        return MedianPruner(_TRIALS_BEFORE_PRUNING, _PRUNED_FROM_TENTH)
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=10)
    return NopPruner()
