"""What is known about a checkpoint, read from its own files and those it was made from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from chatwright.errors import DataError
from chatwright.evaluate.results import Evaluation
from chatwright.govern.audit.keeping import read_audit
from chatwright.govern.audit.results import Audit
from chatwright.govern.energy import Energy, estimate_energy, from_metrics
from chatwright.records import Dataset, read_json
from chatwright.records.results import Result, data_names, read_result, walk


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Rows of one source under one licence, as they were collected. `license` None: not stated."""

    source: str
    license: str | None
    rows: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class StepFacts:
    """One result on the way: a stage, what it is and how much is in it."""

    name: str
    kind: str
    rows: int | None
    fingerprint: str


@dataclass(slots=True)
class Facts:
    """Everything that a model card says. What is not known stays None or empty and is not said."""

    name: str
    fingerprint: str = ""
    base: str | None = None
    base_license: str | None = None
    objective: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    context: int | None = None
    sources: list[SourceFacts] = field(default_factory=list)
    languages: list[tuple[str, int]] = field(default_factory=list)
    training_rows: int | None = None
    steps: list[StepFacts] = field(default_factory=list)
    trained_steps: int | None = None
    trained_tokens: int | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    evaluation: Evaluation | None = None
    evaluated_as: str | None = None
    evaluated_on: str | None = None
    audit: Audit | None = None
    energy: Energy | None = None
    chatwright: str = ""


def gather_facts(
    checkpoint: Path, evaluation: Path | None = None, audit: Path | None = None
) -> Facts:
    """Read a checkpoint's facts; `evaluation` is the folder of an evaluation in which it took part.

    `audit` is the folder of an audit of it. Energy is estimated from what its training recorded.
    Walks the lineage up to the collected sources. A part of the chain that is gone is left out of
    the counts and shows as `missing` in `steps`. Raises `DataError` where the checkpoint has no
    `lineage.json`.
    """
    model = read_result(checkpoint)
    chain = walk([(model.name, checkpoint)])
    settings = dict(model.info.get("settings", {}))
    base = settings.get("model")
    stages = {result.name: result for result in chain}
    facts = Facts(
        name="/".join(n for n in (str(model.info.get("recipe", "")), model.name) if n),
        fingerprint=model.fingerprint,
        objective=settings.get("objective"),
        settings=settings,
        sources=sources(chain),
        languages=languages(chain),
        steps=[StepFacts(r.name, r.kind, rows_of(r), r.fingerprint) for r in chain],
        chatwright=str(model.info.get("chatwright", "")),
    )
    if isinstance(base, str) and base not in stages:
        facts.base, facts.base_license = base, known_license(base)
    elif isinstance(base, str):
        # Trained further from a checkpoint of our own: the base is what that one began from.
        above = gather_facts(stages[base].path) if stages[base].kind == "model" else None
        facts.base = above.base if above else base
        facts.base_license = above.base_license if above else None
    _add_shape(facts, checkpoint)
    metrics = read_metrics(checkpoint / "metrics.jsonl")
    _add_training(facts, metrics)
    _add_energy(facts, metrics, model.info.get("machine"))
    by_path = {result.path: result for result in chain}
    trained_on = data_names(settings.get("data"))  # other parents are for validation, say
    data = [
        by_path.get(chain[-1].parent_path(parent))
        for parent in model.parents
        if parent.name in trained_on
    ]
    rows = [count for result in data if result and (count := rows_of(result)) is not None]
    facts.training_rows = sum(rows) if rows else None
    if evaluation is not None:
        _add_evaluation(facts, model, evaluation)
    if audit is not None:
        facts.audit = _audit_of(model, audit)
    return facts


def sources(chain: list[Result]) -> list[SourceFacts]:
    """Rows and bytes per source and licence, over the datasets that have no parent."""
    found: Counter[tuple[str, str | None]] = Counter()
    sizes: Counter[tuple[str, str | None]] = Counter()
    for result in chain:
        if result.kind != "dataset" or result.parents:
            continue
        dataset = Dataset.open(result.path)
        columns = ["source", "license"] + (["text"] if dataset.info.kind == "document" else [])
        table = dataset.table(columns=columns)
        size = (
            pc.fill_null(pc.binary_length(table["text"]), 0)
            if "text" in columns
            else pa.array([0] * len(table), pa.int32())
        )
        grouped = table.select(["source", "license"]).append_column("size", size)
        for line in (
            grouped.group_by(["source", "license"])
            .aggregate([("size", "sum"), ("size", "count")])
            .to_pylist()
        ):
            key = (line["source"] or "unknown", line["license"] or None)
            found[key] += line["size_count"]
            sizes[key] += line["size_sum"]
    return [
        SourceFacts(source, license_, count, sizes[source, license_])
        for (source, license_), count in sorted(
            found.items(), key=lambda kv: (-kv[1], kv[0][0], kv[0][1] or "")
        )
    ]


def languages(chain: list[Result]) -> list[tuple[str, int]]:
    """Rows per language, most first, where each collected source first had its language known.

    Later datasets (questions, passages) repeat the same pages in other pieces and do not count.
    """
    roots: dict[Path, frozenset[Path]] = {}
    covered: set[Path] = set()
    counts: Counter[str] = Counter()
    for result in chain:
        if result.kind != "dataset":
            continue
        above = [roots.get(result.parent_path(p), frozenset()) for p in result.parents]
        mine = frozenset().union(*above) if above else frozenset({result.path})
        roots[result.path] = mine
        if mine <= covered:
            continue
        column = Dataset.open(result.path).table(columns=["language"])["language"]
        found = Counter(value for value in column.to_pylist() if value)
        if found:
            counts += found
            covered |= mine
    return sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))


def rows_of(result: Result) -> int | None:
    """How many rows a dataset holds; None for anything else."""
    rows = result.info.get("rows") if result.kind == "dataset" else None
    return rows if isinstance(rows, int) else None


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a training's `metrics.jsonl` in order of their step, the last of each step.

    A resumed training may have written a step twice. Lines that are no JSON objects are left out.
    """
    lines: dict[int, dict[str, Any]] = {}
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            value = json.loads(line)
            lines[int(value["step"])] = value
        except (ValueError, KeyError, TypeError):
            continue
    return [lines[step] for step in sorted(lines)]


def known_license(reference: str) -> str | None:
    """The licence of a model that Chatwright knows by name."""
    from chatwright.model.references import KNOWN_MODELS

    known = KNOWN_MODELS.get(reference)
    return known.license if known else None


def _add_shape(facts: Facts, checkpoint: Path) -> None:
    from chatwright.errors import ModelError
    from chatwright.model.config import ModelConfig

    try:
        config = ModelConfig.load(checkpoint)
    except ModelError:  # an adapter alone, or a model of another shape: the card says less
        return
    facts.parameters, facts.context = config.n_parameters, config.context


def _add_training(facts: Facts, metrics: list[dict[str, Any]]) -> None:
    losses = [m["loss"] for m in metrics if isinstance(m.get("loss"), (int, float))]
    if not losses:
        return
    few = max(1, len(losses) // 20)
    facts.first_loss = sum(losses[:few]) / few
    facts.last_loss = sum(losses[-few:]) / few
    facts.trained_steps = int(metrics[-1]["step"])
    tokens = metrics[-1].get("tokens")
    facts.trained_tokens = tokens if isinstance(tokens, int) else None


def _add_energy(facts: Facts, metrics: list[dict[str, Any]], machine: Any) -> None:
    tokens, seconds = from_metrics(metrics)
    if facts.parameters and tokens:
        facts.energy = estimate_energy(
            facts.parameters,
            tokens,
            seconds=seconds,
            machine=machine if isinstance(machine, dict) else None,
            lora=bool(facts.settings.get("lora")),
        )


def _audit_of(model: Result, folder: Path) -> Audit:
    audit, parents = read_audit(folder)
    if model.fingerprint not in parents:
        raise DataError(
            f"the audit is not of {model.name!r}, as it is now",
            where=str(folder),
            hint=f"it is of {audit.model!r}; audit the model again",
        )
    return audit


def _add_evaluation(facts: Facts, model: Result, folder: Path) -> None:
    raw = read_json(folder / "evaluation.json", "evaluation")
    evaluation = Evaluation.from_json(raw, str(folder / "evaluation.json"))
    names = [p.name for p in read_result(folder).parents if p.fingerprint == model.fingerprint]
    labels = [m.name for m in evaluation.models if m.reference in (*names, model.name)]
    if not labels:
        raise DataError(
            f"the evaluation did not measure {model.name!r}",
            where=str(folder),
            hint="it measured: " + ", ".join(m.reference for m in evaluation.models),
        )
    facts.evaluation, facts.evaluated_as = evaluation, labels[-1]
    data = evaluation.settings.get("data") or evaluation.settings.get("text")
    facts.evaluated_on = data if isinstance(data, str) else None
