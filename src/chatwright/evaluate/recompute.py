"""From the lines of `answers.jsonl` back to the values that figures are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.results import (
    Average,
    Evaluation,
    Metric,
    TaskRecord,
    Values,
    summarise,
)
from chatwright.evaluate.stored import ANSWERS

_LN2 = math.log(2)


def full_name(task: str, metric: str) -> str:
    """A task's metric as figures are keyed: `task/metric`; given so, it stays."""
    return metric if metric.startswith(f"{task}/") else f"{task}/{metric}"


def short_name(task: str, metric: str) -> str:
    """A task's metric as its items key it: without the task."""
    return metric.removeprefix(f"{task}/")


def item_values(
    lines: Iterable[Mapping[str, Any]], model: str, metrics: Sequence[Metric]
) -> dict[str, Values]:
    """A model's values per item from lines of `answers.jsonl`: metric → item → columns.

    Items of tasks carry their `values`; questions and pages give theirs from their scores, from
    the reference answer's likelihood and from their bits per byte. Raises `DataError` for an item
    whose values are not numbers.
    """
    out: dict[str, Values] = {}
    known = {metric.name for metric in metrics}
    for line in lines:
        try:
            for name, columns in _values_of(line, model):
                if name in known:
                    out.setdefault(name, {})[line["id"]] = tuple(float(v) for v in columns)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(
                f"the values of this item cannot be used: {error}",
                where=f"{ANSWERS}, item {line['id']}, model {model}",
                hint="evaluate again",
            ) from error
    return out


def _values_of(line: Mapping[str, Any], model: str) -> Iterator[tuple[str, Sequence[float]]]:
    answer = line.get("answers", {}).get(model)
    if "task" in line:
        for name, columns in (answer or {}).get("values", {}).items():
            yield f"{line['task']}/{name}", columns
        return
    if answer is not None:
        for name, value in answer["scores"].items():
            yield name, (value, 1.0)
        if answer.get("reference_tokens"):
            yield "perplexity", (answer["reference_nll"], answer["reference_tokens"])
    bits = line.get("bits_per_byte", {}).get(model)
    if bits is not None:
        yield "bits_per_byte", (bits * line["bytes"], line["bytes"])


def find_averages(
    evaluation: Evaluation, model: str, tasks: Sequence[TaskRecord], metrics: Sequence[Metric]
) -> tuple[list[Average], list[str]]:
    """How the averages among `tasks` were made: found by making them anew from a model's answers.

    A record names an average's members and not its recipe (which metric of each, centred or not),
    so the candidates are tried against the figure that stands there. One that none of them gives
    is left out, and the second list says so.
    """
    by_name = {t.name: t for t in tasks}
    known = {m.name for m in metrics}
    values = item_values(evaluation.answers, model, metrics)
    figures = next(m for m in evaluation.models if m.name == model).metrics
    out: list[Average] = []
    notes: list[str] = []
    for task in tasks:
        for metric in (m for m in evaluation.shown if task.members and m.task == task.name):
            wanted = short_name(task.name, metric.name)
            members = [by_name[name] for name in task.members]
            same = tuple(f"{t.name}/{wanted}" for t in members)
            primary = tuple(full_name(t.name, t.primary) for t in members)
            chances = tuple(t.chance or 0.0 for t in members)
            candidates = [
                Average(metric, parts, centred)
                for parts in dict.fromkeys((same, primary))
                if known.issuperset(parts) and all(values.get(p) for p in parts)
                for centred in (None, chances)
            ]
            for candidate in candidates:
                if _gives(candidate, values, metrics, figures.get(metric.name)):
                    out.append(candidate)
                    break
            else:
                notes.append(f"{metric.name}: left out, its members' answers do not give it")
    return out, notes


def _gives(
    average: Average, values: Mapping[str, Values], metrics: Sequence[Metric], figure: Any
) -> bool:
    parts = set(average.parts)
    results, _ = summarise(
        {"": values},
        {"": ""},
        metrics=[m for m in metrics if m.name in parts],
        averages=[average],
        resamples=1,
    )
    found = results[0].metrics.get(average.metric.name)
    return found is not None and figure is not None and math.isclose(found.value, figure.value)
