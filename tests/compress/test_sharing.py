"""Layers that share weights: the mean, stored once, and shared again when read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_compress import random_model, token_rows, tokenizer

from chatwright.compress.low_rank import factorise_model
from chatwright.compress.sharing import neighbour_groups, share, tie_embeddings
from chatwright.errors import ModelError, UsageError
from chatwright.model import Transformer, load_model, save_model
from chatwright.model.compact import Compact, densify

TOKENS = torch.tensor(token_rows(3, 20, seed=9))


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS % model.config.vocab_size)


def test_groups_of_neighbours() -> None:
    assert neighbour_groups(4, 2) == (0, 0, 2, 2)
    assert neighbour_groups(5, 2) == (0, 0, 0, 3, 3)
    assert neighbour_groups(5, 5) == (0, 1, 2, 3, 4)
    for layers in range(1, 33):
        for count in range(1, layers + 1):
            sizes = [
                neighbour_groups(layers, count).count(g)
                for g in set(neighbour_groups(layers, count))
            ]
            assert len(sizes) == count and max(sizes) - min(sizes) <= 1
    with pytest.raises(UsageError, match="--keep"):
        neighbour_groups(4, 5)


def test_a_group_uses_the_mean_and_keeps_its_own_norms() -> None:
    model, before = random_model(), random_model()
    assert share(model, 2) == (0, 0, 2, 2)
    mean = (before.layers[2].mlp.up_proj.weight + before.layers[3].mlp.up_proj.weight) / 2
    assert torch.equal(model.layers[3].mlp.up_proj.weight, mean.detach())
    assert model.layers[3].mlp.up_proj.weight is model.layers[2].mlp.up_proj.weight
    assert model.layers[3].self_attn.layer == 3  # its own place in a KV cache
    norms = [block.input_layernorm.weight for block in model.layers]
    assert torch.equal(norms[3], before.layers[3].input_layernorm.weight)
    assert len({id(norm) for norm in norms}) == 4
    torch.testing.assert_close(logits(densify(model)), logits(model))


def test_equal_layers_lose_nothing() -> None:
    model = random_model()
    with torch.no_grad():
        for own, first in zip(
            model.layers[1].parameters(), model.layers[0].parameters(), strict=True
        ):
            own.copy_(first)
    wanted = logits(model)
    share(model, 4 - 1)
    assert Compact.of(model).shared == (0, 0, 2, 3)
    torch.testing.assert_close(logits(model), wanted)


def test_a_factorised_model_is_not_shared() -> None:
    model = random_model()
    factorise_model(model, rank=5)
    with pytest.raises(ModelError, match="factorised"):
        share(model, 2)


def test_stored_once_and_shared_again(tmp_path: Path) -> None:
    model = random_model(vocab_size=tokenizer().vocab_size, attention_bias=True, output_bias=True)
    share(model, 2)
    folder = save_model(model, tokenizer(), tmp_path / "shared")
    names = set(load_file(folder / "model.safetensors"))
    assert "model.layers.2.mlp.up_proj.weight" in names
    assert "model.layers.3.mlp.up_proj.weight" not in names
    assert "model.layers.3.input_layernorm.weight" in names
    again, _ = load_model(folder, dtype=torch.float32, device="cpu")
    assert torch.equal(logits(again), logits(model))
    assert again.layers[1].self_attn.q_proj.bias is again.layers[0].self_attn.q_proj.bias
    assert again.layers[1].mlp.down_proj.weight is again.layers[0].mlp.down_proj.weight
    numbers = sum(p.numel() for p in again.parameters())
    assert numbers == sum(t.numel() for t in load_file(folder / "model.safetensors").values())


def test_a_shared_layer_is_trained_as_one() -> None:
    from chatwright.records import Document
    from chatwright.train import TrainSettings, train

    words = tokenizer()
    model = random_model(vocab_size=words.vocab_size)
    share(model, 2)
    start = model.layers[2].mlp.up_proj.weight.detach().clone()
    rows = [
        Document(f"d{i}", "the session holds a transaction. " * 4, "x", "test") for i in range(4)
    ]
    settings = TrainSettings(objective="pretrain", steps=2, length=32, batch_size=2, threads=1)
    train(model, words, rows, settings)
    assert Compact.of(model).shared == (0, 0, 2, 2)
    assert not torch.equal(model.layers[2].mlp.up_proj.weight, start)
    assert model.layers[3].mlp.up_proj.weight is model.layers[2].mlp.up_proj.weight


def test_embedding_and_head_become_one() -> None:
    model = random_model(tied=False)
    assert model.lm_head is not None
    mean = (model.embed_tokens.weight + model.lm_head.weight).detach() / 2
    tied = tie_embeddings(model)
    assert tied.lm_head is None and tied.config.tied
    assert torch.equal(tied.embed_tokens.weight, mean)
    with torch.no_grad():
        model.embed_tokens.weight.copy_(mean)
        model.lm_head.weight.copy_(mean)
    assert torch.equal(logits(tied), logits(model))
    with pytest.raises(UsageError, match="one matrix already"):
        tie_embeddings(tied)
