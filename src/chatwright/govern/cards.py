"""The model card: what a checkpoint was made from, what it scored, where not to trust it.

Sections follow Mitchell et al. 2019 ("Model Cards for Model Reporting"); the front matter is what
the Hugging Face hub reads. Facts only: what is not known is not written.
"""

from __future__ import annotations

import json
from typing import Any

from chatwright.evaluate.results import Evaluation, show
from chatwright.govern.audit.card import (
    bias_section,
    energy_section,
    measured_bias,
    memorisation_section,
)
from chatwright.govern.facts import Facts
from chatwright.govern.inline import code as _code
from chatwright.govern.inline import inline as _inline

# The hub's names of licences that pages and packages write in other ways.
_HUB_LICENSES = {
    "apache-2.0": "apache-2.0",
    "apache 2.0": "apache-2.0",
    "mit": "mit",
    "bsd-3-clause": "bsd-3-clause",
    "bsd-2-clause": "bsd-2-clause",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc0-1.0": "cc0-1.0",
    "gpl-3.0": "gpl-3.0",
    "psf-2.0": "other",
}
_SETTINGS_SHOWN = (
    "objective", "steps", "epochs", "batch_tokens", "batch", "length", "learning_rate", "optimizer",
    "schedule", "warmup", "weight_decay", "lora", "dtype", "seed",
)  # fmt: skip


def model_card(facts: Facts) -> str:
    """The card as Markdown with front matter, the same text for the same facts."""
    sections = [
        _front_matter(facts),
        f"# {_inline(facts.name)}\n\n{_summary(facts)}",
        _use(facts),
        _data(facts),
        _training(facts),
        _scores(facts),
        _limits(facts),
        memorisation_section(facts.audit),
        bias_section(facts.audit, facts.evaluation, facts.evaluated_as),
        energy_section(facts.energy),
        _objections(facts),
        _lineage(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: Facts) -> str:
    """YAML; every string as JSON, which YAML reads and nothing can break out of."""
    # Weights trained from a base stay under its licence; what the data's licences mean for weights
    # is not for a program to say, so they are listed in the text.
    license_ = _HUB_LICENSES.get((facts.base_license or "").lower(), "other")
    values: dict[str, Any] = {"license": license_}
    if license_ == "other":
        values["license_name"] = facts.base_license or "see-model-card"
    if facts.languages:
        values["language"] = [code for code, _ in facts.languages]
    if facts.base and facts.base.startswith("hf:"):  # the hub knows no other names
        values["base_model"] = facts.base.removeprefix("hf:")
    if facts.sources:
        values["datasets"] = list(dict.fromkeys(s.source for s in facts.sources))
    values["library_name"] = "transformers"
    values["pipeline_tag"] = "text-generation"
    values["tags"] = ["chatwright"]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---"])


def _summary(facts: Facts) -> str:
    size = f"{_count(facts.parameters)} parameters" if facts.parameters else "A language model"
    window = f", a context of {facts.context:,} tokens" if facts.context else ""
    if facts.base:
        stated = facts.base_license or "licence not known"
        made = f"made from **{_inline(facts.base)}** ({_inline(stated)})"
    else:
        made = "trained from random weights"
    return f"{size}{window}, {made} with Chatwright {facts.chatwright}".rstrip() + "."


def _use(facts: Facts) -> str:
    about = ", ".join(_inline(s.source) for s in facts.sources[:5])
    subject = f" about the material listed below ({about})" if about else ""
    return (
        "## Intended use\n\n"
        f"Answering questions{subject}, together with retrieval: the model is given passages and "
        "cites the one that it used. Not intended for medical, legal or financial decisions, nor "
        "for deciding anything about a person."
    )


def _data(facts: Facts) -> str:
    if not facts.sources:
        return ""
    rows = [
        f"| {_cell(s.source)} | {_cell(s.license or 'not stated')} | {s.rows:,} | "
        f"{s.text_bytes / 1e6:.1f} MB |"
        for s in facts.sources
    ]
    table = "\n".join(["| source | licence | rows | text |", "|---|---|---:|---:|", *rows])
    after = ""
    if facts.training_rows is not None:
        after = f"\n\nAfter curation and derivation: {facts.training_rows:,} rows for training."
    if facts.languages:
        shares = ", ".join(f"{_inline(code)} {count:,}" for code, count in facts.languages[:8])
        after += f" Rows by language: {shares}."
    if any(s.license is None for s in facts.sources):
        after += "\n\nSome sources state no licence; check before you pass the model on."
    return f"## Training data\n\n{table}{after}"


def _training(facts: Facts) -> str:
    lines = [
        f"- {key.replace('_', ' ')}: `{_code(facts.settings[key])}`"
        for key in _SETTINGS_SHOWN
        if facts.settings.get(key) is not None
    ]
    if facts.trained_steps is not None:
        tokens = f", {facts.trained_tokens:,} tokens" if facts.trained_tokens else ""
        lines.append(f"- trained for {facts.trained_steps:,} steps{tokens}")
    if facts.first_loss is not None and facts.last_loss is not None:
        lines.append(
            f"- training loss: {facts.first_loss:.3f} at the start, {facts.last_loss:.3f} at the "
            "end (means over the first and last twentieth of the steps)"
        )
    return "## Training\n\n" + "\n".join(lines) if lines else ""


def _scores(facts: Facts) -> str:
    if facts.evaluation is None or facts.evaluated_as is None:
        return "## Scores\n\nThis model has not been evaluated."
    evaluation = facts.evaluation
    names = [m.name for m in evaluation.models]
    heads = [f"{_cell(n)}{' (this model)' if n == facts.evaluated_as else ''}" for n in names]
    lines = [
        "| metric | " + " | ".join(heads) + " | |",
        "|---|" + "---:|" * len(names) + "---|",
    ]
    primary = {task.primary for task in evaluation.tasks}
    for metric in evaluation.shown:
        if metric.task is not None and metric.name not in primary:
            continue  # one line a task: the metric to look at first
        cells = [_score(evaluation, name, metric.name) for name in names]
        if any(c != "–" for c in cells):
            verdict = _verdict(evaluation, facts.evaluated_as, metric.name)
            lines.append(f"| {_cell(metric.title)} | " + " | ".join(cells) + f" | {verdict} |")
    where = f" from `{_code(facts.evaluated_on)}`" if facts.evaluated_on else ""
    skipped = f" {len(evaluation.skipped)} could not be scored." if evaluation.skipped else ""
    return (
        f"## Scores\n\n{evaluation.items:,} items{where}.{skipped} In "
        "brackets: 95 % bootstrap intervals over the items. A difference is called better or worse "
        "only where a paired bootstrap finds it (p < 0.05).\n\n"
        + "\n".join(lines)
        + _contamination(evaluation, facts.evaluated_as)
    )


def _contamination(evaluation: Evaluation, model: str) -> str:
    """Which tasks' items were looked for in the training data, and how many were there."""
    told: dict[str, list[str]] = {}
    for task in evaluation.tasks:
        text = task.notes.get(model, {}).get("text")
        if isinstance(text, str) and text:
            told.setdefault(text, []).append(task.title)
    if not told:
        return ""
    lines = [f"- {_inline(', '.join(tasks))}: {_inline(text)}" for text, tasks in told.items()]
    return "\n\nTest items in the training data:\n\n" + "\n".join(lines)


def _limits(facts: Facts) -> str:
    lines = [
        "- It can state what is false, with or without a citation. Read the passage it cites.",
        "- Its scores hold for questions like those it was evaluated on, and for no others.",
    ]
    if facts.parameters and facts.parameters < 1_000_000_000:
        lines.append(
            f"- It is small ({_count(facts.parameters)} parameters): reasoning over several steps, "
            "arithmetic and knowledge outside the passages are weak."
        )
    if facts.languages:
        known = ", ".join(_inline(code) for code, _ in facts.languages[:8])
        lines.append(f"- Trained on: {known}. Other languages were not measured.")
    whose = "the biases of its base model" if facts.base else "the biases of its training data"
    if measured_bias(facts.audit, facts.evaluation, facts.evaluated_as):
        lines.append(f"- It keeps {whose}; what was measured of them stands under Bias.")
    else:
        lines.append(f"- It keeps {whose}; none were measured here.")
    return "## Limits\n\n" + "\n".join(lines)


def _objections(facts: Facts) -> str:
    return (
        "## If your text is in here\n\n"
        "Every row that went in is accounted for. `chatwright why DATASET URI` says what became of "
        "a page: kept, changed or dropped, by which rule. Datasets and checkpoints name their "
        "parents, so what was made from a page can be found; take the page out of the recipe's "
        "sources and build again, and everything made from it is made anew without it."
    )


def _lineage(facts: Facts) -> str:
    if not facts.steps:
        return ""
    rows = [
        f"| {_cell(s.name)} | {s.kind} | {'' if s.rows is None else f'{s.rows:,}'} | "
        f"`{_code(s.fingerprint[:12])}` |"
        for s in facts.steps
    ]
    return "## Lineage\n\n" + "\n".join(
        ["| stage | result | rows | fingerprint |", "|---|---|---:|---|", *rows]
    )


def _score(evaluation: Evaluation, model: str, metric: str) -> str:
    found = next(m for m in evaluation.models if m.name == model).metrics.get(metric)
    if found is None:
        return "–"
    shown = evaluation.metric(metric)
    low, high = (show(shown, value).removesuffix(" %") for value in (found.low, found.high))
    return f"{show(shown, found.value)} [{low}, {high}]"


def _verdict(evaluation: Evaluation, model: str, metric: str) -> str:
    return next(
        (c.verdict for c in evaluation.comparisons if c.metric == metric and c.model == model), ""
    )


def _count(number: int) -> str:
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def _cell(text: str) -> str:
    return _inline(text)
