"""The blocks with hand-written backward passes against the model's own definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from chatwright.model import ModelConfig, Transformer, add_lora, lora_parameters
from chatwright.train.fused import fused_blocks
from chatwright.train.objectives import NextToken
from chatwright.train.packing import make_batch

from .test_packing import pairs


def build(adapted: bool, *, whole_vectors: bool = False, **options: bool) -> Transformer:
    sizes = {"vocab_size": 97, "width": 24, "head_dim": 8, "mlp_width": 40}
    if whole_vectors:  # what the compiled kernels take
        sizes = {"vocab_size": 112, "width": 48, "head_dim": 32, "mlp_width": 64}
    config = ModelConfig(**sizes, n_layers=2, n_heads=4, n_kv_heads=2, context=64, **options)
    model = Transformer.random(config, 1)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases away from 1 and 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    if adapted:
        add_lora(model, rank=3, alpha=5, seed=1)
        with torch.no_grad():
            for parameter in lora_parameters(model).values():
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def loss_and_gradients(model: Transformer) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    batch = make_batch(pairs([9, 20, 20, 5], 97), ["a"])
    loss = NextToken().loss(model, batch)
    loss.sum.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return float(loss.sum.detach()), found


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"tied": True},
        {"qk_norm": True},
        {"attention_bias": True},
        {"attention_bias": True, "output_bias": True, "qk_norm": True},
    ],
)
def test_fused_blocks_are_the_blocks(adapted: bool, options: dict[str, bool]) -> None:
    model = build(adapted, **options)
    plain_loss, plain = loss_and_gradients(model)
    with fused_blocks(model):
        loss, gradients = loss_and_gradients(model)
    assert loss == pytest.approx(plain_loss, rel=1e-6)
    assert gradients.keys() == plain.keys()
    if adapted:
        assert gradients.keys() == lora_parameters(model).keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    # Outside the context the model is what it was.
    assert loss_and_gradients(model)[0] == plain_loss
    assert all("forward" not in vars(block) for block in model.layers)


def test_some_parameters_may_be_frozen() -> None:
    model = build(False, qk_norm=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("q_proj" in name or "post_attention" in name)
    _, plain = loss_and_gradients(model)
    with fused_blocks(model):
        _, gradients = loss_and_gradients(model)
    assert gradients.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("whole_vectors", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_in_bfloat16_they_are_as_near_to_float32_as_the_plain_blocks(
    adapted: bool, whole_vectors: bool
) -> None:
    wide = build(adapted, whole_vectors=whole_vectors, qk_norm=True)
    _, exact = loss_and_gradients(wide)
    model = build(adapted, whole_vectors=whole_vectors, qk_norm=True)
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.bfloat16()
    _, plain = loss_and_gradients(model)
    with fused_blocks(model):
        _, gradients = loss_and_gradients(model)

    def error(found: dict[str, Tensor]) -> float:
        parts = [(found[n].float() - exact[n]).norm() / exact[n].norm() for n in exact]
        return float(torch.stack(parts).mean())

    assert error(gradients) < 1.2 * error(plain) < (0.15 if whole_vectors else 0.1)


def test_dropout_on_adapters_keeps_the_plain_way() -> None:
    model = Transformer.random(build(False).config, 1)
    add_lora(model, rank=2, dropout=0.5)
    with fused_blocks(model):
        assert all("forward" not in vars(block) for block in model.layers)


def test_without_gradients_they_compute_the_same() -> None:
    model = build(True, qk_norm=True)
    tokens = torch.randint(0, 97, (3, 7))
    with torch.no_grad():
        expected = model(tokens)
        with fused_blocks(model):
            torch.testing.assert_close(model(tokens), expected, rtol=1e-5, atol=1e-5)
