"""A tiny model with random weights, and a tokenizer trained on a few sentences."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.tokenizer import Tokenizer

SENTENCES = [
    "The engine reads a prompt and writes an answer, one token after another.",
    "A request joins the batch when a slot is free and leaves it when it ends.",
    "引擎读取提示，然后逐个生成词元，直到回答结束。",
    "每个请求都有自己的缓存，互不影响。",
]
CONTEXT = 160


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(SENTENCES * 4, 400)


def tiny_model(tokenizer: Tokenizer) -> Transformer:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size + 13,  # padded, as real vocabularies are
        width=48,
        n_layers=2,
        n_heads=6,
        n_kv_heads=2,
        head_dim=8,
        mlp_width=64,
        context=CONTEXT,
    )
    model = Transformer.random(config, seed=1)
    with torch.no_grad():
        for weight in (model.embed_tokens.weight, model.head_weight):
            weight.mul_(20)  # so that answers vary from token to token
        # The end of a turn is never the likeliest token, unless a test makes it so.
        model.head_weight[sorted(tokenizer.eos_ids)] = 0
    return model.eval()


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Transformer:
    return tiny_model(tokenizer)


@pytest.fixture
def own_model(tokenizer: Tokenizer) -> Transformer:
    """The same model, for tests that change it."""
    return tiny_model(tokenizer)


@pytest.fixture(scope="session")
def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    """24 prompts of 1 to 150 tokens."""
    chance = random.Random(4)
    sizes = [1, 2, 150, *(chance.randrange(1, 100) for _ in range(21))]
    return [[chance.randrange(tokenizer.vocab_size) for _ in range(n)] for n in sizes]


Reference = Callable[[list[int], int], tuple[list[int], list[float]]]


@pytest.fixture(scope="session")
def greedy(model: Transformer, tokenizer: Tokenizer) -> Reference:
    """Greedy decoding without a cache or a batch: the oracle. Gives tokens and their logprobs."""

    def decode(prompt: list[int], n: int) -> tuple[list[int], list[float]]:
        ids, logprobs = list(prompt), []
        with torch.inference_mode():
            while len(ids) < min(len(prompt) + n, CONTEXT):
                logits = model(torch.tensor([ids]))[0, -1, : tokenizer.vocab_size]
                ids.append(int(logits.argmax()))
                logprobs.append(float(logits.log_softmax(-1)[ids[-1]]))
                if ids[-1] in tokenizer.eos_ids:
                    break
        return ids[len(prompt) :], logprobs

    return decode
