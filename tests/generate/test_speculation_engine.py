"""Speculation in the engine: the answers of plain decoding, whoever guesses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from chatwright.generate import Completion, Engine, SamplingParams
from chatwright.generate.params import Constraint
from chatwright.generate.sampler import Sampler
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer


def perturbed(model: Transformer, amount: float) -> Transformer:
    """A draft that is right now and then."""
    draft = Transformer.random(model.config, seed=0)
    draft.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in draft.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * parameter.std() * amount)
    return draft.eval()


@pytest.fixture(scope="module")
def draft(model: Transformer) -> Transformer:
    return perturbed(model, 0.05)


@pytest.fixture(scope="module")
def texts(tokenizer: Tokenizer, prompts: list[list[int]]) -> list[list[int]]:
    """Prompts with something to look up, and some without."""
    phrases = ["The engine reads a prompt. ", "引擎读取提示，", "a slot is free "]
    repeated = [tokenizer.encode(phrase * 4) for phrase in phrases]
    return [*repeated, *[p for p in prompts if len(p) < 90][:6]]


def run(engine: Engine, texts: list[list[int]], asked: list[SamplingParams]) -> list[Completion]:
    requests = [engine.submit(t, p) for t, p in zip(texts, asked, strict=True)]
    return [completion for request in requests for completion in request.results()]


PROCESSED: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.2},
    {"frequency_penalty": 0.4, "presence_penalty": 0.2},
    {"no_repeat_ngram": 4},
    {"min_tokens": 20, "stop_tokens": (30, 31, 32, 33, 34)},
    {"stop": (" a", "，"), "logprobs": True, "top_logprobs": 2},
    {"constraint": Constraint.regex("((a|reads|引擎|The engine reads )[ ，.]){3,12}")},
]


@pytest.mark.parametrize("lookup", [0, 1, 5])
@pytest.mark.parametrize("with_draft", [False, True])
def test_greedy_answers_are_those_of_plain_decoding(
    model: Transformer,
    draft: Transformer,
    tokenizer: Tokenizer,
    texts: list[list[int]],
    lookup: int,
    with_draft: bool,
) -> None:
    asked = [
        SamplingParams(temperature=0, max_tokens=40, **PROCESSED[i % len(PROCESSED)])
        for i in range(len(texts))
    ]
    with Engine(model, tokenizer, max_batch=4) as engine:
        expected = run(engine, texts, asked)
    with Engine(model, tokenizer, max_batch=4, draft=draft if with_draft else None) as engine:
        ours = run(engine, texts, [replace(params, lookup=lookup) for params in asked])
        assert engine.stats()["blocks"]["used"] == 0
        if engine._draft is not None:
            assert engine._draft._pool.used == 0
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.token_ids == theirs.token_ids
        assert (mine.text, mine.finish_reason) == (theirs.text, theirs.finish_reason)
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert {c.finish_reason for c in expected} == {"stop", "length"}


def test_answers_drawn_with_lookup_are_those_without_for_the_same_seed(
    model: Transformer, tokenizer: Tokenizer, texts: list[list[int]]
) -> None:
    asked = [
        SamplingParams(
            temperature=(0.5, 1.0)[i % 2],
            top_k=5,
            top_p=0.95,
            max_tokens=40,
            seed=i,
            n=1 + i % 2,
            **PROCESSED[i % len(PROCESSED)],
        )
        for i in range(len(texts))
    ]
    with Engine(model, tokenizer, max_batch=8) as engine:
        expected = run(engine, texts, asked)
        ours = run(engine, texts, [replace(params, lookup=6) for params in asked])
    assert [c.token_ids for c in ours] == [c.token_ids for c in expected]
    assert [c.text for c in ours] == [c.text for c in expected]


def test_a_draft_that_is_always_right_saves_most_steps(
    model: Transformer, tokenizer: Tokenizer, texts: list[list[int]]
) -> None:
    params = SamplingParams(temperature=0, max_tokens=60)
    with Engine(model, tokenizer, draft=model) as engine:
        made = len(engine.submit(texts[0], params).result().token_ids)
        assert made == 60
        assert engine.stats()["steps"] <= 12  # 4 tokens are guessed at first, then 8


def test_on_repetitive_text_lookup_saves_steps(model: Transformer, tokenizer: Tokenizer) -> None:
    """Embedding and head are a table of what follows what: the model goes round in a circle."""
    prompt = list(
        dict.fromkeys(tokenizer.encode("The engine reads a prompt and writes an answer."))
    )
    cycle = {token: prompt[(i + 1) % len(prompt)] for i, token in enumerate(prompt)}
    config = model.config.model_copy(update={"tied": False, "n_layers": 1})
    assert len(cycle) <= config.width
    table = Transformer.random(config, seed=3)
    with torch.no_grad():
        for name, parameter in table.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                parameter.zero_()  # nothing but the token itself counts
        table.embed_tokens.weight.zero_()
        table.head_weight.zero_()
        for i, (token, following) in enumerate(cycle.items()):
            table.embed_tokens.weight[token, i] = 1.0
            table.head_weight[following, i] = 1.0
    params = SamplingParams(temperature=0, max_tokens=80)
    steps, answers = [], []
    for lookup in (0, 1, 8):
        with Engine(table.eval(), tokenizer) as engine:
            result = engine.submit(prompt * 2, replace(params, lookup=lookup)).result()
            answers.append(result.token_ids)
            steps.append(engine.stats()["steps"])
    assert answers == [(prompt * 20)[:80]] * 3
    assert steps[0] == 80
    assert 40 <= steps[1] <= 45  # `lookup` bounds what is guessed: two tokens a step
    assert steps[2] <= 12  # nine


def test_answers_drawn_with_a_draft_have_the_models_law(
    model: Transformer, draft: Transformer, tokenizer: Tokenizer, texts: list[list[int]]
) -> None:
    from scipy.stats import chisquare

    n, prompt = 400, texts[1]
    params = SamplingParams(temperature=0.8, top_k=3, max_tokens=2)

    def law(context: list[int]) -> dict[int, float]:
        with torch.inference_mode():
            row = model(torch.tensor([context]))[0, -1, : tokenizer.vocab_size].numpy()
        found = Sampler(params, context, tokenizer.vocab_size).distribution(row.copy())
        return {int(t): float(found[t]) for t in np.flatnonzero(found)}

    expected = {(a, b): p * q for a, p in law(prompt).items() for b, q in law([*prompt, a]).items()}
    # Three tokens are made, so that two are guessed and verified at once.
    with Engine(model, tokenizer, draft=draft, max_batch=16) as engine:
        asked = [replace(params, max_tokens=3, seed=seed) for seed in range(n)]
        answers = run(engine, [prompt] * n, asked)
        assert engine._draft is not None and engine._draft._pool.used == 0
        again = run(engine, [prompt] * 20, asked[:20])  # in other company
    assert [c.token_ids for c in again] == [c.token_ids for c in answers[:20]]
    counts = Counter(tuple(c.token_ids[:2]) for c in answers)
    assert set(counts) <= set(expected)
    common = [pair for pair in expected if expected[pair] * n >= 5]
    observed = [counts[pair] for pair in common]
    wanted = [expected[pair] * n for pair in common]
    observed.append(n - sum(observed))
    wanted.append(n - sum(wanted))
    if wanted[-1] < 5:  # too few to count by themselves
        observed[-2:], wanted[-2:] = [sum(observed[-2:])], [sum(wanted[-2:])]
    assert chisquare(observed, wanted).pvalue > 0.01


def test_guesses_take_no_memory_that_another_needs(
    model: Transformer, draft: Transformer, tokenizer: Tokenizer, texts: list[list[int]]
) -> None:
    from chatwright.generate.torch_runner import TorchRunner

    asked = [SamplingParams(temperature=0, max_tokens=30, lookup=8 * (i % 2)) for i in range(9)]
    with Engine(model, tokenizer) as engine:
        expected = run(engine, texts, [replace(params, lookup=0) for params in asked])
    runner = TorchRunner(model, n_blocks=24, context=160, block_size=8)
    small = TorchRunner(draft, n_blocks=12, context=160, block_size=8)
    with Engine(runner, tokenizer, draft=small) as engine:
        ours = run(engine, texts, asked)
        assert engine.stats()["blocks"]["used"] == 0
        assert engine._draft is not None and engine._draft._pool.used == 0
    assert [c.token_ids for c in ours] == [c.token_ids for c in expected]


def test_a_request_that_is_given_up_gives_the_drafts_blocks_back(
    model: Transformer, draft: Transformer, tokenizer: Tokenizer, texts: list[list[int]]
) -> None:
    with Engine(model, tokenizer, draft=draft) as engine:
        params = SamplingParams(temperature=0, max_tokens=100)
        requests = [engine.submit(text, params) for text in texts[:4]]
        for request in requests:
            next(request)
            request.cancel()
        for request in requests:
            request.results()
        engine.submit(texts[0], params).result()
        assert engine._draft is not None and engine._draft._pool.used == 0
