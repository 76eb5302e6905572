"""From an evaluation and its answers to one HTML page that needs nothing else.

What models said and what items hold came from outside: the template escapes all of it, nothing is
loaded, and a Content-Security-Policy forbids scripts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from chatwright.evaluate.recompute import short_name
from chatwright.evaluate.results import Evaluation
from chatwright.govern.charts import reliability_chart
from chatwright.govern.choices import Calibration, Confusion, calibration, confusion
from chatwright.govern.contrast import Contrast, contrasts
from chatwright.govern.html import describe_machine, duration, link, styles, template
from chatwright.govern.items import Item, sample_size, show_item
from chatwright.govern.scores import Cell, TaskRow, forest, plain_rows, tally, task_rows, unchecked
from chatwright.version import __version__

# Bytes for the items that are shown, of the page's 3 MB.
BUDGET = 1_800_000
_HEADLINES = 4
_SKIPPED = 100


@dataclass(frozen=True, slots=True)
class _Shown:
    """One kind of item of a contrast, with its sample laid out."""

    title: str
    count: int
    css: str
    items: list[Item]


@dataclass(frozen=True, slots=True)
class _Pair:
    """All contrasts of one model, or of two."""

    models: tuple[str, ...]
    index: int  # of its last model, for its colour
    tasks: list[tuple[Contrast, list[_Shown]]]
    sample: int

    @property
    def differing(self) -> int:
        return sum(g.count for c, _ in self.tasks for g in c.groups)

    @property
    def shown(self) -> int:
        return sum(len(g.items) for _, groups in self.tasks for g in groups)


def render_evaluation(
    evaluation: Evaluation,
    answers: Sequence[Mapping[str, Any]] | None = None,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    lineage: Mapping[str, Any] | None = None,
    sources: Mapping[str, Mapping[str, str]] | None = None,
    budget: int = BUDGET,
) -> str:
    """The whole page. The same evaluation gives the same bytes.

    `answers`: lines of `answers.jsonl` (default: the evaluation's own). `notes` are sentences to
    read before the figures (what a pairing left out); `lineage` is what `evaluation.json` says
    about fingerprint, recipe and parents, and `sources` where each model's answers came from. Items
    are shown while they fit into `budget` bytes; how many were left out is said.
    """
    lines = evaluation.answers if answers is None else answers
    names = [m.name for m in evaluation.models]
    averages, tasks = task_rows(evaluation)
    plain = plain_rows(evaluation)
    pairs = _pairs(evaluation, lines, names, budget)
    found = [calibration(lines, name) for name in names]
    curves = [(i, c) for i, c in enumerate(found) if c is not None]
    confusions = _confusions(evaluation, lines, names)
    forests = forest(evaluation, [*averages, *tasks])
    sections = [
        ("scores", "Scores", averages or tasks),
        ("questions", "Questions and pages", plain),
        ("differences", "Differences", forests),
        ("items", "Items", any(p.tasks for p in pairs)),
        ("calibration", "Calibration", curves),
        ("confusion", "Confusion", confusions),
        ("skipped", "Not scored", evaluation.skipped),
        ("how", "How it was measured", True),
    ]
    return template("evaluation.html").render(
        e=evaluation,
        css=styles("report.css", "scores.css", "evaluation.css"),
        title=title or " against ".join(names[:2]) + (" and others" if len(names) > 2 else ""),
        names=names,
        lead=_lead(evaluation, averages, tasks),
        sections=[(anchor, name) for anchor, name, there in sections if there],
        headlines=_headlines(averages, tasks),
        verdicts=[(m, _verdict(tally(evaluation, tasks, m))) for m in names[1:]],
        expected=_expected(evaluation, tasks),
        notes=list(notes),
        averages=averages,
        tasks=tasks,
        unchecked=unchecked(evaluation),
        plain=plain,
        forests=forests,
        pairs=pairs,
        curves=[(c, _curve(c, i)) for i, c in curves],
        confusions=confusions,
        skipped=evaluation.skipped[:_SKIPPED],
        settings=_settings(evaluation),
        lineage=dict(lineage or {}),
        sources=dict(sources or {}),
        machine=describe_machine(evaluation.machine),
        times=[(m.name, duration(sum(m.seconds.values()))) for m in evaluation.models if m.seconds],
        version=__version__,
        link=link,
    )


def _lead(evaluation: Evaluation, averages: list[TaskRow], tasks: list[TaskRow]) -> str:
    text = f"{evaluation.items:,} items"
    if tasks:
        text += f" of {len(tasks)} task{'s' if len(tasks) > 1 else ''}"
    text += ", the same for every model." if len(evaluation.models) > 1 else "."
    languages = {t.record.language for t in tasks if t.record.language}
    if {"en", "zh"} <= languages:
        text += " English and Chinese."
    return text


def _headlines(averages: list[TaskRow], tasks: list[TaskRow]) -> list[tuple[str, list[Cell]]]:
    """Averages; where there are none, the first tasks."""
    return [(t.record.title, t.first.cells) for t in (averages or tasks)[:_HEADLINES]]


def _verdict(counts: Mapping[str, int]) -> str:
    """In words on how many tasks a model is better or worse than the baseline."""
    total = sum(counts.values())
    words = ("better", "worse", "different", "no clear difference")
    parts = [f"{word} on {counts[word]}" for word in words if counts.get(word)]
    return f"of {total} task{'s' if total > 1 else ''}, {', '.join(parts)}" if parts else ""


def _expected(evaluation: Evaluation, tasks: list[TaskRow]) -> str:
    """How many verdicts chance alone would give: many tasks are many tests."""
    names = {t.first.metric.name for t in tasks}
    count = sum(c.metric in names for c in evaluation.comparisons)
    if count < 5:
        return ""
    return (
        f"Of {count} comparisons of equal models, about {0.05 * count:.1f} would come out as clear "
        "by chance alone."
    )


def _pairs(
    evaluation: Evaluation, lines: Sequence[Mapping[str, Any]], names: list[str], budget: int
) -> list[_Pair]:
    """The baseline against each other model; one model alone, its mistakes."""
    if not names:
        return []
    models = [(names[0], other) for other in names[1:]] if len(names) > 1 else [tuple(names)]
    out = []
    for pair in models:
        found = contrasts(evaluation, lines, pair)
        sample = sample_size(found, budget // len(models))
        tasks = [
            (
                c,
                [
                    _Shown(
                        g.title,
                        g.count,
                        g.css,
                        [
                            show_item(q, pair, c.metric, short_name(c.name, c.metric.name))
                            for q in g.lines[:sample]
                        ],
                    )
                    for g in c.groups
                    if g.count
                ],
            )
            for c in found
        ]
        out.append(_Pair(pair, names.index(pair[-1]), tasks, sample))
    return out


def _confusions(
    evaluation: Evaluation, lines: Sequence[Mapping[str, Any]], names: list[str]
) -> list[tuple[str, list[tuple[int, Confusion]]]]:
    out = []
    for record in evaluation.tasks:
        if record.kind != "classification":
            continue
        own = [line for line in lines if line.get("task") == record.name]
        found = [(i, confusion(own, name)) for i, name in enumerate(names)]
        there = [(i, c) for i, c in found if c is not None]
        if there:
            out.append((record.title, there))
    return out


def _curve(found: Calibration, index: int) -> Markup:
    bins = [(b.confidence, b.accuracy, b.low, b.high, b.count) for b in found.bins]
    return Markup(reliability_chart(bins, f"Calibration of {found.model}", index))


def _settings(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [
        (k.replace("_", " "), v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))
        for k, v in evaluation.settings.items()
        if v is not None and k != "models"
    ]
