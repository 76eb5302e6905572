"""What an evaluation found: values with intervals, comparisons, and how they are shown."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from chatwright.errors import DataError
from chatwright.evaluate.statistics import (
    RESAMPLES,
    STATISTICS,
    Difference,
    Estimate,
    Sample,
    Statistic,
    difference,
    estimate,
)
from chatwright.version import __version__

FORMAT = "chatwright.evaluation"

Better = Literal["higher", "lower", "neither"]
Unit = Literal["share", "number"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: what it is called, which way is better, and how items' values become the figure.

    Each item has one or more values; `statistic` names the function (`STATISTICS`) that turns
    their sums over the items into the figure. `task` is the task that the figure belongs to; its
    `name` is then `task/metric`.
    """

    name: str
    title: str
    better: Better
    unit: Unit
    explained: str
    statistic: str = "ratio"
    task: str | None = None


METRICS: tuple[Metric, ...] = (
    Metric("token_f1", "Token F1", "higher", "share", "words shared with the reference answer"),
    Metric("rouge_l", "ROUGE-L", "higher", "share", "longest common run of words, in order"),
    Metric("exact_match", "Exact match", "higher", "share", "the reference answer, word for word"),
    Metric(
        "citation_right",
        "Right citation",
        "higher",
        "share",
        "answers that cite, and nothing but a passage which holds the answer",
    ),
    Metric("citation_any", "Any citation", "neither", "share", "answers that cite a passage shown"),
    Metric(
        "gold_shown",
        "Passage found",
        "neither",
        "share",
        "questions for which retrieval put a passage with the answer before the model",
    ),
    Metric(
        "refused_right",
        "Refusal where right",
        "higher",
        "share",
        "questions without an answer in the passages where the model says so",
    ),
    Metric(
        "refused_wrong",
        "Refusal where wrong",
        "lower",
        "share",
        "questions with an answer where the model says there is none",
    ),
    Metric(
        "perplexity",
        "Perplexity",
        "lower",
        "number",
        "of the reference answer, given the passages it was made from",
        statistic="exp_ratio",
    ),
    Metric(
        "bits_per_byte",
        "Bits per byte",
        "lower",
        "number",
        "needed for each byte of the text; independent of the tokenizer",
    ),
    Metric("words", "Words", "neither", "number", "length of the answer"),
)
BY_NAME = {metric.name: metric for metric in METRICS}

# Item id → the item's values, as the metric's statistic takes them: (numerator, denominator), say.
Values = dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that could not be scored, and why."""

    id: str
    reason: str


@dataclass(slots=True)
class ModelResult:
    """What one model scored. `seconds`: what its answers and its likelihoods took, where known."""

    name: str
    reference: str
    metrics: dict[str, Estimate]
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two models on the same items; `better` is the metric's."""

    metric: str
    baseline: str
    model: str
    difference: Difference
    better: Better = "higher"

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `different` (where neither way is better) or `no clear difference`."""
        if not self.difference.significant:
            return "no clear difference"
        if self.better == "neither":
            return "different"
        return "better" if (self.difference.value > 0) == (self.better == "higher") else "worse"


@dataclass(slots=True)
class TaskRecord:
    """One task as it was run, or an average over tasks.

    An average names its tasks (`members`), the metric of each that is averaged (`parts`), and
    whether chance was taken away first (`centred`).

    `primary` is the metric to look at first, `chance` its value for a guesser. `source` says where
    the items came from and `digest` how they were asked: results with the same digest can be
    compared on the items that they share. `notes` hold what a reader of the score must
    know, by model (contamination, say).
    """

    name: str
    title: str
    kind: str
    primary: str
    items: int
    shots: int = 0
    chance: float | None = None
    source: str = ""
    digest: str = ""
    citation: str = ""
    language: str | None = None
    members: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    centred: bool = False
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Evaluation:
    """The result of evaluating models on the same items. The first model is the baseline.

    `answers` has one entry per question, text or item of a task, with each model's answer and
    scores; it is written beside (`answers.jsonl`) and not part of `to_json`. `metrics` explains
    every figure that occurs.
    """

    settings: dict[str, Any]
    items: int
    models: list[ModelResult]
    comparisons: list[Comparison]
    skipped: list[Skipped] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = METRICS
    tasks: list[TaskRecord] = field(default_factory=list)
    gates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def shown(self) -> list[Metric]:
        """The metrics that at least one model has a value of, in their order."""
        return [m for m in self.metrics if any(m.name in r.metrics for r in self.models)]

    def metric(self, name: str) -> Metric:
        """A metric by its name. Raises `KeyError` where the evaluation has none of that name."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the content of `evaluation.json`, less fingerprint and parents.

        What is infinite or no number is None: JSON has no such numbers.
        """
        found: dict[str, Any] = _finite(self._plain())
        return found

    def _plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "chatwright": __version__,
            "settings": self.settings,
            "items": self.items,
            "models": {
                m.name: {
                    "reference": m.reference,
                    "metrics": {name: asdict(e) for name, e in m.metrics.items()},
                }
                for m in self.models
            },
            "comparisons": [
                {
                    "metric": c.metric,
                    "baseline": c.baseline,
                    "model": c.model,
                    "verdict": c.verdict,
                    **asdict(c.difference),
                }
                for c in self.comparisons
            ],
            "metrics": [asdict(metric) for metric in self.shown],
            "tasks": [asdict(task) for task in self.tasks],
            "gates": self.gates,
            "skipped": [asdict(s) for s in self.skipped],
            "timing": {m.name: m.seconds for m in self.models},
            "machine": self.machine,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], where: str | None = None) -> Self:
        """Read what `to_json` gave. Raises `DataError` for anything else."""
        try:
            if raw["format"] != FORMAT:
                raise KeyError("format")
            timing = raw.get("timing", {})
            # Evaluations of before tasks explain no metrics: theirs are the built-in ones.
            metrics = tuple(Metric(**m) for m in raw.get("metrics", [])) or METRICS
            known = {metric.name: metric for metric in metrics}
            return cls(
                settings=dict(raw["settings"]),
                items=int(raw["items"]),
                models=[
                    ModelResult(
                        name,
                        m["reference"],
                        {k: Estimate(**_numbers(e)) for k, e in m["metrics"].items() if k in known},
                        dict(timing.get(name, {})),
                    )
                    for name, m in raw["models"].items()
                ],
                comparisons=[
                    Comparison(
                        c["metric"],
                        c["baseline"],
                        c["model"],
                        Difference(**_numbers({k: c[k] for k in Difference.__dataclass_fields__})),
                        known[c["metric"]].better,
                    )
                    for c in raw["comparisons"]
                    if c["metric"] in known
                ],
                skipped=[Skipped(**s) for s in raw.get("skipped", [])],
                machine=dict(raw.get("machine", {})),
                metrics=metrics,
                tasks=[TaskRecord(**t) for t in raw.get("tasks", [])],
                gates=list(raw.get("gates", [])),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"this is not an evaluation: {error}", where=where) from error

    def table(self) -> str:
        """The figures as aligned plain text, one line per metric, for a terminal."""
        rows = [["", *(r.name for r in self.models)]]
        for metric in self.shown:
            cells = [_cell(metric, r.metrics.get(metric.name)) for r in self.models]
            verdicts = [c.verdict for c in self.comparisons if c.metric == metric.name]
            rows.append([metric.title, *cells, *verdicts])
        lines = aligned(rows)
        lines += self._notes()
        for result in self.models:
            if result.seconds:
                parts = (
                    f"{what.replace('_', ' ')} {t:.1f} s" for what, t in result.seconds.items()
                )
                lines.append(f"{result.name} took: {', '.join(parts)}")
        lines.append(f"\n{self.items} items; in brackets, 95 % intervals over the items.")
        if self.skipped:
            lines.append(f"{len(self.skipped)} not scored, among them:")
            lines += [f"  {s.id}: {s.reason}" for s in self.skipped[:5]]
        return "\n".join(lines)

    def _notes(self) -> list[str]:
        """What the tasks' notes say, a line for each model and text, naming the tasks."""
        told: dict[tuple[str, str], list[str]] = {}
        for task in self.tasks:
            for model, notes in task.notes.items():
                told.setdefault((model, str(notes.get("text", ""))), []).append(task.title)
        everywhere = sum(task.kind != "average" for task in self.tasks)
        return [
            f"{model}, {'all tasks' if len(tasks) == everywhere else ', '.join(tasks)}: {text}"
            for (model, text), tasks in told.items()
            if text
        ]


def _finite(value: Any) -> Any:
    """The same plain value, None in place of each infinity and NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in values.items()}


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines whose columns stand under each other (a Han character is two wide)."""
    width = max(len(row) for row in rows)
    full = [[*row, *[""] * (width - len(row))] for row in rows]
    widths = [max(_columns_wide(row[i]) for row in full) for i in range(width)]
    return [
        "  ".join(
            cell + " " * (w - _columns_wide(cell)) for cell, w in zip(row, widths, strict=True)
        ).rstrip()
        for row in full
    ]


def _columns_wide(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def show(metric: Metric, value: float) -> str:
    """A value as a person reads it: shares in per cent, numbers to three places that matter."""
    if metric.unit == "share":
        return f"{100 * value:.1f} %"
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(metric: Metric, estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    low, high = show(metric, estimate.low), show(metric, estimate.high)
    return f"{show(metric, estimate.value)} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


@dataclass(frozen=True, slots=True)
class Average:
    """A metric that is the mean of others, each over its own items.

    `parts` names the metrics; with `chance` each is centred first: (value − c) / (1 − c), so that
    guessing is 0 and perfection 1, as the CORE score of DCLM does it (Li et al. 2024, appendix).
    """

    metric: Metric
    parts: tuple[str, ...]
    chance: tuple[float, ...] | None = None


def summarise(
    values: Mapping[str, Mapping[str, Values]],
    references: Mapping[str, str],
    *,
    metrics: Sequence[Metric] = METRICS,
    averages: Sequence[Average] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[list[ModelResult], list[Comparison]]:
    """From per-item values to figures with intervals, and each model against the first.

    `values`: model → metric → item id → the item's values. A comparison uses the items that both
    models have; an average is left out where a part of it is missing.
    """
    wanted = [Average(metric, (metric.name,)) for metric in metrics] + list(averages)
    statistics = {metric.name: STATISTICS[metric.statistic] for metric in metrics}
    how = {"seed": seed, "resamples": resamples}
    results: list[ModelResult] = []
    comparisons: list[Comparison] = []
    first = next(iter(values), "")
    for name, per_metric in values.items():
        figures: dict[str, Estimate] = {}
        for average in wanted:
            if all(per_metric.get(part) for part in average.parts):
                items = [sorted(per_metric[part]) for part in average.parts]
                figures[average.metric.name] = estimate(
                    _samples(average, per_metric, items, statistics), **how
                )
            base = values[first]
            shared = [
                sorted(base.get(part, {}).keys() & per_metric.get(part, {}).keys())
                for part in average.parts
            ]
            if name != first and all(shared):
                found = difference(
                    _samples(average, base, shared, statistics),
                    _samples(average, per_metric, shared, statistics),
                    **how,
                )
                metric = average.metric
                comparisons.append(Comparison(metric.name, first, name, found, metric.better))
        results.append(ModelResult(name, references[name], figures))
    return results, comparisons


def _samples(
    average: Average,
    values: Mapping[str, Values],
    items: Sequence[Sequence[str]],
    statistics: Mapping[str, Statistic],
) -> list[Sample]:
    """One sample per part: the values of its `items` and their statistic, centred where asked."""
    chances = average.chance or (0.0,) * len(average.parts)
    return [
        Sample(
            np.array([values[part][i] for i in ids], dtype=np.float64),
            _centred(statistics[part], chance) if chance else statistics[part],
        )
        for part, ids, chance in zip(average.parts, items, chances, strict=True)
    ]


def _centred(statistic: Statistic, chance: float) -> Statistic:
    return lambda sums: (statistic(sums) - chance) / (1 - chance)
