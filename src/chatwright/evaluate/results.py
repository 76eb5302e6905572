"""What an evaluation found: values with intervals, comparisons, and how they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from chatwright.errors import DataError
from chatwright.evaluate.statistics import (
    RESAMPLES,
    Difference,
    Estimate,
    Floats,
    bootstrap,
    identity,
    paired_bootstrap,
)
from chatwright.version import __version__

FORMAT = "chatwright.evaluation"

Better = Literal["higher", "lower", "neither"]
Unit = Literal["share", "number"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: what it is called, which way is better, and how its sum becomes the figure.

    Values are per item; where `denominator` names another per-item value, the figure is the ratio
    of the two sums, `exponential` its exp.
    """

    name: str
    title: str
    better: Better
    unit: Unit
    explained: str
    denominator: str | None = None
    exponential: bool = False


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
        denominator="tokens",
        exponential=True,
    ),
    Metric(
        "bits_per_byte",
        "Bits per byte",
        "lower",
        "number",
        "needed for each byte of the text; independent of the tokenizer",
        denominator="bytes",
    ),
    Metric("words", "Words", "neither", "number", "length of the answer"),
)
BY_NAME = {metric.name: metric for metric in METRICS}

# For each metric, item id → (numerator, denominator).
Values = dict[str, tuple[float, float]]


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
    """One metric of two models on the same items."""

    metric: str
    baseline: str
    model: str
    difference: Difference

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `different` (where neither way is better) or `no clear difference`."""
        way = BY_NAME[self.metric].better
        if not self.difference.significant:
            return "no clear difference"
        if way == "neither":
            return "different"
        return "better" if (self.difference.value > 0) == (way == "higher") else "worse"


@dataclass(slots=True)
class Evaluation:
    """The result of evaluating models on the same items. The first model is the baseline.

    `answers` has one entry per question or text, with each model's answer and scores; it is
    written beside (`answers.jsonl`) and not part of `to_json`.
    """

    settings: dict[str, Any]
    items: int
    models: list[ModelResult]
    comparisons: list[Comparison]
    skipped: list[Skipped] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the content of `evaluation.json`, less fingerprint and parents."""
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
            return cls(
                settings=dict(raw["settings"]),
                items=int(raw["items"]),
                models=[
                    ModelResult(
                        name,
                        m["reference"],
                        {k: Estimate(**e) for k, e in m["metrics"].items() if k in BY_NAME},
                        dict(timing.get(name, {})),
                    )
                    for name, m in raw["models"].items()
                ],
                comparisons=[
                    Comparison(
                        c["metric"],
                        c["baseline"],
                        c["model"],
                        Difference(**{k: c[k] for k in Difference.__dataclass_fields__}),
                    )
                    for c in raw["comparisons"]
                    if c["metric"] in BY_NAME
                ],
                skipped=[Skipped(**s) for s in raw.get("skipped", [])],
                machine=dict(raw.get("machine", {})),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"this is not an evaluation: {error}", where=where) from error

    def table(self) -> str:
        """The figures as aligned plain text, one line per metric, for a terminal."""
        shown = [m for m in METRICS if any(m.name in r.metrics for r in self.models)]
        rows = [["", *(r.name for r in self.models)]]
        for metric in shown:
            cells = [_cell(metric, r.metrics.get(metric.name)) for r in self.models]
            verdicts = [c.verdict for c in self.comparisons if c.metric == metric.name]
            rows.append([metric.title, *cells, *verdicts])
        width = max(len(row) for row in rows)
        rows = [row + [""] * (width - len(row)) for row in rows]
        widths = [max(len(row[i]) for row in rows) for i in range(width)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
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


def summarise(
    values: Mapping[str, Mapping[str, Values]],
    references: Mapping[str, str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[list[ModelResult], list[Comparison]]:
    """From per-item values to figures with intervals, and each model against the first.

    `values`: model → metric → item id → (numerator, denominator). A comparison uses the items that
    both models have.
    """
    results = [
        ModelResult(
            name,
            references[name],
            {
                metric.name: bootstrap(
                    *_columns(per_metric[metric.name], sorted(per_metric[metric.name])),
                    transform=np.exp if metric.exponential else identity,
                    seed=seed,
                    resamples=resamples,
                )
                for metric in METRICS
                if per_metric.get(metric.name)
            },
        )
        for name, per_metric in values.items()
    ]
    comparisons: list[Comparison] = []
    names = list(values)
    for name in names[1:]:
        for metric in METRICS:
            first = values[names[0]].get(metric.name, {})
            second = values[name].get(metric.name, {})
            shared = sorted(first.keys() & second.keys())
            if not shared:
                continue
            difference = paired_bootstrap(
                _columns(first, shared),
                _columns(second, shared),
                transform=np.exp if metric.exponential else identity,
                seed=seed,
                resamples=resamples,
            )
            comparisons.append(Comparison(metric.name, names[0], name, difference))
    return results, comparisons


def _columns(values: Values, ids: Sequence[str]) -> tuple[Floats, Floats]:
    pairs = np.array([values[i] for i in ids], dtype=np.float64)
    return pairs[:, 0], pairs[:, 1]


def mean_values(values: Iterable[tuple[str, float]]) -> Values:
    """Per-item values of a plain mean."""
    return {item: (value, 1.0) for item, value in values if not math.isnan(value)}
