"""An evaluation's figures as rows to look at: averages first, one row per task, the rest below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatwright.evaluate.recompute import full_name, short_name
from chatwright.evaluate.results import (
    Comparison,
    Evaluation,
    Metric,
    TaskRecord,
    show,
)
from chatwright.evaluate.statistics import Estimate

KINDS = {
    "choice": "multiple choice",
    "cloze": "cloze",
    "generation": "generation",
    "code": "code that is run",
    "text": "likelihood of text",
    "perplexity": "likelihood of text",
    "classification": "classification",
    "instructions": "instructions that can be checked",
    "preference": "pairwise preference",
    "average": "average",
}
_STEP = 0.05  # the forest plot's scale ends at a multiple of five points


@dataclass(frozen=True, slots=True)
class Cell:
    """One model's figure; `at`, `low` and `high` are places on the row's track, in per cent."""

    model: str
    index: int
    value: str = "–"
    range: str = ""
    at: float | None = None
    low: float = 0.0
    high: float = 0.0
    difference: Delta | None = None
    contamination: str = ""

    @property
    def tainted(self) -> bool:
        """Whether items were found in the training data: the score must be read with care."""
        return "(" in self.contamination


@dataclass(frozen=True, slots=True)
class Delta:
    """A difference to the baseline as text, and its places on a forest plot in per cent."""

    model: str
    baseline: str
    value: str
    range: str
    p: str
    verdict: str
    at: float = 50.0
    low: float = 50.0
    high: float = 50.0

    @property
    def css(self) -> str:
        return self.verdict.replace(" ", "-")


@dataclass(slots=True)
class Row:
    """One figure of all models. `chance` is a place on the track; `own`: no scale is shared."""

    title: str
    explained: str
    metric: Metric
    cells: list[Cell]
    chance: float | None = None
    chance_text: str = ""
    own: bool = False


@dataclass(slots=True)
class TaskRow:
    """A task: the figure to look at first, all others, and what a reader must know."""

    record: TaskRecord
    about: str
    first: Row
    others: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    members: str = ""


def task_rows(evaluation: Evaluation) -> tuple[list[TaskRow], list[TaskRow]]:
    """Averages and tasks, each in the order of the evaluation; tasks without figures are left out.

    A task whose primary metric has no figure is led by the first that has one.
    """
    titles = {t.name: t.title for t in evaluation.tasks}
    averages: list[TaskRow] = []
    tasks: list[TaskRow] = []
    for record in evaluation.tasks:
        metrics = [m for m in evaluation.shown if m.task == record.name]
        if not metrics:
            continue
        primary = full_name(record.name, record.primary)
        metrics.sort(key=lambda m: m.name != primary)
        rows = [row(evaluation, m, record if i == 0 else None) for i, m in enumerate(metrics)]
        for r in rows:
            r.title = short_title(r.metric, record)
        made = TaskRow(
            record,
            _about(record),
            rows[0],
            rows[1:],
            _notes(record),
            ", ".join(titles.get(m, m) for m in record.members),
        )
        (averages if record.members else tasks).append(made)
    return averages, tasks


def plain_rows(evaluation: Evaluation) -> list[Row]:
    """The figures that belong to no task: questions answered, pages weighed."""
    tasks = {t.name for t in evaluation.tasks}
    return [row(evaluation, m) for m in evaluation.shown if m.task not in tasks]


def row(evaluation: Evaluation, metric: Metric, record: TaskRecord | None = None) -> Row:
    """One metric of every model, placed on a track: 0–100 % for shares, else its own scale."""
    found = {m.name: m.metrics.get(metric.name) for m in evaluation.models}
    there = [e for e in found.values() if e is not None and math.isfinite(e.value)]
    centred = record is not None and bool(record.members) and record.chance is not None
    own = not (metric.unit == "share" or centred) or any(
        e.low < -0.001 or e.high > 1.001 for e in there
    )
    low, high = _scale(there, own)
    cells = []
    for index, (model, estimate) in enumerate(found.items()):
        if estimate is None:
            cells.append(Cell(model, index))
            continue
        cells.append(
            Cell(
                model,
                index,
                show(metric, estimate.value),
                interval(metric, estimate),
                _place(estimate.value, low, high),
                _place(estimate.low, low, high) or 0.0,
                _place(estimate.high, low, high) or 0.0,
                delta(evaluation, metric, model),
                contamination(record, metric, model) if record else "",
            )
        )
    chance = record.chance if record and not own and not centred else None
    return Row(
        metric.title,
        metric.explained,
        metric,
        cells,
        None if chance is None else 100 * chance,
        "" if chance is None else f"chance {show(metric, chance)}",
        own,
    )


def short_title(metric: Metric, record: TaskRecord) -> str:
    """A metric's title without the task's, which stands beside it."""
    rest = metric.title.removeprefix(record.title).lstrip(" :,–-")
    return rest[:1].upper() + rest[1:] if rest else metric.title


def interval(metric: Metric, estimate: Estimate) -> str:
    """The ends of an interval as text."""
    low, high = show(metric, estimate.low), show(metric, estimate.high)
    return f"{low.removesuffix(' %')} – {high}"


def signed(metric: Metric, value: float) -> str:
    """A difference; between shares, in percentage points."""
    text = show(metric, value).replace("%", "pp")
    return text.replace("-", "−") if value < 0 else f"+{text}"


def delta(evaluation: Evaluation, metric: Metric, model: str, scale: float = 0) -> Delta | None:
    """A model's difference to the baseline; `scale` is what a forest plot's end stands for."""
    for c in evaluation.comparisons:
        if c.metric == metric.name and c.model == model:
            d = c.difference
            low = signed(metric, d.low).removesuffix(" pp")
            places = [50 + 50 * v / scale if scale else 50.0 for v in (d.value, d.low, d.high)]
            at, left, right = (min(100.0, max(0.0, p)) for p in places)
            return Delta(
                model,
                c.baseline,
                signed(metric, d.value),
                f"{low} – {signed(metric, d.high)}",
                p_text(d.p_value),
                c.verdict,
                at,
                left,
                right,
            )
    return None


def p_text(value: float) -> str:
    """A p-value to two places that matter."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


@dataclass(frozen=True, slots=True)
class Forest:
    """Differences of one model to the baseline, greatest first; `scale` is the end of the axis."""

    model: str
    baseline: str
    rows: list[tuple[str, Delta]]
    end: str


def forest(evaluation: Evaluation, tasks: Sequence[TaskRow]) -> list[Forest]:
    """One forest plot per model: the shares that lead the tasks, all on one axis around 0."""
    out = []
    for model in evaluation.models[1:]:
        found: list[tuple[TaskRow, Comparison]] = []
        for task in tasks:
            found += [
                (task, c)
                for c in evaluation.comparisons
                if c.metric == task.first.metric.name
                and c.model == model.name
                and task.first.metric.unit == "share"
            ]
        if not found:
            continue
        widest = max(max(abs(c.difference.low), abs(c.difference.high)) for _, c in found)
        scale = _STEP * max(1, math.ceil(widest / _STEP - 1e-9))
        found.sort(key=lambda pair: (-pair[1].difference.value, pair[0].record.name))
        rows = []
        for task, _ in found:
            made = delta(evaluation, task.first.metric, model.name, scale)
            if made is not None:
                rows.append((task.record.title, made))
        out.append(Forest(model.name, evaluation.models[0].name, rows, f"{100 * scale:.0f}"))
    return out


def tally(evaluation: Evaluation, tasks: Sequence[TaskRow], model: str) -> dict[str, int]:
    """On how many tasks a model is better, worse, different or not clearly either."""
    names = {task.first.metric.name for task in tasks}
    counts: dict[str, int] = {}
    for c in evaluation.comparisons:
        if c.metric in names and c.model == model:
            counts[c.verdict] = counts.get(c.verdict, 0) + 1
    return counts


def contamination(record: TaskRecord, metric: Metric, model: str) -> str:
    """How many of a task's items stand in a model's training data, and the score without them."""
    found: Any = record.notes.get(model, {}).get("contamination")
    if not isinstance(found, dict) or not found.get("checked"):
        return ""
    count = found.get("contaminated", 0)
    if not count:
        return "no item found in its training data"
    share = float(found.get("share", 0.0))
    text = f"{count:,} items ({100 * share:.1f} %) found in its training data"
    clean = found.get("clean") or {}
    wanted = short_name(record.name, metric.name)
    value = clean.get(full_name(record.name, wanted), clean.get(wanted))
    if isinstance(value, (int, float)):
        text += f"; without them {show(metric, value)}"
    return text


def unchecked(evaluation: Evaluation) -> list[str]:
    """Why whose training data could not be searched for the items: each reason once."""
    found: dict[str, dict[str, None]] = {}
    for record in evaluation.tasks:
        for model, notes in record.notes.items():
            about = notes.get("contamination")
            if isinstance(about, dict) and not about.get("checked"):
                found.setdefault(about.get("reason") or "not checked", {})[model] = None
    return [f"{', '.join(models)}: {reason}" for reason, models in found.items()]


def _about(record: TaskRecord) -> str:
    parts = [KINDS.get(record.kind, record.kind)]
    if record.members:
        parts.append(f"over {len(record.members)} tasks")
    if record.shots:
        parts.append(f"{record.shots}-shot")
    parts.append(f"{record.items:,} items")
    if record.language and record.language != "en":
        parts.append({"zh": "Chinese"}.get(record.language, record.language))
    return " · ".join(parts)


def _notes(record: TaskRecord) -> list[str]:
    """The notes' texts, less those that only say that contamination was not checked."""
    return [
        f"{model}: {text}"
        for model, notes in record.notes.items()
        for text in notes.values()
        if isinstance(text, str)
        and ("contamination" not in notes or notes["contamination"].get("checked"))
    ]


def _scale(found: Sequence[Estimate], own: bool) -> tuple[float, float]:
    if not own or not found:
        return 0.0, 1.0
    low, high = min(e.low for e in found), max(e.high for e in found)
    room = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _place(value: float, low: float, high: float) -> float | None:
    if not math.isfinite(value):
        return None
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)


def score_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for a terminal: what leads each task, then what belongs to no task.

    A column whose name ends in '#' holds numbers. With two models, the last columns say how they
    differ and how sure that is; with more, each model's verdict stands beside its value.
    """
    names = [m.name for m in evaluation.models]
    averages, tasks = task_rows(evaluation)
    pair = len(names) == 2
    columns = ["task", "metric", *(f"{name}#" for name in names)]
    if pair:
        columns += ["difference#", "95 % interval#", f"{names[1]} is", "p#"]
    rows: list[list[str]] = []
    leading = [(t.record.title, t.first) for t in (*averages, *tasks)]
    for title, r in (*leading, *(("–", r) for r in plain_rows(evaluation))):
        cells = [c.value for c in r.cells]
        if not pair:
            cells = [
                f"{c.value} {c.difference.verdict}" if c.difference else c.value for c in r.cells
            ]
        line = [title, r.title if r.title != title else "", *cells]
        if pair:
            d = r.cells[1].difference
            line += [d.value, d.range, d.verdict, d.p.removeprefix("= ")] if d else [""] * 4
        rows.append(line)
    return columns, rows
