"""What a model with fresh weights begins with, and at which rates it learns."""

from __future__ import annotations

import math

import pytest
import torch

from chatwright.model import ModelConfig, Transformer
from chatwright.train.numbers import decide, for_fresh_weights
from chatwright.train.optim import Optimizers, group_parameters
from chatwright.train.settings import TrainSettings

CPU = torch.device("cpu")
CONFIG = ModelConfig.from_depth(2, 300)
PRETRAIN = TrainSettings(objective="pretrain")


@pytest.mark.parametrize("tied", [False, True])
def test_blocks_begin_as_the_identity(tied: bool) -> None:
    config = ModelConfig.from_depth(3, 300, tied=tied)
    model = Transformer.random(config, 1, zero_outputs=True)
    tokens = torch.arange(64)[None]
    with torch.no_grad():
        hidden = model.hidden(tokens)
        assert torch.equal(hidden, model.norm(model.embed_tokens(tokens)))
        loss = torch.nn.functional.cross_entropy(model(tokens)[0], 1 + tokens[0])
    # With a head of zeros every token is as probable as any other.
    assert loss.item() == pytest.approx(math.log(300), abs=0.35 if tied else 1e-6)
    again = Transformer.random(config, 1, zero_outputs=True)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_what_is_not_zero_is_as_in_the_plain_start() -> None:
    plain = dict(Transformer.random(CONFIG, 1).named_parameters())
    for name, weight in Transformer.random(CONFIG, 1, zero_outputs=True).named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
            assert not weight.any(), name
        elif name == "embed_tokens.weight":
            torch.testing.assert_close(weight, plain[name] * (0.3 / 0.02))
        else:
            scale = 0.5 if weight.ndim > 1 else 1.0
            torch.testing.assert_close(weight, plain[name] * scale)


def test_rates_follow_the_width_and_what_is_said_stays() -> None:
    narrow, wide = (ModelConfig.from_depth(depth, 300) for depth in (4, 16))
    first, second = (decide(for_fresh_weights(PRETRAIN, c), c, CPU) for c in (narrow, wide))
    assert set(first.rates) == {"embed_tokens", "lm_head"}
    for name, rate in first.rates.items():
        assert second.rates[name] == pytest.approx(rate / 2), name
    said = PRETRAIN.model_copy(update={"head_learning_rate": 0.25})
    rates = decide(for_fresh_weights(said, narrow), narrow, CPU).rates
    assert rates == {"embed_tokens": first.rates["embed_tokens"], "lm_head": 0.25}


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        (TrainSettings(objective="sft"), CONFIG),
        (TrainSettings(objective="pretrain", optimizer="adamw"), CONFIG),
        (PRETRAIN, ModelConfig.from_depth(2, 300, tied=True)),
    ],
)
def test_others_keep_one_rate(settings: TrainSettings, config: ModelConfig) -> None:
    assert for_fresh_weights(settings, config) == settings
    assert not decide(settings, config, CPU).rates


@pytest.mark.parametrize("optimizer", ["auto", "adamw", "sgd", "lamb"])
def test_each_rate_moves_its_own_matrix(optimizer: str) -> None:
    """Under one gradient, a matrix moves in proportion to its rate, without weight decay."""
    moved = {}
    for rates in ({}, {"embed_tokens": 0.02, "lm_head": 0.04}):
        model = Transformer.random(CONFIG, 1)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizers = Optimizers(
            group_parameters(model.named_parameters()),
            optimizer,  # type: ignore[arg-type]
            learning_rate=0.01,
            weight_decay=0.0,
            betas=(0.9, 0.95),
            rates=rates,
        )
        torch.manual_seed(0)
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        assert optimizers.step(0.5) == pytest.approx(0.005)
        moved[bool(rates)] = {n: (p.detach() - before[n]) for n, p in model.named_parameters()}
    for name, move in moved[True].items():
        times = {"embed_tokens.weight": 2.0, "lm_head.weight": 4.0}.get(name, 1.0)
        torch.testing.assert_close(move, moved[False][name] * times, rtol=1e-3, atol=1e-6)


def test_a_large_rate_does_not_decay_its_matrix() -> None:
    model = Transformer.random(CONFIG, 1)
    optimizers = Optimizers(
        group_parameters(model.named_parameters()),
        "auto",
        learning_rate=0.01,
        weight_decay=0.5,
        betas=(0.9, 0.95),
        rates={"embed_tokens": 1.0},
    )
    decay = {
        id(p): group["weight_decay"]
        for optimizer in optimizers.torch.values()
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert decay[id(model.embed_tokens.weight)] == 0.0
    assert model.lm_head is not None
    assert decay[id(model.lm_head.weight)] == 0.5
    assert set(decay) == {id(p) for p in model.parameters()}


def test_state_goes_back_to_the_matrix_that_it_was_of() -> None:
    """With groups of their own the order of parameters is another one; names hold the state."""
    options = {"learning_rate": 0.01, "weight_decay": 0.0, "betas": (0.9, 0.95)}
    models = [Transformer.random(CONFIG, 1) for _ in range(2)]
    both = [
        Optimizers(
            group_parameters(m.named_parameters()), "auto", rates={"lm_head": 0.1}, **options
        )  # type: ignore[arg-type]
        for m in models
    ]
    torch.manual_seed(0)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    both[0].step(1.0)
    both[1].load_tensors({name: t.clone() for name, t in both[0].tensors().items()})
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        q.data.copy_(p.data)
    both[0].step(1.0)
    both[1].step(1.0)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(p, q)
