"""From the lines of `answers.jsonl` back to the values that figures are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.results import Average, Evaluation, Metric, TaskRecord, Values
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


def averages_of(
    evaluation: Evaluation, tasks: Sequence[TaskRecord], metrics: Sequence[Metric]
) -> tuple[list[Average], list[str]]:
    """How the evaluation's averages among `tasks` are made of `metrics` of the others.

    One whose parts are not all there is left out, and the second list says so.
    """
    records = {task.name: task for task in tasks}
    known = {metric.name for metric in metrics}
    shown = {metric.name: metric for metric in evaluation.shown}
    out: list[Average] = []
    notes: list[str] = []
    for task in (t for t in tasks if t.members):
        metric = shown.get(task.primary)
        if metric is None or not task.parts or not known >= set(task.parts):
            notes.append(f"{task.primary}: left out, what it is made of is not there")
            continue
        chances = tuple(records[name].chance or 0.0 for name in task.members)
        out.append(Average(metric, tuple(task.parts), chances if task.centred else None))
    return out, notes
