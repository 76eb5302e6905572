"""Two results on disk become one: both models on the items that they share, compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.recompute import averages_of, item_values
from chatwright.evaluate.results import (
    Evaluation,
    Metric,
    Skipped,
    TaskRecord,
    Values,
    summarise,
)
from chatwright.evaluate.statistics import RESAMPLES, STATISTICS
from chatwright.evaluate.stored import ANSWERS, Stored

# What an item is: where one of these differs, two models were not asked the same.
_ITEM_KEYS = ("prompt", "choices", "gold", "question", "reference", "answerable", "bytes")
# Settings whose difference the items themselves tell, or that name what is being compared.
_SAID_BY_ITEMS = {"models", "tasks", "limit", "task_limit"}
_TASK_KEYS = ("digest", "kind", "shots", "primary")


@dataclass(frozen=True, slots=True)
class Side:
    """One model of a comparison: its label in a result, and what the user called that result."""

    stored: Stored
    label: str
    source: str


@dataclass(slots=True)
class Pairing:
    """Both models in one evaluation, the first being the baseline; `notes` say what is not in it.

    `sources` is model → where its answers came from (`path`, `fingerprint`, `label` there);
    `lineage`, where all came from one result, what that says about itself.
    """

    evaluation: Evaluation
    notes: list[str] = field(default_factory=list)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)


def side(stored: Stored, source: str, label: str | None = None) -> Side:
    """Choose a model of a result. Raises `UsageError` where that is not clear."""
    labels = stored.labels
    if label is None and len(labels) == 1:
        return Side(stored, labels[0], source)
    if label in labels:
        return Side(stored, str(label), source)
    said = "it holds no model" if label is None else f"it holds no model called {label!r}"
    if label is None and labels:
        said = f"it holds {len(labels)} models: say which"
    raise UsageError(
        said, where=source, hint="one of: " + ", ".join(f"{source}:{name}" for name in labels)
    )


def alone(stored: Stored, source: str, label: str | None = None) -> Pairing:
    """A result whose models were measured together: as it stands.

    Raises `UsageError` where one model is named or there is only one: nothing to compare it with.
    """
    if label is not None or len(stored.labels) < 2:
        one = label or ", ".join(stored.labels) or "no model"
        raise UsageError(
            f"there is nothing to compare {one!r} with",
            where=source,
            hint="give a second evaluation, or RESULT:LABEL twice",
        )
    keys = ("fingerprint", "stage", "recipe", "parents", "chatwright")
    lineage = {key: stored.info[key] for key in keys if key in stored.info}
    return Pairing(stored.evaluation, lineage=lineage)


def pair(first: Side, second: Side, *, resamples: int = RESAMPLES, seed: int = 0) -> Pairing:
    """Both models on their shared items, with a paired bootstrap for every figure they share.

    A task counts as shared where digest, kind, shots and primary metric are the same, and an item
    where its prompt, choices and gold are. What is left out is told in `notes` and `skipped`.

    Raises `UsageError` for the same model of the same result, and `DataError` where answers are
    missing or nothing is shared.
    """
    if first.stored.path.resolve() == second.stored.path.resolve() and first.label == second.label:
        raise UsageError(
            f"both sides are the model {first.label!r}",
            where=str(first.stored.path),
            hint="name two models, or two results",
        )
    for one in (first, second):
        if not one.stored.evaluation.answers:
            raise DataError(
                "this result has no answers, only figures: nothing can be paired",
                where=str(one.stored.path / ANSWERS),
                hint="evaluate again",
            )
    names = _names(first, second)
    notes: list[str] = []
    tasks = _shared_tasks(first, second, notes)
    lines, skipped = _shared_lines(first, second, names, {t.name for t in tasks}, notes)
    metrics = _shared_metrics(first.stored.evaluation, second.stored.evaluation, tasks)
    sides = ((first, names[0]), (second, names[1]))
    values = {name: item_values(lines, name, metrics) for _, name in sides}
    averages, lost = averages_of(first.stored.evaluation, tasks, metrics)
    notes += lost
    measured = _comparable(metrics, [values[name] for name in names], notes)
    if not measured:
        raise DataError(
            "the answers hold no values of a figure that both results have",
            where=f"{first.stored.path} and {second.stored.path}",
            hint="evaluate both again with this version",
        )
    results, comparisons = summarise(
        values,
        {name: _reference(one) for one, name in sides},
        metrics=measured,
        averages=averages,
        seed=seed,
        resamples=resamples,
    )
    for result, (one, _) in zip(results, sides, strict=True):
        result.seconds = _model(one).seconds
    evaluation = Evaluation(
        settings=_shared_settings(first, second, notes),
        items=len(lines),
        models=results,
        comparisons=comparisons,
        skipped=skipped,
        answers=lines,
        machine=_machine(first, second, notes),
        metrics=(*measured, *(a.metric for a in averages)),
        tasks=_records(tasks, lines, sides, {a.metric.task for a in averages}),
        gates=[],
    )
    sources = {
        name: {
            "path": str(one.stored.path),
            "fingerprint": str(one.stored.info.get("fingerprint", "")),
            "label": one.label,
        }
        for one, name in sides
    }
    return Pairing(evaluation, notes, sources)


def _comparable(
    metrics: Sequence[Metric], values: Sequence[Mapping[str, Values]], notes: list[str]
) -> list[Metric]:
    """The metrics that both sides have values of, in the same columns."""
    out = []
    for metric in metrics:
        found = [one.get(metric.name) for one in values]
        if not all(found):
            continue
        if len({len(columns) for own in found if own for columns in own.values()}) == 1:
            out.append(metric)
        else:
            notes.append(f"{metric.name}: left out, its values do not have the same columns")
    return out


def _model(one: Side) -> Any:
    return next(m for m in one.stored.evaluation.models if m.name == one.label)


def _reference(one: Side) -> str:
    return str(_model(one).reference)


def _names(first: Side, second: Side) -> tuple[str, str]:
    """What the models are called: their labels, with the result's name where these are the same."""
    if first.label != second.label:
        return first.label, second.label
    names = [f"{one.label} ({one.source.removesuffix(f':{one.label}')})" for one in (first, second)]
    if names[0] == names[1]:
        names = [f"{one.label} ({one.stored.path})" for one in (first, second)]
    return names[0], names[1]


def _shared_tasks(first: Side, second: Side, notes: list[str]) -> list[TaskRecord]:
    """Tasks that were the same for both, averages among them where all their members are."""
    mine = {t.name: t for t in first.stored.evaluation.tasks}
    other = {t.name: t for t in second.stored.evaluation.tasks}
    shared: list[TaskRecord] = []
    for name in (*mine, *(n for n in other if n not in mine)):
        if name not in mine or name not in other:
            has = first if name in mine else second
            if not (mine.get(name) or other[name]).members:
                notes.append(f"{name}: only {has.source} was measured on it")
            continue
        if mine[name].members or other[name].members:
            continue
        differing = [k for k in _TASK_KEYS if getattr(mine[name], k) != getattr(other[name], k)]
        if differing:
            what = ", ".join(
                f"{k} {_short(getattr(mine[name], k))} and {_short(getattr(other[name], k))}"
                for k in differing
            )
            hint = "; measure both on the same items" if differing == ["digest"] else ""
            notes.append(f"{name}: left out, it was not the same task ({what}){hint}")
            continue
        shared.append(mine[name])
    names = {t.name for t in shared}
    for name, task in mine.items():
        if not task.members or name not in other:
            continue
        if task.members == other[name].members and names.issuperset(task.members):
            shared.append(task)
        else:
            notes.append(f"{name}: left out, its tasks are not all shared")
    if not shared and (mine or other) and not _questions(first, second):
        raise DataError(
            "the two results have no task in common",
            where=f"{first.stored.path} and {second.stored.path}",
            hint="; ".join(notes) or "evaluate both models on the same tasks",
        )
    return shared


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 12 else text[:12] + "…"


def _questions(first: Side, second: Side) -> bool:
    """Whether both hold questions or pages, which belong to no task."""
    return all(
        any("task" not in line for line in one.stored.evaluation.answers) for one in (first, second)
    )


def _shared_lines(
    first: Side, second: Side, names: tuple[str, str], tasks: set[str], notes: list[str]
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """One line per item that both were asked, with the answers of both under their new names."""
    others = {_key(line): line for line in second.stored.evaluation.answers}
    lines: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    alone = 0
    for line in first.stored.evaluation.answers:
        if "task" in line and line["task"] not in tasks:
            continue
        other = others.pop(_key(line), None)
        if other is None or not (_has(line, first.label) and _has(other, second.label)):
            alone += 1
            continue
        differing = [k for k in _ITEM_KEYS if line.get(k) != other.get(k)]
        if differing:
            what = ", ".join(differing)
            skipped.append(Skipped(line["id"], f"not the same in both results: {what}"))
            continue
        merged = {k: v for k, v in line.items() if k not in ("answers", "bits_per_byte")}
        for key in ("answers", "bits_per_byte"):
            if key in line:
                merged[key] = {
                    names[0]: line[key][first.label],
                    names[1]: other[key][second.label],
                }
        lines.append(merged)
    alone += sum("task" not in line or line["task"] in tasks for line in others.values())
    if alone:
        notes.append(f"{alone} items were asked of only one of the two, and are left out")
    if not lines:
        raise DataError(
            "the two results have no item in common",
            where=f"{first.stored.path} and {second.stored.path}",
            hint=skipped[0].reason if skipped else "evaluate both models on the same items",
        )
    return lines, skipped


def _key(line: Mapping[str, Any]) -> tuple[str, str]:
    return str(line.get("task", "")), line["id"]


def _has(line: Mapping[str, Any], label: str) -> bool:
    return label in line.get("answers", {}) or label in line.get("bits_per_byte", {})


def _shared_metrics(first: Evaluation, second: Evaluation, tasks: list[TaskRecord]) -> list[Metric]:
    """Metrics of single items that both have and whose figure is made the same way."""
    import_module("chatwright.evaluate.metrics")  # its metrics bring statistics of their own
    other = {m.name: m for m in second.shown}
    plain = {t.name for t in tasks if not t.members}
    return [
        m
        for m in first.shown
        if m.name in other
        and m.statistic in STATISTICS
        and m.statistic == other[m.name].statistic
        and (m.task is None or m.task in plain)
    ]


def _records(
    tasks: list[TaskRecord],
    lines: list[dict[str, Any]],
    sides: Sequence[tuple[Side, str]],
    averaged: set[str | None],
) -> list[TaskRecord]:
    """The shared tasks with their shared items counted, and both models' notes."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.get("task", "")] = counts.get(line.get("task", ""), 0) + 1
    out = []
    for task in tasks:
        if task.members and task.name not in averaged:
            continue
        notes = {}
        for one, name in sides:
            own = next(t for t in one.stored.evaluation.tasks if t.name == task.name)
            if one.label in own.notes:
                notes[name] = own.notes[one.label]
        count = sum(counts.get(m, 0) for m in task.members) or counts.get(task.name, 0)
        out.append(replace(task, items=count, notes=notes))
    return out


def _shared_settings(first: Side, second: Side, notes: list[str]) -> dict[str, Any]:
    """What both were measured with; a setting that differs is a note, for it may be the reason."""
    mine, other = (s.stored.evaluation.settings for s in (first, second))
    shared = {k: v for k, v in mine.items() if k in other and other[k] == v and k != "models"}
    for key in sorted((mine.keys() | other.keys()) - shared.keys() - _SAID_BY_ITEMS):
        notes.append(f"setting {key}: {_short(mine.get(key))} and {_short(other.get(key))}")
    return shared


def _machine(first: Side, second: Side, notes: list[str]) -> dict[str, Any]:
    mine, other = (s.stored.evaluation.machine for s in (first, second))
    if mine and other and mine != other:
        notes.append("measured on different machines or versions: do not compare their times")
    return {k: v for k, v in mine.items() if other.get(k) == v}
