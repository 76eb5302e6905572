from __future__ import annotations

from typing import Any

import pytest
import torch

from chatwright.errors import TrainingError
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer
from chatwright.train.frozen import freeze

from .conftest import tiny_model


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["embed_tokens"], lambda n: n == "embed_tokens.weight"),
        (["layers.1"], lambda n: n.startswith("layers.1.")),
        (["layers.0-1"], lambda n: n.startswith("layers.")),
        (["norm", "lm_head"], lambda n: n in ("norm.weight", "lm_head.weight")),
        (["layers.*.mlp"], lambda n: ".mlp." in n),
        (["layers.0-1.self_attn.[qk]_proj"], lambda n: "q_proj" in n or "k_proj" in n),
        (["*norm", "layers.*.*norm"], lambda n: n.endswith("norm.weight") and "attn.q_" not in n
         and "attn.k_" not in n),
        (["*"], lambda n: True),
        ([], lambda n: False),
    ],
)  # fmt: skip
def test_patterns_name_parameters(tokenizer: Tokenizer, patterns: list[str], expected: Any) -> None:
    model = tiny_model(tokenizer, tied=False)
    found = freeze(model, patterns)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == set(found) == {n for n, _ in model.named_parameters() if expected(n)}
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("embed", "'embed' names no parameter(?s:.*): embed_tokens, layers, norm; .*layers: 0-1"),
        ("layers.0-2", r"'layers.2' \(in 'layers.0-2'\) names no parameter"),
        ("layers.1-0", "a range that does not go up"),
        ("lm_head", "names no parameter(?s:.*)head is its embedding: freeze embed_tokens"),
        ("layers.0.mlp.gate_proj.weight.more", "names no parameter"),
        ("", "'' names no parameter"),
    ],
)  # fmt: skip
def test_a_pattern_that_names_nothing_is_an_error(
    model: Transformer, pattern: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        freeze(model, ["norm", pattern])


def test_a_range_need_not_begin_at_zero(model: Transformer) -> None:
    assert all(name.startswith("layers.1.") for name in freeze(model, ["layers.1-1"]))
    assert torch.equal(model.norm.weight, torch.ones(32))
