"""Greedy answers of the real chat model, token for token those of `transformers`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatwright.generate import Engine, SamplingParams
from chatwright.model import Transformer, load_model
from chatwright.tokenizer import Tokenizer

QUESTIONS = [
    "What is the capital of France?",
    "Explain what a database index is.",
    "Why is the sky blue?",
    "def fibonacci(n):",
    "Summarise: " + "The engine keeps keys and values of every token it has read. " * 4,
    "你好，请介绍一下你自己。",
    "中国的首都是哪里？",
    "写一首关于月亮的短诗。",
    "一加一等于几？",
    "总结：" + "引擎保存它读过的每个词元的键和值。" * 4,
]
NEW_TOKENS = 16
ALONE_TOKENS = 6  # one by one is slow


@pytest.fixture(scope="module")
def real(smollm2_gguf: Path) -> tuple[Transformer, Tokenizer]:
    return load_model(str(smollm2_gguf), dtype=torch.float32)


@pytest.fixture(scope="module")
def expected(
    real: tuple[Transformer, Tokenizer], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[list[int], list[int], list[float]]]:
    """Prompt, greedy tokens and their log-probabilities, by `transformers`."""
    from transformers import AutoModelForCausalLM

    from chatwright.model import save_model

    # Equal weights on both sides: what this folder holds is checked against `transformers`' own
    # reading of the file in tests/model.
    folder = tmp_path_factory.mktemp("smollm2") / "hf"
    model, tokenizer = real
    save_model(model, tokenizer, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ends = sorted(tokenizer.eos_ids)
    prompts = [tokenizer.chat([{"role": "user", "content": question}]) for question in QUESTIONS]
    # All in one batch, padded on the left, which is how `transformers` does it and fast enough.
    longest = max(map(len, prompts))
    ids = torch.tensor([[ends[0]] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        out = theirs.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0],
            output_logits=True,
            return_dict_in_generate=True,
        )
    results = []
    for row, prompt in enumerate(prompts):
        tokens = out.sequences[row, longest:].tolist()
        end = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
        tokens = tokens[:end]
        logprobs = [
            float(logits[row].log_softmax(-1)[token])
            for logits, token in zip(out.logits, tokens, strict=False)
        ]
        results.append((prompt, tokens, logprobs))
    return results


def test_greedy_answers_equal_those_of_transformers_batched_and_alone(
    real: tuple[Transformer, Tokenizer], expected: list[tuple[list[int], list[int], list[float]]]
) -> None:
    model, tokenizer = real
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=True)
    prompts = [prompt for prompt, _, _ in expected]
    with Engine(model, tokenizer, max_batch=4) as engine:
        batched = engine.generate(prompts, params)
        short = SamplingParams(temperature=0, max_tokens=ALONE_TOKENS)
        alone = [engine.generate([prompt], short)[0] for prompt in prompts]
        chats = [[{"role": "user", "content": question}] for question in QUESTIONS[:2]]
        for chat, completion in zip(engine.chat_many(chats, short), alone, strict=False):
            assert chat.token_ids == completion.token_ids
    for question, ours, single, (_, tokens, logprobs) in zip(
        QUESTIONS, batched, alone, expected, strict=True
    ):
        assert ours.token_ids == tokens, question
        assert single.token_ids == tokens[:ALONE_TOKENS], question
        assert ours.logprobs == pytest.approx(logprobs, abs=2e-3), question
        assert ours.text == tokenizer.decode(tokens).rstrip("\ufffd")  # whole characters only
        assert ours.finish_reason == ("stop" if tokens[-1] in tokenizer.eos_ids else "length")
    assert {c.finish_reason for c in batched} == {"stop", "length"}
