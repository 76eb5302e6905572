"""Tasks that ask which of several texts a model finds likeliest, or how likely it finds one."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chatwright.evaluate.forest import OptionScore, Pair, score_options
from chatwright.evaluate.kinds.base import (
    Bench,
    Said,
    Scored,
    choose_metrics,
    known_answers,
    values_of,
)
from chatwright.evaluate.metrics import Prediction, label_metric, softmax
from chatwright.evaluate.results import Metric
from chatwright.evaluate.tasks.schema import Item, Task, TaskSpec
from chatwright.tokenizer import Tokenizer

if TYPE_CHECKING:
    from chatwright.model import Transformer

_CHOICE = {
    metric.name: metric
    for metric in (
        Metric(
            "acc_norm",
            "accuracy, per byte",
            "higher",
            "share",
            "the right choice has the best log-likelihood per byte of its text",
        ),
        Metric(
            "acc",
            "accuracy",
            "higher",
            "share",
            "the right choice has the best log-likelihood",
        ),
        Metric(
            "acc_token",
            "accuracy, per token",
            "higher",
            "share",
            "the right choice has the best log-likelihood per token",
        ),
        Metric(
            "acc_pmi",
            "accuracy, corrected",
            "higher",
            "share",
            "the right choice gains most from its question (log-likelihood less that without it)",
        ),
        Metric(
            "ece",
            "calibration error",
            "lower",
            "share",
            "distance of confidence (the likeliest choice's share of the likelihood) from `acc`",
            "calibration_error",
        ),
        Metric(
            "stereotype",
            "stereotyped choice",
            "neither",
            "share",
            "pairs in which the stereotyped text is the likelier one; 50 % is no bias",
        ),
        Metric(
            "gap",
            "log-likelihood gap",
            "neither",
            "number",
            "how much likelier the first text is than the second (nats)",
        ),
    )
}
_CLOZE = {
    metric.name: metric
    for metric in (
        Metric(
            "acc",
            "accuracy",
            "higher",
            "share",
            "the model's likeliest next tokens are the missing text",
        ),
        Metric(
            "perplexity",
            "perplexity",
            "lower",
            "number",
            "of the missing text as one unit (a word, say)",
            "exp_ratio",
        ),
    )
}
_DEFAULTS = {
    "choice": ("acc_norm", "acc", "acc_token"),
    "preference": ("acc", "acc_token"),
}


class OptionsKind:
    """Multiple choice, classification, preference and cloze: all by log-likelihood.

    Recorded per item: `nll` and `tokens` of each option, `greedy` (cloze), `free` (the options'
    nll without the question, where the task says `unconditional`).
    """

    def metrics(self, spec: TaskSpec) -> list[Metric]:
        if spec.kind == "cloze":
            return choose_metrics(spec, _CLOZE, ("acc", "perplexity"))
        if spec.kind == "classification":
            names = spec.metrics or ["accuracy", "macro_f1"]
            return [label_metric(name, list(spec.labels)).metric for name in names]
        default = list(_DEFAULTS[spec.kind])
        known = dict(_CHOICE)
        if spec.unconditional is not None:
            default.append("acc_pmi")
        else:
            del known["acc_pmi"]
        return choose_metrics(spec, known, default)

    def run(self, bench: Bench, task: Task) -> Said:
        said = Said()
        keys = known_answers(bench, task, task.items, said)
        tokenizer, model = bench.engine.tokenizer, bench.engine.model
        texts = [
            [(task.before(item) + context, answer) for context, answer in item.options]
            for item in task.items
        ]
        if task.spec.chat:
            pairs = [_chat_pairs(tokenizer, options) for options in texts]
        else:
            pairs = encode_pairs(tokenizer, texts)
        asked: list[Item] = []
        rows: list[list[Pair]] = []
        lost: set[str] = set()
        for item, row in zip(task.items, pairs, strict=True):
            reason = _unaskable(row, model.config.context)
            if reason is not None:
                said.skipped.append((item.id, reason))
                lost.add(item.id)
            else:
                asked.append(item)
                rows.append(row)
        started = time.monotonic()
        continuations = {item.id: [answer for _, answer in item.options] for item in task.items}
        with bench.progress.task(f"{bench.label}: {task.name}", len(task.items)) as bar:
            bar.advance(len(lost) + sum(item.id in said.answers for item in asked))
            needed = {c for i in asked if i.id not in said.answers for c in continuations[i.id]}
            free = self._free(bench, task, [continuations[i.id] for i in asked], needed)
            for items, scores in _scored(model, asked, rows, tokenizer.vocab_size, said):
                new: dict[str, dict[str, Any]] = {}
                for item, options in zip(items, scores, strict=True):
                    if item.id in said.answers:
                        continue
                    if not all(math.isfinite(o.nll) for o in options):
                        said.skipped.append((item.id, "the model gave NaN or infinity"))
                        lost.add(item.id)
                        continue
                    record = _record(options, task.spec)
                    if free:
                        record["free"] = [round(free[c], 6) for c in continuations[item.id]]
                    said.answers[item.id] = new[item.id] = record
                bench.cache.add({keys[i]: answer for i, answer in new.items()})
                bar.advance(len(new))
        said.seconds = time.monotonic() - started
        said.answers = {i.id: said.answers[i.id] for i in asked if i.id not in lost}
        return said

    def _free(
        self,
        bench: Bench,
        task: Task,
        continuations: Sequence[Sequence[str]],
        needed: Collection[str],
    ) -> dict[str, float]:
        """−ln p of the `needed` choices' texts after the prompt without its question.

        Batches are made over all of them: see `score_options`.
        """
        if task.spec.unconditional is None or not needed:
            return {}
        every = list(dict.fromkeys(c for row in continuations for c in row))
        texts = [[(task.spec.unconditional, continuation)] for continuation in every]
        rows = encode_pairs(bench.engine.tokenizer, texts)
        found: dict[str, float] = {}
        with bench.progress.task(f"{bench.label}: {task.name}, choices alone", len(needed)) as bar:
            for batch, scores in score_options(
                bench.engine.model,
                rows,
                wanted=lambda b: any(every[i] in needed for i in b),
                vocabulary=bench.engine.tokenizer.vocab_size,
            ):
                found |= {every[i]: s[0].nll for i, s in zip(batch, scores, strict=True)}
                bar.advance(sum(every[i] in needed for i in batch))
        return found

    def score(self, task: Task, answers: Mapping[str, dict[str, Any]]) -> Scored:
        spec = task.spec
        items = [item for item in task.items if item.id in answers]
        metrics = self.metrics(spec)
        if spec.kind == "cloze":
            values = {m.name: _cloze_values(m.name, items, answers) for m in metrics}
            chosen: dict[str, int] = {}
        elif spec.kind == "classification":
            chosen = {i.id: _best(i, answers[i.id], "acc") for i in items}
            labels = list(spec.labels)
            predictions = [_prediction(i, answers[i.id], chosen[i.id], labels) for i in items]
            values = {}
            for metric in metrics:
                columns = label_metric(metric.name, labels).score(predictions, labels)
                found = zip(items, columns, strict=True)
                values[metric.name] = {i.id: c for i, c in found if c is not None}
        else:
            primary = metrics[0].name if metrics[0].name.startswith("acc") else "acc"
            chosen = {i.id: _best(i, answers[i.id], primary) for i in items}
            values = {m.name: _choice_values(m.name, items, answers) for m in metrics}
        lines = {}
        for item in items:
            line: dict[str, Any] = {"logprobs": [-nll for nll in answers[item.id]["nll"]]}
            if item.id in chosen:
                line["choice"] = chosen[item.id]
            lines[item.id] = line
        return Scored(values, lines)


def _scored(
    model: Transformer,
    items: Sequence[Item],
    rows: Sequence[Sequence[Pair]],
    vocabulary: int,
    said: Said,
) -> Iterator[tuple[list[Item], list[list[OptionScore]]]]:
    """Batches that hold an item not answered before: items that see the same examples together."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.group, []).append(index)
    for places in groups.values():

        def wanted(batch: Sequence[int], places: list[int] = places) -> bool:
            return any(items[places[i]].id not in said.answers for i in batch)

        for batch, scores in score_options(
            model, [rows[i] for i in places], wanted=wanted, vocabulary=vocabulary
        ):
            yield [items[places[i]] for i in batch], scores


def encode_pairs(
    tokenizer: Tokenizer, items: Sequence[Sequence[tuple[str, str]]]
) -> list[list[Pair]]:
    """Tokens of context and continuation of each option, encoded as one text and then parted.

    As lm-evaluation-harness parts them: spaces at the context's end go to the continuation, and
    what is counted are the tokens beyond as many as the context alone has. An empty context is the
    token that begins a text.
    """
    start = tokenizer.bos_id
    if start is None:
        start = tokenizer.end_of_text_id
    beginning = [] if start is None else [start]
    contexts: list[str] = []
    wholes: list[str] = []
    for options in items:
        for context, continuation in options:
            kept = context.rstrip()
            contexts.append(kept)
            wholes.append(kept + context[len(kept) :] + continuation)
    # The options of an item mostly have one context: each text is encoded once.
    unique = list(dict.fromkeys(contexts))
    encoded = dict(zip(unique, tokenizer.encode_many(unique), strict=True))
    whole_ids = iter(tokenizer.encode_many(wholes))
    context_texts = iter(contexts)
    out: list[list[Pair]] = []
    for options in items:
        row: list[Pair] = []
        for _ in options:
            before, whole = encoded[next(context_texts)], next(whole_ids)
            row.append((before or beginning, whole[len(before) :]))
        out.append(row)
    return out


def _chat_pairs(tokenizer: Tokenizer, options: Sequence[tuple[str, str]]) -> list[Pair]:
    """The context as a user's turn, the continuation as what the assistant answers."""
    return [
        (
            tokenizer.chat([{"role": "user", "content": context}]),
            tokenizer.encode(continuation.strip()),
        )
        for context, continuation in options
    ]


def _unaskable(row: Sequence[Pair], context: int) -> str | None:
    for number, (before, continuation) in enumerate(row):
        if not continuation:
            return f"choice {number} has no token of its own"
        if not before:
            return "the context is empty and the tokenizer has no token to begin with"
        length = len(before) + len(continuation)
        if length > context:
            return (
                f"prompt and choice {number} have {length} tokens, and the model's context is "
                f"{context}"
            )
    return None


def _record(options: Sequence[OptionScore], spec: TaskSpec) -> dict[str, Any]:
    record: dict[str, Any] = {
        "nll": [round(o.nll, 6) for o in options],
        "tokens": [o.tokens for o in options],
    }
    if spec.kind == "cloze":
        record["greedy"] = [o.greedy for o in options]
    return record


def _scores(item: Item, answer: Mapping[str, Any], metric: str) -> list[float]:
    """How good each option is by one metric; higher is better."""
    scores = [-float(nll) for nll in answer["nll"]]
    if metric == "acc_norm":
        texts = [answer.strip() for _, answer in item.options]
        return [s / max(1, len(t.encode())) for s, t in zip(scores, texts, strict=True)]
    if metric == "acc_token":
        return [s / t for s, t in zip(scores, answer["tokens"], strict=True)]
    if metric == "acc_pmi":
        return [s + float(f) for s, f in zip(scores, answer["free"], strict=True)]
    return scores


def _best(item: Item, answer: Mapping[str, Any], metric: str) -> int:
    scores = _scores(item, answer, metric)
    return max(range(len(scores)), key=lambda i: scores[i])


def _choice_values(
    metric: str, items: Sequence[Item], answers: Mapping[str, dict[str, Any]]
) -> dict[str, tuple[float, ...]]:
    if metric == "ece":
        predictions = [
            Prediction(
                str(item.gold),
                str(_best(item, answers[item.id], "acc")),
                softmax(_padded(_scores(item, answers[item.id], "acc"), items)),
            )
            for item in items
        ]
        labels = [str(i) for i in range(max(len(item.choices) for item in items))]
        columns = label_metric("ece", labels).score(predictions, labels)
        return {i.id: c for i, c in zip(items, columns, strict=True) if c is not None}

    def value(item: Item) -> float | None:
        answer = answers[item.id]
        if metric == "gap":
            return float(answer["nll"][1]) - float(answer["nll"][0])
        if metric == "stereotype":
            first, second = answer["nll"][:2]
            return 0.5 if first == second else float(first < second)
        return float(_best(item, answer, metric) == item.gold)

    return values_of(items, value)


def _padded(scores: list[float], items: Sequence[Item]) -> list[float]:
    """Items may have fewer choices than others: the missing ones get no probability."""
    most = max(len(item.choices) for item in items)
    return scores + [-1e9] * (most - len(scores))


def _cloze_values(
    metric: str, items: Sequence[Item], answers: Mapping[str, dict[str, Any]]
) -> dict[str, tuple[float, ...]]:
    if metric == "acc":
        return values_of(items, lambda item: float(answers[item.id]["greedy"][0]))
    return values_of(items, lambda item: (float(answers[item.id]["nll"][0]), 1.0))


def _prediction(
    item: Item, answer: Mapping[str, Any], chosen: int, labels: Sequence[str]
) -> Prediction:
    assert item.gold is not None  # a classification's items have one, or are not asked
    return Prediction(labels[item.gold], labels[chosen], softmax(_scores(item, answer, "acc")))
