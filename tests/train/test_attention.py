"""Attention of packed sequences: the model's own windows, and what a GPU would be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chatwright.errors import ModelError
from chatwright.model import ModelConfig, Transformer
from chatwright.model.transformer import causal_attention
from chatwright.train.attention import PackedAttention, causal
from chatwright.train.flex import Segments, can_flash
from chatwright.train.packing import Batch, make_batch

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=4)
WINDOWS = st.sampled_from([None, 1, 3, 100, 128, 129, 260])


def expected(lengths: Sequence[int], window: int | None, sinks: int) -> Tensor:
    """Who sees whom, by the definition: bool [N, N]."""
    number = np.repeat(np.arange(len(lengths)), lengths)
    within = np.concatenate([np.arange(n) for n in lengths])
    query, key = within[:, None], within[None]
    seen = (number[:, None] == number[None]) & (key <= query)
    if window is not None:
        seen &= (query - key < window) | (key < sinks)
    return torch.from_numpy(seen)


@settings(deadline=None, max_examples=25)
@given(LENGTHS, WINDOWS, st.sampled_from([0, 2, 130]))
def test_blocks_are_exact(lengths: list[int], window: int | None, sinks: int) -> None:
    """No visible pair in a block left out, no hidden one in a block called full."""
    if window is None:
        sinks = 0
    seen = expected(lengths, window, sinks)
    mask = Segments(lengths, CPU).block_mask(window, sinks)
    size, total = mask.BLOCK_SIZE[0], len(seen)
    count = -(-total // size)
    padded = torch.zeros(count * size, count * size, dtype=torch.bool)
    padded[:total, :total] = seen
    blocks = padded.view(count, size, count, size).transpose(1, 2)
    some, full = blocks.any(-1).any(-1), blocks.all(-1).all(-1)
    found = {}
    for name, number, index in (
        ("partial", mask.kv_num_blocks, mask.kv_indices),
        ("full", mask.full_kv_num_blocks, mask.full_kv_indices),
    ):
        found[name] = torch.zeros_like(some)
        for row in range(count):
            found[name][row, index[0, 0, row, : number[0, 0, row]].long()] = True
    assert not (found["partial"] & found["full"]).any()
    assert torch.equal(found["partial"] | found["full"], some)
    assert not (found["full"] & ~full).any()
    at = torch.arange(total)
    zero = torch.zeros((), dtype=torch.int64)
    assert torch.equal(mask.mask_mod(zero, zero, at[:, None], at[None]), seen)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (5, 0), (40, 3)])
def test_flex_attention_computes_what_the_loop_does(window: int | None, sinks: int) -> None:
    torch.manual_seed(1)
    lengths = [70, 3, 150, 3, 1]
    total = sum(lengths)
    q, k, v = (
        torch.randn(1, 4, total, 16),
        torch.randn(1, 2, total, 16),
        torch.randn(1, 2, total, 16),
    )
    assert not can_flash(q)
    mixed = Segments(lengths, CPU).attend(q, k, v, window, sinks)
    config = windowed(window, sinks).config if window is not None else None
    loop = PackedAttention(lengths, config)(0, q, k, v)
    torch.testing.assert_close(mixed, loop, rtol=1e-5, atol=1e-5)


def windowed(window: int, sinks: int = 0, **options: Any) -> Transformer:
    config = ModelConfig(
        vocab_size=50, width=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, mlp_width=32,
        context=64, sliding_window=window, attention_sinks=sinks, **options,
    )  # fmt: skip
    return Transformer.random(config, 3)


def batch_of(lengths: Sequence[int]) -> Batch:
    random = np.random.default_rng(0)
    tokens = [random.integers(0, 50, n + 1) for n in lengths]
    return make_batch([(t[:-1], t[1:]) for t in tokens], ["a"])


@pytest.mark.parametrize("sinks", [0, 2])
def test_packed_sequences_keep_to_the_models_window(sinks: int) -> None:
    model, lengths = windowed(4, sinks), [3, 20, 20, 9]
    batch = batch_of(lengths)
    packed = model.hidden(batch.tokens, batch.positions, PackedAttention(lengths, model.config))
    start = 0
    for length in lengths:
        alone = model.hidden(batch.tokens[:, start : start + length])
        torch.testing.assert_close(packed[:, start : start + length], alone, rtol=1e-5, atol=1e-5)
        start += length


def test_layers_below_the_window_see_everything() -> None:
    config = windowed(4, window_from_layer=1, qk_norm=True).config
    torch.manual_seed(0)
    q = torch.randn(1, 2, 10, 8)
    k, v = torch.randn(1, 1, 10, 8), torch.randn(1, 1, 10, 8)
    attention = PackedAttention([10], config)
    torch.testing.assert_close(attention(0, q, k, v), causal_attention(0, q, k, v))
    torch.testing.assert_close(attention(1, q, k, v), causal_attention(1, q, k, v, window=4))


def test_without_the_models_shape_a_window_is_refused() -> None:
    model, batch = windowed(4), batch_of([6])
    with pytest.raises(ModelError, match="sees 4 tokens back"):
        model.hidden(batch.tokens, batch.positions, PackedAttention([6]))
    model.hidden(batch.tokens[:, :4], batch.positions[:, :4], PackedAttention([4]))


@pytest.mark.parametrize("lengths", [[70, 300, 300, 1], [40]])
def test_packed_bfloat16_is_each_sequence_alone(lengths: list[int]) -> None:
    """Outputs, and the gradients of queries, keys and values."""
    torch.manual_seed(0)
    total = sum(lengths)
    inputs = [torch.randn(1, total, heads, 16).bfloat16().transpose(1, 2) for heads in (4, 2, 2)]
    grad = torch.randn(1, 4, total, 16).bfloat16()
    packed = [x.clone().requires_grad_() for x in inputs]
    mixed = PackedAttention(lengths)(0, *packed)
    mixed.backward(grad)
    start = 0
    for length in lengths:
        part = slice(start, start + length)
        alone = [x[:, :, part].clone().requires_grad_() for x in inputs]
        expected = causal(*alone)
        expected.backward(grad[:, :, part])
        torch.testing.assert_close(mixed[:, :, part], expected, rtol=0.02, atol=0.02)
        for one, whole in zip(alone, packed, strict=True):
            assert one.grad is not None
            assert whole.grad is not None
            torch.testing.assert_close(whole.grad[:, :, part], one.grad, rtol=0.02, atol=0.02)
        start += length
