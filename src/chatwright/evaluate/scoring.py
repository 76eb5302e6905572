"""From what the models said to values per item, and to the lines of `answers.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chatwright.curate.words import count_words
from chatwright.evaluate.items import Page, Question
from chatwright.evaluate.likelihood import Likelihood
from chatwright.evaluate.metrics import (
    Answer,
    citation_score,
    exact_match,
    rouge_l,
    text_metric,
    token_f1,
)
from chatwright.evaluate.prompts import Prompt
from chatwright.evaluate.refusal import is_refusal
from chatwright.evaluate.results import Values
from chatwright.records.grounding import cited_numbers, without_citations

# A model may cite up to this number; what it was not shown counts as a wrong citation.
_MOST_CITED = 99
_LN2 = math.log(2)


def score_answer(question: Question, prompt: Prompt, text: str) -> dict[str, float]:
    """Metric → value for one answer. What does not apply to the question is not in it.

    A question without an answer in its passages is scored by whether the model says so, and by
    nothing else: there are no words or citation to compare.
    """
    refused = float(is_refusal(text))
    words = float(count_words(without_citations(text)))
    if not question.answerable:
        return {"refused_right": refused, "words": words}
    said, wanted = without_citations(text), without_citations(question.reference)
    shown, gold = prompt.names(question)
    citation = citation_score(cited_numbers(text, _MOST_CITED), shown, gold)
    return {
        "token_f1": token_f1(said, wanted),
        "rouge_l": rouge_l(said, wanted),
        "exact_match": exact_match(said, wanted),
        "citation_right": citation.right,
        "citation_any": citation.any,
        "gold_shown": float(any(name in gold for name in shown)),
        "refused_wrong": refused,
        "words": words,
    }


def add_answers(
    values: dict[str, Values], questions: Sequence[tuple[Question, Prompt]], said: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Score one model's answers into `values` (metric → item → pair); returns item → scores."""
    out: dict[str, dict[str, float]] = {}
    for question, prompt in questions:
        if question.id not in said:
            continue
        out[question.id] = score_answer(question, prompt, said[question.id]["text"])
        for name, value in out[question.id].items():
            values.setdefault(name, {})[question.id] = (value, 1.0)
    return out


def add_text_metrics(
    questions: Sequence[tuple[Question, Prompt]],
    said: Mapping[str, Any],
    names: Sequence[str],
) -> dict[str, Values]:
    """Further metrics of one model's answers: metric → item → values."""
    asked = [(q, p) for q, p in questions if q.id in said]
    answers = []
    for question, prompt in asked:
        shown, gold = prompt.names(question)
        references = (question.reference,) if question.answerable else ()
        answers.append(
            Answer(
                said[question.id]["text"],
                references,
                question.language,
                question.text,
                tuple(shown),
                tuple(gold),
            )
        )
    out: dict[str, Values] = {}
    for name in names:
        columns = text_metric(name).score(answers)
        out[name] = {q.id: c for (q, _), c in zip(asked, columns, strict=True) if c is not None}
    return out


def add_likelihoods(
    values: dict[str, Values], found: Mapping[str, tuple[Likelihood, int]], *, perplexity: bool
) -> None:
    """Add perplexity (of answers), or bits per byte (of pages), to `values`."""
    for item, (likelihood, size) in found.items():
        if perplexity and likelihood.tokens:
            values.setdefault("perplexity", {})[item] = (likelihood.nll, float(likelihood.tokens))
        if not perplexity and size:
            bits = likelihood.nll / _LN2
            values.setdefault("bits_per_byte", {})[item] = (bits, float(size))


def answer_line(
    question: Question,
    prompts: Mapping[str, Prompt],
    said: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, Mapping[str, Mapping[str, float]]],
    nats: Mapping[str, Mapping[str, tuple[Likelihood, int]]],
) -> dict[str, Any]:
    """One question with every model's answer: a line of `answers.jsonl`.

    `prompts` are by model; `said`, `scores` and `nats` are model → item → value. Times are left
    out: the same settings give the same lines.
    """
    answers: dict[str, Any] = {}
    for model, per_item in said.items():
        if question.id not in per_item:
            continue
        raw, prompt = per_item[question.id], prompts[model]
        shown, gold = prompt.names(question)
        numbers = cited_numbers(raw["text"], _MOST_CITED)
        answers[model] = {
            "text": raw["text"],
            "tokens": raw["tokens"],
            "prompt_tokens": raw["prompt_tokens"],
            "finish_reason": raw["finish_reason"],
            "passages": [p.id for p in prompt.passages],
            "left_out": raw["left_out"],
            "citations": [
                {
                    "number": n,
                    "id": prompt.passages[n - 1].id if n <= len(shown) else None,
                    "uri": prompt.passages[n - 1].uri if n <= len(shown) else None,
                    "right": n <= len(shown) and shown[n - 1] in gold,
                }
                for n in numbers
            ],
            "scores": dict(scores[model][question.id]),
        }
        likelihood = nats.get(model, {}).get(question.id)
        if likelihood is not None:
            answers[model]["reference_nll"] = likelihood[0].nll
            answers[model]["reference_tokens"] = likelihood[0].tokens
    shown_to_any = {p.id: p for prompt in prompts.values() for p in prompt.passages}
    return {
        "id": question.id,
        "question": question.text,
        "reference": question.reference,
        "answerable": question.answerable,
        "language": question.language,
        "uri": question.uri,
        "gold": list(question.gold),
        "passages": [{"id": p.id, "title": p.title, "uri": p.uri} for p in shown_to_any.values()],
        "answers": answers,
    }


def page_line(
    page: Page, nats: Mapping[str, Mapping[str, tuple[Likelihood, int]]]
) -> dict[str, Any]:
    """One page with every model's bits per byte."""
    size = len(page.text.encode())
    return {
        "id": page.id,
        "uri": page.uri,
        "bytes": size,
        "bits_per_byte": {
            model: found[page.id][0].nll / _LN2 / size
            for model, found in nats.items()
            if page.id in found
        },
    }
