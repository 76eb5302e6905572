"""The attention of one engine step, against attention written out request by request."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from chatwright.generate.cache import KVCache, Segment, StepAttention
from chatwright.model import ModelConfig

H, K, D, C, LAYERS = 6, 2, 8, 40, 2
CONFIG = ModelConfig(
    vocab_size=8,
    width=48,
    n_layers=LAYERS,
    n_heads=H,
    n_kv_heads=K,
    head_dim=D,
    mlp_width=8,
    context=C,
)
CPU = torch.device("cpu")


def plain_attention(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The last len(q) positions' queries [n, H, D] over keys and values [T, K, D]: [n, H, D]."""
    keys = keys.double().repeat_interleave(H // K, dim=1)
    values = values.double().repeat_interleave(H // K, dim=1)
    scores = torch.einsum("nhd,thd->hnt", q.double(), keys) / D**0.5
    n, t = q.shape[0], keys.shape[0]
    allowed = torch.arange(t) <= torch.arange(t - n, t)[:, None]
    weights = torch.softmax(scores.masked_fill(~allowed, float("-inf")), -1)
    return torch.einsum("hnt,thd->nhd", weights, values).to(q.dtype)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["f32", "bf16"]
)
def test_steps_of_mixed_requests_equal_plain_attention(
    dtype: torch.dtype, tolerance: float
) -> None:
    """Prompts in chunks, answers of different lengths, both in one step, in two layers."""
    generator = torch.Generator().manual_seed(3)
    cache = KVCache(CONFIG, 5, C, dtype, CPU)
    history: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
    lengths = [0] * 5
    steps: list[tuple[list[int], list[tuple[int, int]]]] = [
        # slots that take one token of an answer; prompt chunks as (slot, how many)
        ([], [(0, 5)]),
        ([0], [(1, 3), (2, 10)]),
        ([0, 1], [(2, 7), (3, 1)]),
        ([0, 1, 2], []),
        ([0, 1, 2, 3], [(4, 12)]),
        ([0, 1, 2, 3], [(4, 9)]),
        ([0], []),
        ([0, 1, 2, 3, 4], []),
    ]
    for answering, chunks in steps:
        lengths = [n + (slot in answering) for slot, n in enumerate(lengths)]
        segments = [Segment(slot, lengths[slot], size) for slot, size in chunks]
        step = StepAttention(cache, [lengths[slot] for slot in answering], segments)
        runs = [*((slot, 1) for slot in answering), *chunks]
        total = sum(size for _, size in runs)
        for layer in range(LAYERS):
            q = torch.randn(total, H, D, generator=generator).to(dtype)
            k = torch.randn(total, K, D, generator=generator).to(dtype)
            v = torch.randn(total, K, D, generator=generator).to(dtype)
            ours = step(layer, *(x.transpose(0, 1)[None] for x in (q, k, v)))
            assert ours.shape == (1, H, total, D)
            at = 0
            for slot, size in runs:
                own = history.setdefault((layer, slot), [])
                own += [(k[i], v[i]) for i in range(at, at + size)]
                expected = plain_attention(
                    q[at : at + size],
                    torch.stack([key for key, _ in own]),
                    torch.stack([value for _, value in own]),
                )
                got = ours[0, :, at : at + size].transpose(0, 1)
                torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
                at += size
        for slot, size in chunks:
            lengths[slot] += size


def test_move_swap_and_clear_touch_only_what_they_name() -> None:
    cache = KVCache(CONFIG, 3, C, torch.float32, CPU)
    for slot in range(3):
        cache.keys[:, slot] = slot + 1
        cache.values[:, slot] = 10 * (slot + 1)
    cache.swap(0, 2, 4)
    assert cache.keys[:, 0, :, :4].unique().tolist() == [3]
    assert cache.values[:, 2, :, :4].unique().tolist() == [10]
    assert cache.keys[:, 0, :, 4:].unique().tolist() == [1]
    cache.move(2, 1, 4)
    assert cache.values[:, 1, :, :4].unique().tolist() == [10]
    assert cache.values[:, 1, :, 4:].unique().tolist() == [20]
    cache.clear(1, 6)
    assert cache.keys[:, 1, :, :6].abs().sum() == 0
    assert cache.keys[:, 1, :, 6:].unique().tolist() == [2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_taken_only_where_tokens_are() -> None:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    config = CONFIG.model_copy(update={"n_layers": 16, "head_dim": 64, "context": 32768})
    before = resident()
    cache = KVCache(config, 8, 32768, torch.bfloat16, CPU)
    size = 2 * cache.keys.numel() * cache.keys.itemsize
    assert size > 2**30
    # Reading far past what was written is what attention over requests of different lengths does.
    cache.keys[:, :, :, :10] = 1
    assert float(cache.keys[0, :, :, :1000].sum()) == 8 * K * 10 * 64
    assert resident() - before < size / 20


def test_padding_after_the_segments_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, heads, 12, D, generator=generator) for heads in (H, K, K))
    plain, padded = (KVCache(CONFIG, 2, C, torch.float32, torch.device("cpu")) for _ in range(2))
    segments = [Segment(0, 0, 5), Segment(1, 0, 4)]
    alone = StepAttention(plain, [], segments)(0, q[:, :, :9], k[:, :, :9], v[:, :, :9])
    longer = StepAttention(padded, [], segments)(0, q, k, v)
    assert torch.equal(longer[:, :, :9], alone)
    assert not longer[:, :, 9:].any()
    assert torch.equal(plain.keys, padded.keys)
    assert torch.equal(plain.values, padded.values)
