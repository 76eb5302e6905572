"""A search of one stage, from its options to the files that it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chatwright.errors import TrainingError, UsageError
from chatwright.stage import StageContext
from chatwright.train.stages import TrainStage
from chatwright.train.tune.journal import Journal, Trial
from chatwright.train.tune.plot import plot_search
from chatwright.train.tune.results import kept_values, write_best, write_summary, write_table
from chatwright.train.tune.search import Plan, best_of, importances, search
from chatwright.train.tune.space import Range, Space
from chatwright.train.tune.trials import clear_state, trainer_of
from chatwright.train.world import current_world

# Metrics of which more is better, by the words in their names.
_MORE_IS_BETTER = ("accuracy", "reward", "margin")


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found: its trials, the best one, and how much each setting mattered."""

    trials: list[Trial]
    best: Trial
    importances: dict[str, float]
    files: dict[str, Path]


def more_is_better(metric: str) -> bool:
    """Whether a search maximises this metric unless it is told otherwise."""
    return any(word in metric for word in _MORE_IS_BETTER)


def check_metric(stage: TrainStage, metric: str, where: str) -> None:
    """Raises `UsageError` where the stage cannot measure `metric`.

    Reward models and DPO keep a share of their own pairs for validation; what they measure is
    known once they run.
    """
    own = stage.objective in ("reward", "dpo")
    if metric.startswith("validation_") and stage.validation is None and not own:
        raise UsageError(
            f"{metric} needs held-out data, and the stage has no `validation`",
            where=where,
            hint="name a dataset that is not trained on as `validation` in the recipe, or search "
            "by the training loss with --metric loss (which rewards learning by heart)",
        )


def tune_stage(
    stage: TrainStage,
    context: StageContext,
    plan: Plan,
    *,
    metric: str,
    folder: Path,
    recipe: Path,
    fresh: bool = False,
    tell: Callable[[Trial, Trial | None], None] = lambda trial, best: None,
) -> Tuned:
    """Search `plan.space` for the best `metric` of `stage`; go on where an earlier search stopped.

    `folder` gets `trials.jsonl`, `trials.csv`, `search.json`, `search.png`, `best.yaml` (the file
    `recipe` with the best settings) and `trials/`, a folder for each trial. `tell(trial, best)` is
    called after each. Raises `TrainingError` where no trial came to its end, saying why.
    """
    if current_world().size > 1:
        raise UsageError(
            "a search trains one trial after the other in one process",
            hint="start it without torchrun",
        )
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    journal = Journal(
        folder / "trials.jsonl",
        {
            "recipe, data or model": context.fingerprint,
            "metric": metric,
            "direction": "maximise" if plan.maximise else "minimise",
            "pruner": plan.pruner,
            "seed": plan.seed,
            "space": {key: values.described() for key, values in plan.space.items()},
        },
    )
    places = folder / "trials"

    def told(trial: Trial) -> None:
        clear_state(places, trial.number)
        tell(trial, best_of(journal.trials, plan.maximise))

    trials = search(plan, trainer_of(stage, context, metric, places), journal, told)
    finished = [t for t in trials if t.state != "running"]
    shutil.rmtree(places / "tokens", ignore_errors=True)
    best = best_of(finished, plan.maximise)
    files = {name: folder / name for name in ("trials.csv", "search.json")}
    write_table(files["trials.csv"], finished, plan.space, metric)
    if best is None:
        raise TrainingError(
            f"none of {len(finished)} trials came to its end: {_reasons(finished)}",
            where=str(folder),
            hint="mend what is said there, or narrow the search space to values that train",
        )
    shares = importances(plan, finished)
    direction = "maximised" if plan.maximise else "minimised"
    files |= {name: folder / name for name in ("search.png", "best.yaml")}
    name = f"{context.recipe}/{context.stage}"
    write_best(files["best.yaml"], recipe, context.stage, kept_values(plan.space, best),
        f"Found by chatwright tune: trial {best.number} of {len(finished)}, "
        f"{metric} {best.result:.6g} ({direction}).\n"
        f"In stage {context.stage}: {_written(best.values)}")  # fmt: skip
    plot_search(
        files["search.png"], finished, plan.space, metric=metric, maximise=plan.maximise,
        shares=shares, title=f"{name}: {metric} {direction} over {len(finished)} trials",
    )  # fmt: skip
    counts = {state: sum(t.state == state for t in finished) for state in
              ("complete", "pruned", "failed")}  # fmt: skip
    write_summary(
        files["search.json"],
        {
            "recipe": context.recipe,
            "stage": context.stage,
            "metric": metric,
            "direction": direction,
            "trials": counts,
            "best": asdict(best),
            "importances": shares,
            "space": {key: str(values) for key, values in plan.space.items()},
            "seed": plan.seed,
            "pruner": plan.pruner,
        },
    )
    return Tuned(finished, best, shares, files)


def own_values(stage: TrainStage, space: Space) -> dict[str, Any]:
    """What the stage itself says for the settings of the space, where it says something."""
    found: dict[str, Any] = {}
    for key, values in space.items():
        value: Any = stage
        for name in key.split("."):
            value = getattr(value, name)
        if value is not None or not isinstance(values, Range):
            found[key] = value
    return found


def _written(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={'null' if value is None else value}" for key, value in values.items())


def _reasons(trials: list[Trial]) -> str:
    counted: dict[str, int] = {}
    for trial in trials:
        reason = (trial.reason or trial.state).partition(". Rows of this step")[0]
        counted[reason] = counted.get(reason, 0) + 1
    most = sorted(counted.items(), key=lambda item: -item[1])[:5]
    return "; ".join(f"{reason} ({count})" if count > 1 else reason for reason, count in most)
