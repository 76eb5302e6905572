"""Heads beside the one that predicts tokens: a reward model's score, PPO's value."""

from __future__ import annotations

from typing import Literal

from torch import nn

from chatwright.model.transformer import Transformer


def add_head(model: Transformer, name: Literal["score", "value"]) -> nn.Linear:
    """Give `model` a head [1, C] on its hidden states: a reward model's `score`, or PPO's `value`.

    It begins at zero, so that every state is worth the same. One that is there stays.
    """
    head: nn.Linear | None = getattr(model, name)
    if head is None:
        head = nn.Linear(model.config.width, 1, bias=False, device=model.device, dtype=model.dtype)
        nn.init.zeros_(head.weight)
        setattr(model, name, head)
    return head
