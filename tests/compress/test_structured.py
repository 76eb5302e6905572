"""Parts taken out: what does nothing can go, what is least important goes, others open the rest."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_compress import random_model, token_rows, tokenizer

from chatwright.compress.sharing import share
from chatwright.compress.structured import (
    best_layers,
    channel_importance,
    head_importance,
    layer_influence,
    spread_layers,
    take_channels,
    take_heads,
    take_layers,
)
from chatwright.errors import DataError, ModelError, UsageError
from chatwright.model import Transformer, load_model, save_model

TOKENS = torch.tensor(token_rows(3, 20, seed=9))


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS)


def test_channels_that_add_nothing_go_without_a_trace() -> None:
    model = random_model()
    dead = torch.arange(0, 96, 3)
    with torch.no_grad():
        for block in model.layers:
            block.mlp.down_proj.weight[:, dead] = 0
    smaller = take_channels(model, channel_importance(model, token_rows()), 64)
    assert (
        smaller.config.mlp_width == 64 and smaller.config.n_parameters < model.config.n_parameters
    )
    alive = [i for i in range(96) if i % 3]
    assert torch.equal(
        smaller.layers[2].mlp.up_proj.weight, model.layers[2].mlp.up_proj.weight[alive]
    )
    torch.testing.assert_close(logits(smaller), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("unit", ["groups", "queries"])
@pytest.mark.parametrize("biases", [False, True])
def test_heads_that_add_nothing_go_without_a_trace(unit: str, biases: bool) -> None:
    options = {"attention_bias": True, "output_bias": True} if biases else {}
    model = random_model(1, **options)
    dead = {"groups": [[2, 3], [0, 1], [4, 5], [2, 3]], "queries": [[0, 3, 5], [1, 2, 4]] * 2}[unit]
    with torch.no_grad():
        for block, heads in zip(model.layers, dead, strict=True):
            for head in heads:
                block.self_attn.o_proj.weight[:, head * 16 : head * 16 + 16] = 0
    count = 4 if unit == "groups" else 3
    smaller = take_heads(model, head_importance(model, token_rows()), count, unit)
    assert (smaller.config.n_heads, smaller.config.n_kv_heads) == (
        (4, 2) if unit == "groups" else (3, 3)
    )
    torch.testing.assert_close(logits(smaller), logits(model), atol=1e-5, rtol=1e-5)


def test_importance_by_hand() -> None:
    """One layer, one row: energies from the definition, element by element."""
    model, row = random_model(2, n_layers=1), token_rows(1, 7)[0]
    block = model.layers[0]
    caught: dict[str, torch.Tensor] = {}
    for name, module in (("head", block.self_attn.o_proj), ("channel", block.mlp.down_proj)):
        module.register_forward_pre_hook(
            lambda m, a, n=name: caught.__setitem__(n, a[0][0].detach())
        )
    logits_before = model(torch.tensor([row])).detach()
    columns = block.mlp.down_proj.weight.detach()
    wanted = [
        sum(float((caught["channel"][t, c] * columns[:, c]).square().sum()) for t in range(7))
        for c in range(96)
    ]
    found = channel_importance(model, [row])
    torch.testing.assert_close(found[0].float(), torch.tensor(wanted), rtol=1e-4, atol=1e-9)
    weight = block.self_attn.o_proj.weight.detach()
    for head in range(6):
        part = slice(16 * head, 16 * head + 16)
        added = F.linear(caught["head"][:, part], weight[:, part])
        energy = float(head_importance(model, [row])[0, head])
        assert energy == pytest.approx(float(added.square().sum()), rel=1e-4)
    assert torch.equal(model(torch.tensor([row])), logits_before)


def test_the_first_order_estimate_is_the_slope_of_the_loss() -> None:
    """Scale one channel (head) by 1 − ε: the loss moves by −ε · Σ h · ∂loss/∂h."""
    model, row = random_model(2).double(), token_rows(1, 12)[0]

    def loss() -> float:
        with torch.no_grad():
            return float(
                F.cross_entropy(model(torch.tensor([row]))[0, :-1].double(), torch.tensor(row[1:]))
            )

    channels = channel_importance(model, [row], "taylor")
    heads = head_importance(model, [row], "taylor")
    assert all(p.requires_grad for p in model.parameters())
    assert all(p.grad is None for p in model.parameters())
    step = 1e-3
    for part, module, columns in (
        (channels[1, 5], model.layers[1].mlp.down_proj, slice(5, 6)),
        (heads[3, 2], model.layers[3].self_attn.o_proj, slice(32, 48)),
    ):
        losses = []
        for factor in (1 + step, 1 - step):
            kept = module.weight.detach().clone()
            with torch.no_grad():
                module.weight[:, columns] *= factor
            losses.append(loss())
            module.weight.data = kept
        slope = abs(losses[0] - losses[1]) / (2 * step)
        # Logits are rounded to float32, which bounds the agreement.
        assert float(part) == pytest.approx(slope, rel=2e-2, abs=1e-5)


def test_a_layer_that_does_nothing_has_no_influence_and_goes_first() -> None:
    model = random_model(4)
    with torch.no_grad():
        model.layers[1].self_attn.o_proj.weight.zero_()
        model.layers[1].mlp.down_proj.weight.zero_()
    influence = layer_influence(model, token_rows())
    assert influence[1] == pytest.approx(0, abs=1e-6) and min(influence) == influence[1]
    kept = best_layers(influence, 3)
    assert kept == [0, 2, 3]
    smaller = take_layers(model, kept)
    assert smaller.config.n_layers == 3 and smaller.layers[2].self_attn.layer == 2
    torch.testing.assert_close(logits(smaller), logits(model))


def test_influence_by_hand() -> None:
    model, row = random_model(5), token_rows(1, 9)[0]
    states: list[torch.Tensor] = []
    for block in model.layers:
        block.register_forward_hook(lambda m, a, y: states.append(y[0].detach()))
    x = model.embed_tokens(torch.tensor(row)).detach()
    model(torch.tensor([row]))
    wanted = []
    for y in states[:]:
        wanted.append(1 - sum(float(F.cosine_similarity(x[t], y[t], dim=0)) for t in range(9)) / 9)
        x = y
    assert layer_influence(model, [row]) == pytest.approx(wanted, abs=1e-5)


def test_layers_at_equal_distances() -> None:
    assert spread_layers(8, 4) == [0, 2, 5, 7]
    assert spread_layers(4, 4) == [0, 1, 2, 3] and spread_layers(5, 1) == [0]
    for n in range(1, 40):
        for count in range(1, n + 1):
            assert len(set(spread_layers(n, count))) == count


@pytest.mark.parametrize("what", ["heads", "queries", "channels", "layers"])
def test_transformers_opens_the_smaller_model(what: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, rows = random_model(6, vocab_size=tokenizer().vocab_size), token_rows()
    rows = [[t % model.config.vocab_size for t in row] for row in rows]
    if what == "channels":
        smaller = take_channels(model, channel_importance(model, rows), 64)
    elif what == "layers":
        smaller = take_layers(model, best_layers(layer_influence(model, rows), 2))
    else:
        unit = "groups" if what == "heads" else "queries"
        count = 4 if what == "heads" else 3
        smaller = take_heads(model, head_importance(model, rows), count, unit)
    save_model(smaller, tokenizer(), tmp_path / "m")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    ours, _ = load_model(tmp_path / "m", dtype=torch.float32, device="cpu")
    tokens = TOKENS % model.config.vocab_size
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, ours(tokens), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours(tokens), smaller(tokens))


def test_what_cannot_be_is_refused() -> None:
    model, rows = random_model(), token_rows()
    heads = head_importance(model, rows)
    with pytest.raises(UsageError, match="keep 2, 4"):
        take_heads(model, heads, 3, "groups")
    with pytest.raises(UsageError, match="keep 3"):
        take_heads(model, heads, 4, "queries")
    with pytest.raises(UsageError, match="0 of 96 MLP channels"):
        take_channels(model, channel_importance(model, rows), 0)
    with pytest.raises(UsageError, match="5 of 4 layers"):
        best_layers([1, 2, 3, 4], 5)
    with pytest.raises(DataError, match="calibration"):
        channel_importance(model, [[1]], "taylor")
    shared = copy.deepcopy(model)
    share(shared, 2)
    with pytest.raises(ModelError, match="shares layers"):
        take_layers(shared, [0, 1])
