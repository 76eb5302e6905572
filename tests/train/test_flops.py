"""Counted operations against PyTorch's own counter, and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from chatwright.model import ModelConfig, Transformer, add_lora
from chatwright.tokenizer import Tokenizer
from chatwright.train import flops
from chatwright.train.flops import peak_of, training_cost
from chatwright.train.packing import IGNORED, make_batch

from .conftest import tiny_model


def plain_attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Over the whole square, by products that the counter sees."""
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, dim=1) for x in (k, v))
    return torch.softmax(q @ k.transpose(2, 3), dim=-1) @ v


def counted(model: Transformer, length: int) -> int:
    tokens = torch.arange(length)[None] + 1
    with FlopCounterMode(display=False) as counter:
        hidden = model.hidden(tokens, attention=plain_attention)
        F.cross_entropy(F.linear(hidden[0], model.head_weight), tokens[0]).backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("trained", ["all", "adapters", "queries", "last layer", "head norm"])
def test_as_many_operations_as_pytorch_counts(
    tokenizer: Tokenizer, trained: str, tied: bool
) -> None:
    model = tiny_model(tokenizer, tied=tied)
    if trained == "adapters":
        add_lora(model, rank=4)
    elif trained == "queries":
        add_lora(model, rank=4, targets=["q_proj"])
    elif trained != "all":
        model.requires_grad_(False)
        part = model.layers[1] if trained == "last layer" else model.norm
        part.requires_grad_(True)
    cost = training_cost(model)
    assert cost.of(24, 24, [24]) == counted(model, 24)


def test_full_training_is_six_per_parameter_and_twelve_per_pair() -> None:
    """Chowdhery et al. 2022, appendix B: 6 N + 12 · L · H · Q · T per token."""
    config = ModelConfig.from_depth(4, 1024, tied=True)
    model = Transformer.empty(config)
    cost = training_cost(model)
    matrices = sum(p.numel() for p in model.layers.parameters() if p.ndim == 2)
    per_pair = 12 * config.n_layers * config.n_heads * config.head_dim
    assert cost.of(512, 512, [512]) == 512 * (6 * (matrices + 1024 * config.width) + per_pair * 512)
    # Short sequences in one row see no other; the head computes where there is something to learn.
    assert cost.of(512, 100, [256, 256]) == (
        6 * (512 * matrices + 100 * 1024 * config.width) + per_pair * 2 * 256**2
    )
    assert training_cost(model, head=False).supervised == 0


def test_frozen_matrices_under_adapters_cost_four() -> None:
    model = Transformer.random(ModelConfig.from_depth(2, 256), seed=1)
    add_lora(model, rank=2, targets=["down_proj"])
    # Nothing before the first layer's last matrix is trained: it and all before it cost 2.
    first = sum(p.numel() for n, p in model.layers[0].named_parameters() if n.endswith("weight")
                and p.ndim == 2)  # fmt: skip
    second = sum(p.numel() for n, p in model.layers[1].named_parameters() if n.endswith("weight")
                 and p.ndim == 2)  # fmt: skip
    small = model.layers[0].mlp.down_proj
    adapters = 6 * 2 * (small.lora_A.numel() + small.lora_B.numel())
    adapters -= 2 * small.lora_A.numel()  # the first adapter's input needs no gradient
    assert training_cost(model).token == 2 * first + 4 * second + adapters


def test_a_window_bounds_the_pairs() -> None:
    config = ModelConfig.from_depth(2, 256, sliding_window=16, window_from_layer=1)
    cost = training_cost(Transformer.empty(config))
    per_pair = 12 * config.n_heads * config.head_dim
    square = cost.of(0, 0, [64])
    assert square == per_pair * (64 * 64 + 64 * 16)
    assert cost.of(0, 0, [8]) == per_pair * 2 * 64


def test_batches_are_counted_as_they_are() -> None:
    model = Transformer.empty(ModelConfig.from_depth(2, 256))
    cost = training_cost(model)
    import numpy as np

    one = np.arange(10)
    half = np.where(one % 2 == 0, one, IGNORED)
    batch = make_batch([(one, half), (one[:4], one[:4])], ["a", "b"])
    assert cost.of_batches([batch, batch]) == cost.of(28, 18, [10, 4, 10, 4])


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA H200 NVL", 835.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10G", 70.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
    ],
)
def test_a_known_gpu_has_its_makers_peak(
    name: str, tera: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_of(torch.device("cuda"), torch.bfloat16).flops == tera * 1e12


def test_an_unknown_device_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flops._measured.cache_clear()
    before = torch.get_rng_state()
    first = peak_of(torch.device("cpu"), torch.float32)
    assert 1e8 < first.flops < 1e15
    assert "measured" in first.source
    monkeypatch.setattr(torch, "mm", None)
    assert peak_of(torch.device("cpu"), torch.float32) == first
    assert torch.equal(torch.get_rng_state(), before)
    # A name that only begins like a known one is not it ("A4000" is no A40).
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA RTX A4000")
    monkeypatch.setattr(flops, "_measured", lambda *_: 1.0)
    assert peak_of(torch.device("cuda"), torch.bfloat16).flops == 1.0
