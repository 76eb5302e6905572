"""Results of tasks as an evaluation leaves them on disk: eight tasks, English and Chinese."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chatwright.evaluate.results import (
    Average,
    Evaluation,
    Metric,
    Skipped,
    TaskRecord,
    Values,
    summarise,
)

# Model → how much better than guessing it is.
SKILL = {"base": 0.55, "sft": 0.95, "small": 0.25}
CITATION = "Clark et al. 2018, Think you have Solved Question Answering?"

_THINGS = ["a rusty nail", "the melting ice", "a green leaf", "the boiling kettle", "a magnet"]
_WHY = ["oxygen in the air", "heat from the Sun", "light and water", "a change of state", "iron"]
_ZH = ["水的沸点", "光合作用的产物", "铁生锈的条件", "声音的传播", "月相变化的原因"]
_ZH_CHOICES = ["与温度有关", "需要空气和水", "是氧气和葡萄糖", "来自太阳光的反射"]
_LABELS = ["lost card", "top up", "exchange rate", "cash withdrawal", "card arrival"]


@dataclass(frozen=True)
class Spec:
    """A task of the generator."""

    name: str
    title: str
    kind: str
    primary: str
    items: int
    language: str = "en"
    shots: int = 0
    chance: float | None = None
    digest: str = ""


TASKS = (
    Spec("arc_easy", "ARC-Easy", "choice", "acc_norm", 120, chance=0.25),
    Spec("arc_challenge", "ARC-Challenge", "choice", "acc_norm", 80, chance=0.25),
    Spec("lambada", "LAMBADA", "cloze", "acc", 60),
    Spec("gsm8k", "GSM8K", "generation", "exact_match", 40, shots=5),
    Spec("banking77", "Banking77", "classification", "acc", 90, chance=0.2),
    Spec("c_eval", "C-Eval", "choice", "acc", 80, language="zh", shots=5, chance=0.25),
    Spec("summaries", "Summaries 摘要", "generation", "rouge_l", 30, language="zh"),
    Spec("wikitext", "WikiText-2", "text", "bits_per_byte", 25),
)
_TITLES = {
    "acc": ("accuracy", "higher", "share"),
    "acc_norm": ("accuracy, per byte", "higher", "share"),
    "exact_match": ("exact match", "higher", "share"),
    "rouge_l": ("ROUGE-L", "higher", "share"),
    "bits_per_byte": ("bits per byte", "lower", "number"),
    "perplexity": ("perplexity", "lower", "number"),
}


@dataclass
class Measured:
    """What `measure` builds up."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, dict[str, Values]] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)


def measure(
    models: Sequence[str] = ("base", "sft"),
    tasks: Sequence[Spec] = TASKS,
    *,
    times: int = 1,
    resamples: int = 300,
) -> Evaluation:
    """An evaluation of `models` on `tasks`, `times` as many items; the same each time."""
    found = Measured(values={model: {} for model in models})
    for number, task in enumerate(tasks):
        for item in range(task.items * times):
            _item(found, task, item, models, np.random.default_rng([number, item]))
    records = [
        TaskRecord(
            name=t.name,
            title=t.title,
            kind=t.kind,
            primary=f"{t.name}/{t.primary}",
            items=t.items * times,
            shots=t.shots,
            chance=t.chance,
            source=f"file:{t.name}.jsonl",
            digest=t.digest or f"digest-{t.name}-{times}",
            citation=CITATION,
            language=t.language,
        )
        for t in tasks
    ]
    averages = _averages(records, found)
    results, comparisons = summarise(
        found.values,
        {model: f"hf:test/{model}" for model in models},
        metrics=list(found.metrics.values()),
        averages=averages,
        resamples=resamples,
    )
    for record in (r for r in records if r.kind != "average"):
        reason = "it was not trained with Chatwright"
        record.notes[models[0]] = {
            "contamination": {"checked": False, "reason": reason},
            "text": f"contamination not checked: {reason}",
        }
    if records[0].name == "arc_easy":
        score = results[-1].metrics["arc_easy/acc_norm"].value
        records[0].notes[models[-1]] = {
            "contamination": {
                "checked": True,
                "contaminated": 7,
                "share": 7 / records[0].items,
                "items": [f"arc_easy/{n}" for n in range(7)],
                "clean": {"arc_easy/acc_norm": score - 0.03},
            },
            "text": f"7 of {records[0].items} items found in questions (4,000 training rows)",
        }
    for result in results:
        result.seconds = {"tasks": 41.5}
    gate = {
        "gate": "arc_easy: >= base - 1", "task": "arc_easy", "metric": "acc_norm",
        "model": models[-1], "value": 0.61, "bound": 0.42, "holds": True, "text": "61.0 % ≥ 42.0 %",
    }  # fmt: skip
    return Evaluation(
        {"models": {m: f"hf:test/{m}" for m in models}, "limit": None, "seed": 0},
        len(found.lines),
        results,
        comparisons,
        [Skipped("gsm8k/40", "no gold answer in file:gsm8k.jsonl, line 41")],
        found.lines,
        {"system": "Linux x86_64", "cores": 2, "python": "3.11", "torch": "2.13"},
        (*found.metrics.values(), *(a.metric for a in averages)),
        [r for r in records if r.kind == "average"] + [r for r in records if r.kind != "average"],
        [gate, gate | {"gate": "toxicity: <= 0.01", "task": "toxicity", "holds": False,
                       "value": 0.02, "bound": 0.01, "text": "2.0 % > 1.0 %"}],
    )  # fmt: skip


def write(evaluation: Evaluation, folder: Path, **more: Any) -> Path:
    """Write a result's folder as the evaluate stage does."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {"fingerprint": f"{folder.name}-fp", "parents": [], **evaluation.to_json(), **more}
    text = json.dumps(described, ensure_ascii=False)
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in evaluation.answers)
    (folder / "answers.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _averages(records: list[TaskRecord], found: Measured) -> list[Average]:
    out = []
    for name, title, members, centred in (
        ("arc", "ARC (average)", ["arc_easy", "arc_challenge"], False),
        ("core", "CORE", ["arc_easy", "arc_challenge", "banking77", "c_eval"], True),
    ):
        parts = [r for r in records if r.name in members]
        if len(parts) < len(members):
            continue
        unit: Literal["share", "number"] = "number" if centred else "share"
        said = "mean over its tasks"
        metric = Metric(f"{name}/average", title, "higher", unit, said, task=name)
        chances = tuple(r.chance or 0.0 for r in parts) if centred else None
        out.append(Average(metric, tuple(r.primary for r in parts), chances))
        records.append(
            TaskRecord(
                name=name,
                title=title,
                kind="average",
                primary=metric.name,
                items=sum(r.items for r in parts),
                chance=0.0 if centred else None,
                members=members,
                parts=[r.primary for r in parts],
                centred=centred,
            )
        )
    return out


def _item(
    found: Measured,
    task: Spec,
    number: int,
    models: Sequence[str],
    random: np.random.Generator,
) -> None:
    line: dict[str, Any] = {
        "task": task.name, "id": f"{task.name}/{number}", "kind": task.kind,
        "language": task.language, "choices": None, "gold": None, "answers": {},
    }  # fmt: skip
    line |= _question(task, number)
    hard = float(random.normal())
    for model in sorted({*SKILL, *models}):  # all of them: an item does not depend on who is asked
        answer = _answer(task, line, SKILL.get(model, 0.5), hard, random)
        if model not in models:
            continue
        line["answers"][model] = answer
        for name, value in answer["values"].items():
            key = f"{task.name}/{name}"
            title, better, unit = _TITLES[name]
            found.metrics.setdefault(
                key,
                Metric(
                    key, f"{task.title}: {title}", better, unit, "over the items",  # type: ignore[arg-type]
                    "exp_ratio" if name == "perplexity" else "ratio", task.name,
                ),
            )  # fmt: skip
            found.values[model].setdefault(key, {})[line["id"]] = tuple(value)
    line["answers"] = {m: line["answers"][m] for m in models}
    found.lines.append(line)


def _question(task: Spec, n: int) -> dict[str, Any]:
    if task.name == "c_eval":
        prompt = f"以下是关于自然的单项选择题({n})。\n{_ZH[n % 5]},下列说法正确的是?\n答案:"
        return {"prompt": prompt, "choices": _ZH_CHOICES, "gold": (n * 7) % 4}
    if task.kind == "choice":
        prompt = f"Question: What best explains {_THINGS[n % 5]} in experiment {n}?\nAnswer:"
        choices = [f" {_WHY[(n + k) % 5]}" for k in range(4)]
        return {"prompt": prompt, "choices": choices, "gold": (n * 7) % 4}
    if task.kind == "classification":
        prompt = f"Message: I asked about my {_LABELS[n % 5]} on day {n}.\nIntent:"
        return {"prompt": prompt, "choices": [f" {x}" for x in _LABELS], "gold": n % 5}
    if task.name == "gsm8k":
        shots = "Question: Ann has 2 pens and buys 3. How many?\nAnswer: #### 5\n\n" * task.shots
        prompt = f"{shots}Question: Tom reads {n} pages a day for 4 days. How many?\nAnswer:"
        return {"prompt": prompt, "gold": str(4 * n)}
    if task.name == "summaries":
        return {
            "prompt": f"把这篇文章概括成一句话:第{n}届运动会在雨中开幕……",
            "gold": "运动会在雨中开幕。",
        }
    if task.kind == "cloze":
        return {
            "prompt": f"She opened door {n}, looked at the old clock and said it was",
            "gold": "late",
        }
    return {"prompt": f"Article {n}: The river rises in the hills and flows north to the sea."}


def _answer(
    task: Spec, line: Mapping[str, Any], skill: float, hard: float, random: np.random.Generator
) -> dict[str, Any]:
    said: dict[str, Any] = {"choice": None, "logprobs": None, "text": None}
    luck = float(random.normal())
    noise = random.normal(size=8)
    if line["choices"]:
        scores = -6 + noise[: len(line["choices"])] * 1.2
        scores[line["gold"]] += 2.4 * skill - 0.8 * hard
        lengths = np.array([len(c.encode()) for c in line["choices"]], dtype=float)
        said["logprobs"] = [round(float(v), 3) for v in scores]
        chosen = scores / lengths if task.primary == "acc_norm" else scores
        said["choice"] = int(chosen.argmax())
        values = {"acc": [float(scores.argmax() == line["gold"]), 1.0]}
        if task.primary == "acc_norm":
            values["acc_norm"] = [float((scores / lengths).argmax() == line["gold"]), 1.0]
    elif task.kind == "text":
        size = float(len(line["prompt"]))
        nats = size * (0.9 - 0.15 * skill + 0.05 * luck)
        values = {"bits_per_byte": [nats / math.log(2), size], "perplexity": [nats, size / 4]}
    elif task.name == "summaries":
        word = "在雨中" if luck + skill > 0.6 else "如期"
        said["text"] = f"第{line['id'].split('/')[1]}届运动会{word}开幕了。"
        values = {"rouge_l": [min(1.0, max(0.0, 0.3 + 0.3 * skill + 0.1 * luck)), 1.0]}
    else:
        right = luck + 2 * skill - 1 > hard * 0.5
        if task.kind == "cloze":
            said["logprobs"] = [round(-1.2 - (0 if right else 2) + 0.3 * luck, 3)]
        else:
            total = int(line["gold"]) + (0 if right else 4)
            said["text"] = f"Tom reads for 4 days, so he reads {total} pages in all. #### {total}"
        values = {task.primary: [float(right), 1.0]}
    scores_ = {k: v[0] / v[1] for k, v in values.items()}
    return said | {"scores": scores_, "values": values}
