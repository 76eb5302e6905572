"""One model answers the questions, and says how likely it finds the reference answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatwright.errors import ContextError
from chatwright.evaluate.items import Page, Question
from chatwright.evaluate.journal import Journal
from chatwright.evaluate.likelihood import (
    Likelihood,
    Scored,
    batched,
    sequence_likelihoods,
    text_windows,
    total_nats,
)
from chatwright.evaluate.prompts import Prompt
from chatwright.evaluate.results import Skipped
from chatwright.progress import Task

if TYPE_CHECKING:
    from chatwright.generate import Engine
    from chatwright.model import Transformer
    from chatwright.tokenizer import Tokenizer


@dataclass(slots=True)
class Answered:
    """What one model said. `skipped` are items that do not fit its context."""

    answers: dict[str, dict[str, Any]]
    skipped: list[Skipped]
    seconds: float


def answer_all(
    engine: Engine,
    prompts: Sequence[tuple[Question, Prompt]],
    *,
    model: str,
    max_tokens: int,
    journal: Journal,
    task: Task,
) -> Answered:
    """Answer each prompt greedily; answers that the journal has are taken from it.

    All prompts are handed to the engine at once, the longest first, so that its batch is full until
    the last few. Each answer is written to the journal as soon as it is there.
    """
    from chatwright.generate.params import SamplingParams  # its room brings torch

    out = Answered({}, [], 0.0)
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    waiting: list[tuple[Question, Prompt, list[int]]] = []
    for question, prompt in prompts:
        known = journal.get(model, "answer", question.id)
        if known is not None:
            out.answers[question.id] = known
            task.advance()
            continue
        ids = engine.tokenizer.chat(list(prompt.messages), add_generation_prompt=True)
        waiting.append((question, prompt, ids))
    waiting.sort(key=lambda entry: (-len(entry[2]), entry[0].id))
    requests = []
    before = time.monotonic()
    try:
        for question, prompt, ids in waiting:
            try:
                requests.append((question, prompt, engine.submit(ids, params)))
            except ContextError as error:
                out.skipped.append(Skipped(question.id, f"{model}: {error.message}"))
                task.advance()
        for question, prompt, request in requests:
            completion = request.result()
            now = time.monotonic()
            answer: dict[str, Any] = {
                "text": completion.text,
                "tokens": len(completion.token_ids),
                "prompt_tokens": completion.prompt_tokens,
                "finish_reason": completion.finish_reason,
                "shown": [passage.id for passage in prompt.passages],
                "left_out": list(prompt.left_out),
                "seconds": round(now - before, 3),
            }
            before = now
            journal.add(model, "answer", {question.id: answer})
            out.answers[question.id] = answer
            task.advance()
    finally:  # Ctrl-C or a failure: what is still running has no reader
        for _, _, request in requests:
            request.cancel()
    out.seconds = sum(answer["seconds"] for answer in out.answers.values())
    return out


@dataclass(slots=True)
class Likelihoods:
    """Per item: nats, counted tokens and bytes. `skipped` are items that do not fit."""

    found: dict[str, tuple[Likelihood, int]]
    skipped: list[Skipped]
    seconds: float


def reference_likelihoods(
    model: Transformer,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    name: str,
    journal: Journal,
    task: Task,
) -> Likelihoods:
    """How likely the model finds each reference answer, given the passages it was made from.

    Every token of the answer counts, the end of the turn included: what fine-tuning trains. The
    earlier turns are only seen.
    """
    out = Likelihoods({}, [], 0.0)
    rows: list[tuple[str, int, list[Scored]]] = []
    for question in questions:
        ids, said = tokenizer.chat_with_mask(list(question.messages))
        last = _last_turn(said)
        if len(ids) > model.config.context:
            out.skipped.append(
                Skipped(
                    question.id,
                    f"{name}: the conversation has {len(ids)} tokens and the model's context "
                    f"{model.config.context}",
                )
            )
            task.advance()
            continue
        size = len(question.messages[-1].content.encode("utf-8", "replace"))
        rows.append((question.id, size, [Scored(ids, last)]))
    _score(model, rows, out, name=name, kind="reference", journal=journal, task=task)
    return out


def page_likelihoods(
    model: Transformer,
    tokenizer: Tokenizer,
    pages: Sequence[Page],
    *,
    name: str,
    window: int,
    overlap: int,
    journal: Journal,
    task: Task,
) -> Likelihoods:
    """How likely the model finds each page, in windows (`text_windows`) from its first byte on."""
    out = Likelihoods({}, [], 0.0)
    start = tokenizer.end_of_text_id
    if start is None:
        start = min(tokenizer.eos_ids, default=0)
    window = min(window, model.config.context)
    rows = []
    for page in pages:
        ids = tokenizer.encode(page.text)
        windows = text_windows(ids, start, window=window, overlap=min(overlap, window - 1))
        rows.append((page.id, len(page.text.encode()), windows))
    _score(model, rows, out, name=name, kind="page", journal=journal, task=task)
    return out


def _score(
    model: Transformer,
    rows: Sequence[tuple[str, int, list[Scored]]],
    out: Likelihoods,
    *,
    name: str,
    kind: str,
    journal: Journal,
    task: Task,
) -> None:
    """Score the rows' windows in batches over all rows; a row is journalled when it is whole.

    The batches do not depend on what is done already (see `batched`); one is left out only where
    every row that it touches is known.
    """
    windows = [(row, part) for row, (_, _, parts) in enumerate(rows) for part in parts]
    missing = [len(parts) for _, _, parts in rows]
    scored: list[list[Likelihood]] = [[] for _ in rows]
    for item, size, _ in rows:
        known = journal.get(name, kind, item)
        if known is not None:
            out.found[item] = (Likelihood(known["nll"], known["tokens"]), size)
            out.seconds += known["seconds"]
            task.advance()
    for group in batched([len(part.tokens) for _, part in windows]):
        touched = {windows[i][0] for i in group}
        if all(rows[row][0] in out.found for row in touched):
            continue
        started = time.monotonic()
        results = sequence_likelihoods(model, [windows[i][1] for i in group])
        share = (time.monotonic() - started) / len(group)
        for index, likelihood in zip(group, results, strict=True):
            row = windows[index][0]
            item, size, _ = rows[row]
            scored[row].append(likelihood)
            missing[row] -= 1
            if missing[row] or item in out.found:
                continue
            total = total_nats(scored[row])
            seconds = round(share * len(scored[row]), 3)
            record = {"nll": total.nll, "tokens": total.tokens, "seconds": seconds}
            journal.add(name, kind, {item: record})
            out.found[item] = (total, size)
            out.seconds += seconds
            task.advance()


def _last_turn(said: Sequence[bool]) -> list[bool]:
    """Only the last run of assistant tokens."""
    out = [False] * len(said)
    index = len(said) - 1
    while index >= 0 and not said[index]:
        index -= 1
    while index >= 0 and said[index]:
        out[index] = True
        index -= 1
    return out
