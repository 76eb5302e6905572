"""`chatwright tune RECIPE`: search for good settings of a training stage."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatwright.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from chatwright.progress import Progress
    from chatwright.recipe import Recipe
    from chatwright.stage import StageContext
    from chatwright.train.stages import TrainStage
    from chatwright.train.tune.journal import Trial
    from chatwright.train.tune.run import Tuned
    from chatwright.train.tune.space import Space
    from chatwright.workspace import Workspace

_SHOWN_TRIALS = 15
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class PrunerChoice(StrEnum):
    """When a trial is cut short."""

    median = "median"
    hyperband = "hyperband"
    none = "none"


def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe with a stage of kind train.")],
    trials: Annotated[
        int,
        typer.Option("--trials", "-n", min=1, help="Trainings in all, those of before included."),
    ],
    stage: Annotated[
        str | None,
        typer.Option("--stage", "-s", help="The stage to search; may be left out where there is "
                     "only one that trains.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="What to change: learning_rate=1e-4..1e-2:log, "
                     "warmup=0..0.2, schedule=wsd,cosine, lora.rank=4..64:log, or one value, "
                     "steps=200. Default: learning rate, batch, weight decay, warmup, schedule.",
                     show_default=False),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="The same in a YAML file; --set goes before it.",
                     show_default=False),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What counts: any name in the training's metrics.jsonl.")
    ] = "validation_loss",
    maximise: Annotated[
        bool | None,
        typer.Option("--maximise/--minimise", help="Default: less is better, unless the metric is "
                     "an accuracy, a reward or a margin.", show_default=False),
    ] = None,
    pruner: Annotated[
        PrunerChoice,
        typer.Option(help="median: stop a trial that is worse than the median at the same tenth. "
                     "hyperband: give few trials the full length. none: finish all."),
    ] = PrunerChoice.median,
    seed: Annotated[int, typer.Option(min=0, help="Of the search: which settings come up.")] = 0,
    timeout: Annotated[
        str | None,
        typer.Option(help="Begin no further trial after this time: 90, 30m, 2h.",
                     show_default=False),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget the earlier search of this stage.")
    ] = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Train a stage many times with other settings, and find the best. Bad trials are cut short.

    Stages before it are built first. Interrupt it with Ctrl-C; the same command goes on.

    Example: `chatwright tune recipes/from_scratch.yaml --stage pretrain --trials 20 --set
    learning_rate=1e-3..2e-2:log --set batch_tokens=2048,4096,8192 --set steps=150`
    """
    from chatwright.cli.console import print_json
    from chatwright.cli.progress import make_progress
    from chatwright.recipe import load_recipe
    from chatwright.train.tune.run import check_metric, more_is_better, own_values, tune_stage
    from chatwright.train.tune.search import Plan
    from chatwright.train.tune.space import (
        check_space,
        default_space,
        load_space,
        parse_settings,
        varied,
    )
    from chatwright.workspace import Workspace

    _only_one_process()
    described = load_recipe(recipe)
    name, chosen = _stage(described, stage)
    wanted = {**(load_space(space) if space else {}), **parse_settings(settings or [])}
    searched = check_space(wanted or default_space(chosen), chosen, f"{recipe}: stage {name}")
    check_metric(chosen, metric, f"{recipe}: stage {name}")
    more = more_is_better(metric) if maximise is None else maximise
    seconds = _seconds(timeout)
    place = Workspace(workspace)
    plan = Plan(
        searched, trials, seed, more, pruner.value, seconds, first=own_values(chosen, searched)
    )
    folder = place.runs / described.name / "tune" / name
    with make_progress() as progress:
        context = _earlier_stages(described, name, place, progress)
        _say_what(progress, name, metric, more, searched)

        done = 0

        def tell(trial: Trial, best: Trial | None) -> None:
            nonlocal done
            bar.advance(trial.number - done)
            done = trial.number
            told = _told(trial, best, metric, varied(searched))
            progress.line(f"trial {trial.number} of {trials}: {told}")

        with place.lock(described.name), progress.task("trials", trials) as bar:
            found = tune_stage(
                chosen, context, plan, metric=metric, folder=folder, recipe=recipe, fresh=fresh,
                tell=tell,
            )  # fmt: skip
    if json:
        print_json(_as_json(found, metric, more))
    else:
        _print(found, varied(searched), metric, more)


def _only_one_process() -> None:
    import os

    from chatwright.errors import UsageError

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "a search runs in one process",
            where="torchrun",
            hint="start `chatwright tune` without torchrun; build the best recipe with it",
        )


def _stage(recipe: Recipe, name: str | None) -> tuple[str, TrainStage]:
    from chatwright.errors import UsageError
    from chatwright.train.stages import TrainStage

    trained = {s.name: s.settings for s in recipe.stages if isinstance(s.settings, TrainStage)}
    if name is None and len(trained) == 1:
        name = next(iter(trained))
    if name is None:
        raise UsageError(
            "the recipe has no stage that trains" if not trained else "which stage?",
            where="--stage",
            hint=f"those that train: {', '.join(trained)}" if trained else None,
        )
    if name not in trained:
        kind = recipe.stage(name).kind.kind  # raises where there is none of that name
        raise UsageError(
            f"stage {name!r} is of kind {kind}, which trains nothing",
            where="--stage",
            hint=f"those that train: {', '.join(trained) or 'none'}",
        )
    return name, trained[name]


def _earlier_stages(
    recipe: Recipe, name: str, workspace: Workspace, progress: Progress
) -> StageContext:
    """Build what the stage needs, and say where that lies."""
    from dataclasses import replace

    from chatwright.build import build, plan
    from chatwright.stage import StageContext

    needed = {name}
    for stage in reversed(recipe.stages):
        if stage.name in needed:
            needed.update(stage.settings.referenced())
    own = recipe.stage(name)
    stages = tuple(s for s in recipe.stages if s.name in needed and s is not own)
    build(replace(recipe, stages=stages), workspace, progress=progress)
    planned = plan(replace(recipe, stages=(*stages, own)), workspace)[-1]
    return StageContext(
        recipe=recipe.name,
        stage=name,
        seed=recipe.seed,
        output=planned.output,
        scratch=planned.scratch,
        fingerprint=planned.fingerprint,
        workspace=workspace,
        inputs=planned.inputs,
        parents=planned.parents,
        progress=progress,
    )


def _seconds(text: str | None) -> float | None:
    from chatwright.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise UsageError(
            f"{text!r} is not a time", where="--timeout", hint="write seconds, 30m or 2h"
        )
    return float(found[1]) * _SECONDS[found[2]]


def _say_what(progress: Progress, stage: str, metric: str, more: bool, space: Space) -> None:
    progress.line(f"searching {stage} for the {'highest' if more else 'lowest'} {metric}:")
    for key, values in space.items():
        progress.line(f"  {key}: {values}")


def _told(trial: Trial, best: Trial | None, metric: str, searched: Space) -> str:
    """One line on a trial that has just ended."""
    if trial.state == "failed":
        text = f"failed: {(trial.reason or '').partition('. Rows of this step')[0]}"
    elif trial.same_as is not None:
        text = f"the same as trial {trial.same_as}"
    elif trial.state == "pruned":
        text = f"{trial.reason}, {metric} {trial.result:.5g}"
    else:
        mark = " (best so far)" if best is not None and best.number == trial.number else ""
        text = f"{metric} {trial.result:.5g}{mark}"
    values = ", ".join(f"{key} {_short(trial.values[key])}" for key in searched)
    return f"{text} · {values}"


def _print(found: Tuned, space: Space, metric: str, more: bool) -> None:
    from chatwright.cli.console import console, print_table

    sign = -1.0 if more else 1.0
    order = {"complete": 0, "pruned": 1, "failed": 2}
    ranked = sorted(
        found.trials,
        key=lambda t: (order[t.state], sign * (0.0 if t.result is None else t.result), t.number),
    )
    print_table(
        ["trial#", "", f"{metric}#", *(f"{key}#" for key in space), "seconds#"],
        [
            (
                t.number,
                "best" if t is found.best or t == found.best else
                {"complete": "", "pruned": "pruned", "failed": "failed"}[t.state],
                "" if t.result is None else f"{t.result:.5g}",
                *(_short(t.values[key]) for key in space),
                "" if t.same_as is not None else f"{t.seconds:.1f}",
            )
            for t in ranked[:_SHOWN_TRIALS]
        ],
    )  # fmt: skip
    out = console()
    if len(ranked) > _SHOWN_TRIALS:
        out.print(f"… and {len(ranked) - _SHOWN_TRIALS} more in trials.csv")
    if found.importances:
        shares = sorted(found.importances.items(), key=lambda item: -item[1])
        text = ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares)
        out.print(f"what made the difference: {text}", markup=False)
    out.print(f"picture:  {found.files['search.png']}", markup=False)
    out.print(f"table:    {found.files['trials.csv']}", markup=False)
    out.print(f"build it: chatwright build {found.files['best.yaml']}", markup=False)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value)


def _as_json(found: Tuned, metric: str, more: bool) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "metric": metric,
        "direction": "maximise" if more else "minimise",
        "best": asdict(found.best),
        "importances": found.importances,
        "trials": [asdict(trial) for trial in found.trials],
        "files": {name: str(path) for name, path in found.files.items()},
    }
