"""Tasks put to models, and what they said turned into figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chatwright.errors import DataError
from chatwright.evaluate import contamination
from chatwright.evaluate.kinds import KINDS, Bench, Said, Scored
from chatwright.evaluate.results import Average, Metric, Skipped, TaskRecord, Values
from chatwright.evaluate.statistics import STATISTICS
from chatwright.evaluate.tasks import Item, Task, TaskSpec, find_tasks, load_task
from chatwright.progress import Progress
from chatwright.workspace import Workspace


@dataclass(slots=True)
class Suite:
    """The tasks of one evaluation, their averages, and what each model said so far.

    `said`: model → task → answers. `notes`: model → task → what to print beside the score.
    `workspace` is where datasets that models were trained on are looked for.
    """

    tasks: list[Task] = field(default_factory=list)
    averages: list[TaskSpec] = field(default_factory=list)
    said: dict[str, dict[str, Said]] = field(default_factory=dict)
    notes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    workspace: Workspace | None = None


@dataclass(slots=True)
class Figures:
    """What `summarise` needs of the tasks, and what an `Evaluation` shows of them."""

    values: dict[str, dict[str, Values]] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)
    records: list[TaskRecord] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    items: int = 0


def load_suite(
    names: Sequence[str],
    *,
    workspace: Workspace | None = None,
    limit: int | None = None,
    shots: int | None = None,
    chat: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Suite:
    """The tasks of these names or files, with their items.

    `shots` and `chat`, where given, stand in for every task's own. Everything that can be wrong
    with a task is found here, before a model is loaded.
    """
    suite = Suite(workspace=workspace)
    changes = {k: v for k, v in (("shots", shots), ("chat", chat)) if v is not None}
    for path, spec in find_tasks(names, workspace):
        if spec.kind == "average":
            suite.averages.append(spec)
            continue
        # A text is measured as it is: with examples it would only lose items.
        changed = spec.model_copy(update=changes) if spec.kind != "text" else spec
        KINDS[spec.kind].metrics(changed)
        suite.tasks.append(load_task(path, changed, limit=limit, seed=seed, progress=progress))
    return suite


def run_suite(suite: Suite, bench: Bench, model: Path) -> None:
    """Put every task to one model (whose files lie at `model`)."""
    if not suite.tasks:
        return
    said = suite.said[bench.label] = {}
    for task in suite.tasks:
        said[task.name] = KINDS[task.spec.kind].run(bench, task)
        if not said[task.name].answers:
            skipped = said[task.name].skipped
            raise DataError(
                f"{bench.label} could be asked nothing of {task.name}: {skipped[0][1]}",
                where=str(task.file),
                hint="use fewer shots, or a model with a longer context",
            )
    found = contamination.search(model, suite.tasks, bench.progress, suite.workspace)
    suite.notes[bench.label] = contamination.notes(found, suite.tasks)


def figures(suite: Suite) -> Figures:
    """Score what was said, on the items that every model could be asked."""
    out = Figures(values={model: {} for model in suite.said})
    metrics: dict[str, list[Metric]] = {}
    for task in suite.tasks:
        answered = [said[task.name].answers for said in suite.said.values()]
        where = {item.id: item.where for item in task.items}
        shared = [i for i in task.items if all(i.id in a for a in answered)]
        if not shared:
            raise DataError(
                f"no item of {task.name} could be put to all models",
                where=str(task.file),
                hint="evaluate them one by one: each could be asked some",
            )
        kept = replace(task, items=shared)
        kind = KINDS[task.spec.kind]
        metrics[task.name] = own = [_named(task.spec, m) for m in kind.metrics(task.spec)]
        scored = {
            model: kind.score(kept, {i.id: said[task.name].answers[i.id] for i in shared})
            for model, said in suite.said.items()
        }
        for model, found in scored.items():
            for name, values in found.values.items():
                if values:
                    out.values[model][f"{task.name}/{name}"] = values
            _add_clean_scores(suite.notes[model].get(task.name, {}), found, own)
        out.metrics += own
        out.items += len(shared)
        out.records.append(_record(task, shared, own, suite))
        out.lines += [_line(task, item, scored) for item in shared]
        out.skipped += [Skipped(f"{task.name}: {where}", why) for where, why in task.skipped]
        for model, said in suite.said.items():
            out.skipped += [
                Skipped(item, f"{model}: {where[item]}: {why}")
                for item, why in said[task.name].skipped
            ]
    for spec in suite.averages:
        _add_average(out, spec, suite, metrics)
    return out


def _named(spec: TaskSpec, metric: Metric) -> Metric:
    """The metric as a task's: its name and title begin with the task's."""
    return replace(
        metric,
        name=f"{spec.name}/{metric.name}",
        title=f"{spec.shown}: {metric.title[:1].lower()}{metric.title[1:]}"
        if metric.title[1:2].islower()
        else f"{spec.shown}: {metric.title}",
        task=spec.name,
    )


def _record(
    task: Task, items: Sequence[Item], metrics: Sequence[Metric], suite: Suite
) -> TaskRecord:
    spec = task.spec
    return TaskRecord(
        name=spec.name,
        title=spec.shown,
        kind=spec.kind,
        primary=metrics[0].name,
        items=len(items),
        shots=spec.shots,
        chance=_chance(spec, items),
        source=task.origin,
        digest=task.digest(),
        citation=spec.citation,
        language=spec.language,
        notes={m: notes[task.name] for m, notes in suite.notes.items() if task.name in notes},
    )


def _chance(spec: TaskSpec, items: Sequence[Item]) -> float | None:
    """What a guesser gets: said by the task, or known from the number of choices."""
    if spec.chance is not None:
        return spec.chance
    if spec.kind in ("choice", "preference") and items:
        return float(np.mean([1 / len(item.choices) for item in items]))
    if spec.kind == "classification":
        return 1 / len(spec.labels)
    return None


def _add_clean_scores(notes: dict[str, Any], found: Scored, metrics: Sequence[Metric]) -> None:
    """Beside a contaminated task's score: the score on the items that were not found."""
    about = notes.get("contamination", {})
    dirty = set(about.get("items", ()))
    if not dirty:
        return
    about["clean"] = {}
    for metric in metrics:
        values = found.values.get(metric.name.partition("/")[2], {})
        rows = [columns for item, columns in values.items() if item not in dirty]
        if rows:
            sums = np.array(rows, dtype=np.float64).sum(axis=0, keepdims=True)
            about["clean"][metric.name] = float(STATISTICS[metric.statistic](sums)[0])


def _line(task: Task, item: Item, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """The item with every model's answer: a line of `answers.jsonl`."""
    statistics = {m.name: m.statistic for m in KINDS[task.spec.kind].metrics(task.spec)}
    answers: dict[str, Any] = {}
    for model, found in scored.items():
        values = {n: list(v[item.id]) for n, v in found.values.items() if item.id in v}
        # A mean's value is a score of this item; sums for corpus figures mean little by themselves.
        scores = {
            n: v[0] / v[1]
            for n, v in values.items()
            if statistics[n] == "ratio" and len(v) == 2 and v[1]
        }
        answers[model] = {**found.lines.get(item.id, {}), "scores": scores, "values": values}
    gold: Any = item.gold
    if gold is None:
        gold = item.references[0] if item.references else item.fields.get("continuation")
    return {
        "task": task.name,
        "id": item.id,
        "where": item.where,
        "kind": task.spec.kind,
        "prompt": _shown_prompt(item),
        "choices": list(item.choices) or None,
        "gold": gold,
        "language": item.language,
        "answers": answers,
    }


def _shown_prompt(item: Item) -> str:
    """The prompt; where choices differ in it and not in what follows, a gap and what follows."""
    answers = {answer for _, answer in item.options}
    return item.prompt if item.prompt or len(answers) > 1 else f"___{answers.pop()}"


def _add_average(
    out: Figures, spec: TaskSpec, suite: Suite, metrics: Mapping[str, Sequence[Metric]]
) -> None:
    """An average over the primary metrics of its tasks; averages among them are spread out."""
    members = _leaves(spec, {a.name: a for a in suite.averages})
    records = {record.name: record for record in out.records}
    parts = [metrics[name][0] for name in members]
    chances = [records[name].chance or 0.0 for name in members] if spec.centred else None
    first = parts[0]
    if any((p.unit, p.better) != (first.unit, first.better) for p in parts):
        named = ", ".join(p.name for p in parts)
        raise DataError(
            f"a mean over figures of different kinds means nothing: {named}",
            where=f"task {spec.name}",
            hint="average tasks whose first metrics are of one kind",
        )
    metric = Metric(
        name=f"{spec.name}/average",
        title=spec.shown,
        better=first.better,
        unit=first.unit,
        explained=(
            "mean over its tasks of (score − chance) / (1 − chance): guessing is 0"
            if spec.centred
            else "mean over its tasks"
        ),
        task=spec.name,
    )
    out.metrics.append(metric)
    out.averages.append(
        Average(metric, tuple(p.name for p in parts), tuple(chances) if chances else None)
    )
    out.records.append(
        TaskRecord(
            name=spec.name,
            title=spec.shown,
            kind="average",
            primary=metric.name,
            items=sum(records[name].items for name in members),
            chance=0.0 if spec.centred else None,
            citation=spec.citation,
            members=members,
            parts=[p.name for p in parts],
            centred=spec.centred,
        )
    )


def _leaves(spec: TaskSpec, averages: Mapping[str, TaskSpec]) -> list[str]:
    out: list[str] = []
    for name in spec.members:
        out += _leaves(averages[name], averages) if name in averages else [name]
    return list(dict.fromkeys(out))
