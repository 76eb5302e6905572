"""Pairs in two languages that a tiny model can learn to tell apart."""

from __future__ import annotations

import pytest
import torch

from chatwright.model import Transformer
from chatwright.model.heads import add_head
from chatwright.records import Message, Preference, content_id
from chatwright.tokenizer import Tokenizer

from ..conftest import SENTENCES, tiny_model

__all__ = ["make_preferences", "reward_model", "tiny_model"]


def make_preferences(count: int) -> list[Preference]:
    """The chosen answers are sentences, the rejected ones numbers; every third has two turns."""
    rows = []
    for i in range(count):
        prompt = [Message("user", f"What about {i}? {SENTENCES[i % 4]}")]
        if i % 3 == 0:
            prompt += [Message("assistant", f"{i}。"), Message("user", "再说一遍？")]
        chosen = SENTENCES[(i + 1) % 4][: 12 + i % 9]
        rejected = " ".join(str(i + k) for k in range(2 + i % 4))
        meta = {"margin": i % 3 / 2} if i % 2 else {}
        row_id = content_id("pairs", str(i))
        rows.append(
            Preference(row_id, prompt, chosen, rejected, "test", f"f#{i}", "test", meta=meta)
        )
    return rows


@pytest.fixture
def preferences() -> list[Preference]:
    return make_preferences(24)


def reward_model(tokenizer: Tokenizer, *, tied: bool = True, seed: int = 1) -> Transformer:
    """A tiny model with a reward head that is not zero."""
    model = tiny_model(tokenizer, tied=tied, seed=seed)
    head = add_head(model, "score")
    with torch.no_grad():
        head.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
    return model.eval()
