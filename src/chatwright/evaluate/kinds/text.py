"""Tasks that measure how likely a model finds whole texts: perplexity and bits per byte."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from chatwright.curate.words import count_words
from chatwright.evaluate.kinds.base import (
    Bench,
    Said,
    Scored,
    choose_metrics,
    known_answers,
    values_of,
)
from chatwright.evaluate.likelihood import batched, sequence_likelihoods, text_windows, total_nats
from chatwright.evaluate.results import Metric
from chatwright.evaluate.tasks.schema import Item, Task, TaskSpec

_METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "bits_per_byte",
            "bits per byte",
            "lower",
            "number",
            "needed for each byte of the text; independent of the tokenizer",
        ),
        Metric("perplexity", "perplexity", "lower", "number", "per token", "exp_ratio"),
        Metric(
            "word_perplexity",
            "perplexity per word",
            "lower",
            "number",
            "the text's probability shared out over its words",
            "exp_ratio",
        ),
    )
}


class TextKind:
    """Perplexity of texts, in windows (`text_windows`). Recorded per item: `nll` and `tokens`."""

    def metrics(self, spec: TaskSpec) -> list[Metric]:
        return choose_metrics(spec, _METRICS, tuple(_METRICS))

    def run(self, bench: Bench, task: Task) -> Said:
        said = Said()
        keys = known_answers(bench, task, task.items, said)
        model, tokenizer = bench.engine.model, bench.engine.tokenizer
        start = tokenizer.end_of_text_id
        if start is None:
            start = min(tokenizer.eos_ids, default=0)
        window = min(task.spec.window, model.config.context)
        started = time.monotonic()
        with bench.progress.task(f"{bench.label}: {task.name}", len(task.items)) as bar:
            bar.advance(len(said.answers))
            known = set(said.answers)
            # Windows of all items, known or not: what is left is measured in the same batches.
            asked = task.items if len(known) < len(task.items) else []
            parts = {
                item.id: text_windows(
                    tokenizer.encode(_text(item)),
                    start,
                    window=window,
                    overlap=min(task.spec.overlap, window - 1),
                )
                for item in asked
            }
            windows = [(item, part) for item, found in parts.items() for part in found]
            found: dict[str, list[Any]] = {item: [] for item in parts}
            for group in batched([len(part.tokens) for _, part in windows]):
                if known.issuperset(windows[i][0] for i in group):
                    continue
                results = sequence_likelihoods(model, [windows[i][1] for i in group])
                for index, likelihood in zip(group, results, strict=True):
                    item = windows[index][0]
                    found[item].append(likelihood)
                    if item in known or len(found[item]) < len(parts[item]):
                        continue
                    total = total_nats(found[item])
                    bar.advance()
                    if not math.isfinite(total.nll):
                        said.skipped.append((item, "the model gave NaN or infinity"))
                        continue
                    said.answers[item] = {"nll": total.nll, "tokens": total.tokens}
                    bench.cache.add({keys[item]: said.answers[item]})
        said.seconds = time.monotonic() - started
        return said

    def score(self, task: Task, answers: Mapping[str, dict[str, Any]]) -> Scored:
        items = [item for item in task.items if item.id in answers]

        def value(metric: str, item: Item) -> tuple[float, float]:
            nll = float(answers[item.id]["nll"])
            if metric == "bits_per_byte":
                return nll / math.log(2), float(len(_text(item).encode("utf-8", "replace")))
            if metric == "perplexity":
                return nll, float(answers[item.id]["tokens"])
            return nll, float(max(1, count_words(_text(item))))

        names = [metric.name for metric in self.metrics(task.spec)]
        values = {name: values_of(items, lambda i, n=name: value(n, i)) for name in names}  # type: ignore[misc]
        return Scored(values, {item.id: dict(answers[item.id]) for item in items})


def _text(item: Item) -> str:
    """The text that is measured: the prompt template's, which is `{{ text }}` where unsaid."""
    return item.prompt
