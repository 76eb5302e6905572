"""Small models with random weights, and text for them."""

from __future__ import annotations

from typing import Any

import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.tokenizer import Tokenizer

SENTENCES = [
    "The session holds a transaction until it is committed or rolled back.",
    "A relationship loads its collection lazily unless it is told otherwise.",
    "引擎是连接数据库的起点，它管理着一个连接池。",
    "映射的类与表之间的关系由声明式基类描述。",
]
VOCAB = 330


def config(**options: Any) -> ModelConfig:
    """Every size differs, and a head is not width / heads: a mixed-up size cannot pass."""
    shape: dict[str, Any] = {
        "vocab_size": VOCAB,
        "width": 48,
        "n_layers": 4,
        "n_heads": 6,
        "n_kv_heads": 3,
        "head_dim": 16,
        "mlp_width": 96,
        "context": 64,
        "tied": True,
    }
    return ModelConfig(**(shape | options))


def random_model(seed: int = 0, **options: Any) -> Transformer:
    """Random weights, biases and norms included: zeros and ones would hide a mistake."""
    model = Transformer.random(config(**options), seed)
    generator = torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.normal_(1.0 if "norm" in name else 0.0, 0.3, generator=generator)
    return model.eval()


def token_rows(count: int = 6, length: int = 24, seed: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB, (count, length), generator=generator).tolist()


def tokenizer() -> Tokenizer:
    return Tokenizer.train([*SENTENCES, "user assistant What about 0123456789?"] * 3, VOCAB)
