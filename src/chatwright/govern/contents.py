"""What a report says, gathered from the results on disk; no layout in here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chatwright.errors import DataError
from chatwright.evaluate.alignment import Line
from chatwright.evaluate.results import Evaluation
from chatwright.evaluate.stored import ANSWERS, read_answers
from chatwright.govern.cards import model_card
from chatwright.govern.facts import (
    Facts,
    SourceFacts,
    gather_facts,
    languages,
    read_metrics,
    rows_of,
    sources,
)
from chatwright.records import Dataset
from chatwright.records.results import Result

_EXAMPLES_PER_RULE = 3
_RULES_WITH_EXAMPLES = 16
# These rules share rows out between uses and do not judge them: a held-out page is not a bad one.
_SHARING_RULES = ("held-out", "no_question")


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many ledger lines one rule wrote in one stage."""

    stage: str
    action: str
    rule: str
    lines: int

    @property
    def refused(self) -> bool:
        """Whether the rule found fault with the row, or found it twice."""
        return self.action in ("drop", "merge") and self.rule not in _SHARING_RULES


@dataclass(frozen=True, slots=True)
class Dropped:
    """An example of what a rule dropped."""

    uri: str
    value: float | None
    bound: str | None
    detail: str | None


@dataclass(slots=True)
class DatasetContents:
    """One dataset: what came in, what it holds, what its rules did."""

    name: str
    rows_in: int | None
    rows: int
    kind: str
    counts: dict[str, Any]
    rules: list[RuleCount]
    examples: list[tuple[RuleCount, list[Dropped]]]

    @property
    def dropped(self) -> int:
        return sum(r.lines for r in self.rules if r.refused)


@dataclass(slots=True)
class ModelContents:
    """One checkpoint: its loss over steps, its facts and its card (Markdown).

    `held_out` is the loss on validation data; `said` what it answered while it was trained.
    """

    name: str
    path: Path
    losses: list[tuple[float, float]]
    facts: Facts
    card: str
    held_out: list[tuple[float, float]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class EvaluationContents:
    """One evaluation and the answers that are shown of it, each with why it was chosen."""

    name: str
    evaluation: Evaluation
    samples: list[tuple[str, dict[str, Any]]]


@dataclass(slots=True)
class AlignmentContents:
    """Aligned models beside the one that they began as: the table, and some prompts' answers."""

    name: str
    prompts: int
    lines: list[Line]
    samples: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What is recorded of a stage's last run."""

    seconds: float | None = None
    peak_bytes: int | None = None


@dataclass(slots=True)
class Contents:
    """Everything in a report, in the order in which it is read."""

    title: str
    recipe: str
    fingerprint: str
    sources: list[SourceFacts]
    languages: list[tuple[str, int]]
    datasets: list[DatasetContents]
    models: list[ModelContents]
    evaluations: list[EvaluationContents]
    alignments: list[AlignmentContents]
    chain: list[Result]
    records: dict[str, StageRecord] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


def gather(
    chain: list[Result],
    *,
    title: str,
    recipe: str,
    fingerprint: str,
    build_record: Path | None = None,
    samples: int = 6,
) -> Contents:
    """Read everything that the results in `chain` (parents first) tell about themselves."""
    evaluations = [(r, _read_evaluation(r, samples)) for r in chain if r.kind == "evaluation"]
    measured = [result for result, _ in evaluations]
    audits = [r for r in chain if r.kind == "audit"]
    machine: dict[str, Any] = {}
    for _, contents in evaluations:
        machine = contents.evaluation.machine or machine
    return Contents(
        title=title,
        recipe=recipe,
        fingerprint=fingerprint,
        sources=sources(chain),
        languages=languages(chain),
        datasets=[_read_dataset(r, chain) for r in chain if r.kind == "dataset"],
        models=[_read_model(r, measured, audits) for r in chain if r.kind == "model"],
        evaluations=[contents for _, contents in evaluations],
        alignments=[_read_alignment(r, samples) for r in chain if r.kind == "alignment"],
        chain=chain,
        records=_read_record(build_record),
        machine=machine,
    )


def _read_dataset(result: Result, chain: Sequence[Result]) -> DatasetContents:
    dataset = Dataset.open(result.path)
    table = dataset.ledger.table()
    above = {str(r.path): r for r in chain}
    parents = [
        rows_of(above[key]) for p in result.parents if (key := str(result.parent_path(p))) in above
    ]
    known = [rows for rows in parents if rows is not None]
    rules = count_rules(table)
    return DatasetContents(
        name=result.name,
        rows_in=sum(known) if known else None,
        rows=len(dataset),
        kind=dataset.info.kind,
        counts={k: v for k, v in dataset.info.counts.items() if isinstance(v, (int, float, str))},
        rules=rules,
        examples=[
            (rule, _examples(table, rule))
            for rule in [r for r in rules if r.action in ("drop", "merge")][:_RULES_WITH_EXAMPLES]
        ],
    )


def count_rules(ledger: pa.Table) -> list[RuleCount]:
    """Lines per (stage, action, rule), most first."""
    grouped = ledger.group_by(["stage", "action", "rule"]).aggregate([("row_id", "count")])
    counts = [
        RuleCount(line["stage"], line["action"], line["rule"], line["row_id_count"])
        for line in grouped.to_pylist()
    ]
    return sorted(counts, key=lambda c: (-c.lines, c.stage, c.action, c.rule))


def _examples(ledger: pa.Table, rule: RuleCount) -> list[Dropped]:
    """The first few lines of a rule, in the ledger's order."""
    match = (
        (pc.field("stage") == rule.stage)
        & (pc.field("action") == rule.action)
        & (pc.field("rule") == rule.rule)
    )
    lines = ledger.filter(match).slice(0, _EXAMPLES_PER_RULE).to_pylist()
    return [Dropped(q["uri"], q["value"], q["bound"], q["detail"]) for q in lines]


def _read_model(
    result: Result, evaluations: Sequence[Result], audits: Sequence[Result]
) -> ModelContents:
    measured, audited = (_last_of(result, found) for found in (evaluations, audits))
    facts = gather_facts(
        result.path, measured.path if measured else None, audited.path if audited else None
    )
    metrics = read_metrics(result.path / "metrics.jsonl")
    return ModelContents(
        result.name,
        result.path,
        _points(metrics, "loss"),
        facts,
        model_card(facts),
        _points(metrics, "validation_loss"),
        read_metrics(result.path / "samples.jsonl"),
    )


def _points(metrics: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """A metric over steps, where it was measured."""
    return [
        (float(m["step"]), float(m[name])) for m in metrics if isinstance(m.get(name), (int, float))
    ]


def _last_of(model: Result, results: Sequence[Result]) -> Result | None:
    """The last result that was made from the model."""
    return next(
        (
            r
            for r in reversed(results)
            if any(p.fingerprint == model.fingerprint for p in r.parents)
        ),
        None,
    )


def _read_evaluation(result: Result, samples: int) -> EvaluationContents:
    where = result.path / "evaluation.json"
    evaluation = Evaluation.from_json(result.info, str(where))
    # Figures without answers are still figures: there may be no such file. A task's items have a
    # page of their own (`chatwright compare`); here questions are shown.
    lines = [q for q in read_answers(result.path / ANSWERS) if "question" in q]
    names = [m.name for m in evaluation.models]
    return EvaluationContents(result.name, evaluation, choose_samples(lines, names, samples))


def _read_alignment(result: Result, samples: int) -> AlignmentContents:
    """The table; and of the prompts those that the last model gained or lost most on, or neither.

    By the judge's reward, where there was one; else by the reward that was optimised.
    """
    where = result.path / "alignment.json"
    try:
        lines = [Line.from_json(line) for line in result.info["lines"]]
        prompts = int(result.info["prompts"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"not a comparison of aligned models: {error!r}", where=str(where)
        ) from error
    rows = list(read_answers(result.path / ANSWERS))
    first, last, judge = lines[0].model, lines[-1].model, list(lines[0].rewards)[-1]

    def gain(row: dict[str, Any]) -> float:
        return float(
            row["answers"][last]["rewards"][judge] - row["answers"][first]["rewards"][judge]
        )

    ordered = sorted(rows, key=lambda row: (-gain(row), row["id"]))
    few = min(samples, len(ordered))
    at = [round(i * (len(ordered) - 1) / max(1, few - 1)) for i in range(few)]
    return AlignmentContents(result.name, prompts, lines, [ordered[i] for i in at])


def choose_samples(
    lines: Sequence[dict[str, Any]], models: Sequence[str], count: int
) -> list[tuple[str, dict[str, Any]]]:
    """Answers to show, chosen by rule and not by taste: most gained, middling, most lost.

    Ordered by the last model's token F1 less the first's (its own F1 where there is one model);
    a third from each end and from the middle. Questions without an answer come last, one of them.
    """
    asked = [q for q in lines if "answers" in q and all(m in q["answers"] for m in models)]
    scored = [q for q in asked if "token_f1" in q["answers"][models[-1]]["scores"]]
    unanswerable = [q for q in asked if "refused_right" in q["answers"][models[-1]]["scores"]]

    def gain(line: dict[str, Any]) -> float:
        f1 = [line["answers"][m]["scores"]["token_f1"] for m in (models[0], models[-1])]
        return float(f1[1] - f1[0] if len(models) > 1 else f1[1])

    ordered = sorted(scored, key=lambda q: (-gain(q), q["id"]))
    third = max(1, count // 3)
    words = (
        ("gained most", "in the middle", "lost most")
        if len(models) > 1
        else ("best", "in the middle", "worst")
    )
    middle = max(0, len(ordered) // 2 - third // 2)
    picked: list[tuple[str, dict[str, Any]]] = []
    for word, part in (
        (words[0], ordered[:third]),
        (words[2], ordered[-third:]),
        (words[1], ordered[middle : middle + third]),
    ):
        seen = {q["id"] for _, q in picked}
        picked += [(word, q) for q in part if q["id"] not in seen]
    picked.sort(key=lambda entry: words.index(entry[0]))
    return picked + [("no answer in the passages", q) for q in unanswerable[:1]]


def _read_record(file: Path | None) -> dict[str, StageRecord]:
    """Seconds and peak memory of each stage's last run, from `build.json`; empty without one."""
    if file is None:
        return {}
    try:
        stages = json.loads(file.read_text(encoding="utf-8"))["stages"]
        return {
            name: StageRecord(entry.get("seconds"), entry.get("peak_bytes"))
            for name, entry in stages.items()
        }
    except (OSError, ValueError, KeyError, AttributeError):
        return {}
