"""From a report's contents to one HTML page that needs nothing else.

Every word in the contents came from outside. The template escapes all of it; Markdown (answers,
the card) is rendered without raw HTML, images or any link but http(s); and a Content-Security-
Policy forbids scripts and every load, should something slip through all the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from markupsafe import Markup

from chatwright.evaluate.alignment import cells
from chatwright.evaluate.results import BY_NAME, Evaluation, show
from chatwright.govern.charts import Interval, bar_chart, interval_chart, loss_chart
from chatwright.govern.contents import (
    AlignmentContents,
    Contents,
    EvaluationContents,
    ModelContents,
)
from chatwright.govern.facts import rows_of
from chatwright.govern.html import describe_machine, duration, link, markdown, styles, template
from chatwright.govern.scores import plain_rows, task_rows, unchecked
from chatwright.govern.tree import lineage_picture
from chatwright.version import __version__

_MOST_BARS = 24
_MOST_HEADLINES = 4


def render_report(contents: Contents) -> str:
    """The whole page. The same contents give the same bytes."""
    models = [_model(m, number) for number, m in enumerate(contents.models)]
    evaluations = [_evaluation(e, number) for number, e in enumerate(contents.evaluations)]
    samples = [_sample(why, q) for e in contents.evaluations for why, q in e.samples]
    sections = [
        ("sources", "What went in", contents.sources),
        ("kept", "What was kept", contents.datasets),
        ("training", "Training", models),
        ("scores", "Scores", evaluations),
        ("alignment", "Alignment", contents.alignments),
        ("samples", "Answers", samples),
        ("card", "Model card", models),
        ("lineage", "Lineage", True),
    ]
    return template("report.html").render(
        c=contents,
        css=styles("report.css", "scores.css"),
        sections=[(anchor, name) for anchor, name, there in sections if there],
        tiles=_tiles(contents),
        drop_chart=_drop_chart(contents),
        models=models,
        evaluations=evaluations,
        alignments=[_alignment(a) for a in contents.alignments],
        samples=samples,
        tree=Markup(lineage_picture(contents.chain)),
        stages=_stages(contents),
        machine=describe_machine(contents.machine),
        version=__version__,
        link=link,
        size=_size,
    )


def _tiles(c: Contents) -> list[tuple[str, str]]:
    tiles: list[tuple[str, str]] = []
    if c.sources:
        tiles.append((f"{sum(s.rows for s in c.sources):,}", "rows collected"))
    dropped = sum(d.dropped for d in c.datasets)
    if c.datasets:
        tiles.append((f"{dropped:,}", "dropped or merged, each with its reason"))
    trained = [m.facts for m in c.models if m.facts.training_rows]
    if trained:
        tiles.append((f"{trained[-1].training_rows:,}", "rows trained on"))
    for e in c.evaluations:
        averages, _ = task_rows(e.evaluation)
        for task in averages[:_MOST_HEADLINES]:
            shown = [cell.value.removesuffix(" %") for cell in task.first.cells]
            arrow = " → ".join((shown[0], shown[-1]) if len(shown) > 1 else shown)
            unit = " (%)" if task.first.metric.unit == "share" else ""
            tiles.append((arrow, f"{task.record.title}{unit}"))
        for name in ("token_f1", "citation_right", "bits_per_byte"):
            found = [m.metrics[name] for m in e.evaluation.models if name in m.metrics]
            if found:
                metric = e.evaluation.metric(name)
                values = [show(metric, v.value).removesuffix(" %") for v in (found[0], found[-1])]
                arrow = " → ".join(values if len(found) > 1 else values[:1])
                unit = " (%)" if metric.unit == "share" else ""
                tiles.append((arrow, f"{metric.title}{unit}"))
    return tiles


def _drop_chart(c: Contents) -> Markup | None:
    counts: Counter[str] = Counter()
    for dataset in c.datasets:
        for rule in dataset.rules:
            if rule.refused:
                counts[f"{dataset.name}: {rule.rule}"] += rule.lines
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))
    shown, rest = ordered[:_MOST_BARS], ordered[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} more rules", sum(n for _, n in rest)))
    return Markup(bar_chart(shown, "drops", "Rows dropped by each rule"))


# What a loss is counted in, by objective; the others' losses have no unit.
_UNITS = dict.fromkeys(("pretrain", "sft", "distil"), "nats per token")


def _model(m: ModelContents, number: int) -> dict[str, Any]:
    facts = m.facts
    start = f"Trained from {facts.base}" if facts.base else "Trained from random weights"
    parts = [start]
    if facts.training_rows:
        parts.append(f"on {facts.training_rows:,} rows")
    if facts.trained_steps:
        parts.append(f"for {facts.trained_steps:,} steps")
    sentence = " ".join(parts) + "."
    if facts.first_loss is not None and facts.last_loss is not None:
        sentence += f" Loss went from {facts.first_loss:.3f} to {facts.last_loss:.3f}."
    chart = None
    if len(m.losses) > 1:
        unit = _UNITS.get(facts.objective or "", "")
        chart = Markup(
            loss_chart(
                m.losses,
                f"loss{number}",
                f"Training loss of {m.name}",
                held_out=m.held_out,
                unit=unit,
            )
        )
    body = re.sub(r"\A---\n.*?\n---\n", "", m.card, flags=re.S)
    settings = [
        (k.replace("_", " "), v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))
        for k, v in facts.settings.items()
        if v is not None
    ]
    return {
        "contents": m,
        "sentence": sentence,
        "chart": chart,
        "settings": settings,
        "card": markdown(body),
    }


def _evaluation(e: EvaluationContents, number: int) -> dict[str, Any]:
    evaluation = e.evaluation
    rows = plain_rows(evaluation)
    averages, tasks = task_rows(evaluation)
    intervals: list[tuple[str, dict[str, Interval]]] = []
    for row in rows:
        if row.metric.unit == "share":
            found = [(m.name, m.metrics.get(row.metric.name)) for m in evaluation.models]
            cells = {k: Interval(v.value, v.low, v.high) for k, v in found if v is not None}
            intervals.append((row.title, cells))
    chart = None
    if intervals:
        names = [m.name for m in evaluation.models]
        chart = Markup(interval_chart(intervals, names, f"scores{number}", f"Scores of {e.name}"))
    sentence = (
        f"{evaluation.items:,} items{_measured_on(evaluation)}. "
        "Under each value, its 95 % interval over the items. A difference counts as better "
        "or worse only where a paired bootstrap finds it (p < 0.05)."
    )
    times = [
        f"{m.name} {duration(sum(m.seconds.values()))}" for m in evaluation.models if m.seconds
    ]
    if times:
        sentence += f" Measuring took: {', '.join(times)}."
    return {
        "contents": e,
        "models": [m.name for m in evaluation.models],
        "rows": rows,
        "averages": averages,
        "tasks": tasks,
        "unchecked": unchecked(evaluation),
        "chart": chart,
        "sentence": sentence,
    }


def _alignment(a: AlignmentContents) -> dict[str, Any]:
    judge = list(a.lines[0].rewards)[-1]
    shown = []
    for row in a.samples:
        answers = [
            {
                "model": model,
                "html": markdown(said["text"]) if said["text"].strip() else Markup("<p>\u2013</p>"),
                "note": f"{judge} {said['rewards'][judge]:+.2f} \u00b7 {said['tokens']} tokens",
            }
            for model, said in row["answers"].items()
        ]
        shown.append({"asked": row["prompt"][-1]["content"], "answers": answers})
    head, *rows = cells(a.lines)
    return {"name": a.name, "prompts": a.prompts, "head": head, "rows": rows, "shown": shown}


def _measured_on(evaluation: Evaluation) -> str:
    given = [str(evaluation.settings[k]) for k in ("data", "text") if evaluation.settings.get(k)]
    return f" from {' and '.join(given)}" if given else ""


def _sample(why: str, line: dict[str, Any]) -> dict[str, Any]:
    answers = []
    for model, answer in line["answers"].items():
        f1 = answer["scores"].get("token_f1")
        answers.append(
            {
                "model": model,
                "html": markdown(answer["text"]) if answer["text"].strip() else Markup("<p>–</p>"),
                "f1": "" if f1 is None else show(BY_NAME["token_f1"], f1),
                "citations": answer["citations"],
                "left_out": answer.get("left_out", []),
            }
        )
    return {
        "why": why,
        "question": line["question"],
        "reference": line["reference"],
        "uri": line["uri"],
        "answers": answers,
    }


def _stages(c: Contents) -> list[dict[str, str]]:
    out = []
    for result in c.chain:
        record, rows = c.records.get(result.name), rows_of(result)
        peak = record.peak_bytes if record else None
        seconds = record.seconds if record else None
        out.append(
            {
                "name": result.name,
                "kind": result.kind,
                "rows": "" if rows is None else f"{rows:,}",
                "parents": ", ".join(p.name for p in result.parents),
                "fingerprint": result.fingerprint,
                "time": "" if seconds is None else duration(seconds),
                "memory": "" if peak is None else f"{peak / 2**20:,.0f} MiB",
            }
        )
    return out


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"
