"""Causal attention that never crosses from one packed sequence into another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Up to this length, bfloat16 attention on a CPU goes through `_BlockAttention`: forward and
# backward took 8 to 12 µs per token and layer (SmolLM2's 9 heads of 64) where torch 2.13's flash
# kernel took 17 to 23, and its memory (the probabilities) stays small. Longer ones need the kernel.
_BLOCK_UP_TO = 1024
_BLOCK = 256
# Lengths are rounded up to a multiple of this: oneDNN compiles code for each new shape of a bf16
# product, which takes longer than the product, and keeps it. Zeros after the end change nothing,
# since no token looks ahead.
_MULTIPLE = 32


class PackedAttention:
    """An `Attention` for sequences laid end to end in one row (`Batch.lengths`).

    A loop over the sequences does no work for pairs of tokens that may not see each other, which a
    mask over the whole row would. Neighbours of equal length go together as one batch.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self._runs: list[tuple[int, int, int]] = []  # first token, sequences, length of each
        start = 0
        for length in lengths:
            if self._runs and self._runs[-1][2] == length:
                first, count, _ = self._runs[-1]
                self._runs[-1] = (first, count + 1, length)
            else:
                self._runs.append((start, 1, length))
            start += length
        self._total = start

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[0] != 1 or q.shape[2] != self._total:
            raise ValueError(f"queries of shape {tuple(q.shape)} for {self._total} packed tokens")
        outputs = [
            _join(causal(*(_split(x, first, count, length) for x in (q, k, v))))
            for first, count, length in self._runs
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


def _split(x: Tensor, first: int, count: int, length: int) -> Tensor:
    """[1, H, N, D] → [count, H, length, D]."""
    part = x[0, :, first : first + count * length]
    return part.view(part.shape[0], count, length, -1).transpose(0, 1)


def _join(x: Tensor) -> Tensor:
    """[count, H, length, D] → [1, H, count · length, D]."""
    return x.transpose(0, 1).flatten(1, 2)[None]


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of queries [B, H, T, D] to keys and values [B, K, T, D]."""
    length = q.shape[2]
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and length <= _BLOCK_UP_TO:
        return _BlockAttention.apply(q, k, v)  # type: ignore[no-any-return]
    return F.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
    )


@lru_cache(maxsize=2 * _BLOCK)
def _later(size: int) -> Tensor:
    """Minus infinity where the key comes after the query, else 0."""
    return torch.full((size, size), -math.inf, dtype=torch.bfloat16).triu_(1)


class _BlockAttention(torch.autograd.Function):
    """Plain attention in blocks of queries, each against the keys up to its end.

    Query heads that share a key head are stacked, so that each block is one matrix product per key
    head. Softmax accumulates in float32 inside its kernel. The probabilities are kept for the
    backward pass: 2 bytes per head and pair of tokens.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows, heads, true_length, size = q.shape
        shared = heads // k.shape[1]
        scale = 1 / math.sqrt(size)
        more = -true_length % _MULTIPLE
        length = true_length + more
        q, k, v = (F.pad(x, (0, 0, 0, more)) if more else x for x in (q, k, v))
        grouped = (q * scale).reshape(rows * k.shape[1], shared, length, size)
        keys, values = (x.reshape(-1, length, size) for x in (k, v))
        out = torch.empty_like(grouped)
        kept = []
        for start in range(0, length, _BLOCK):
            end = min(length, start + _BLOCK)
            query = grouped[:, :, start:end].reshape(-1, shared * (end - start), size)
            scores = torch.bmm(query, keys[:, :end].transpose(1, 2))
            scores.view(-1, shared, end - start, end)[..., start:].add_(_later(end - start))
            weights = torch.softmax(scores, dim=-1)
            kept.append(weights)
            mixed = torch.bmm(weights, values[:, :end])
            out[:, :, start:end] = mixed.view(-1, shared, end - start, size)
        ctx.save_for_backward(grouped, keys, values, *kept)
        ctx.scale = scale
        return out.view(rows, heads, length, size)[:, :, :true_length]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grouped, keys, values, *kept = ctx.saved_tensors
        groups, shared, length, size = grouped.shape
        rows, _, true_length, _ = grad.shape
        if length > true_length:
            grad = F.pad(grad, (0, 0, 0, length - true_length))
        grads = grad.reshape(groups, shared, length, size)
        grad_q = torch.empty_like(grouped)
        # Keys and values gather from several blocks: in float32, so that the sum is not rounded.
        several = len(kept) > 1
        grad_k = grad_v = torch.zeros(keys.shape if several else 0, dtype=torch.float32)
        if several:
            grad_v = torch.zeros_like(grad_k)
        for weights, start in zip(kept, range(0, length, _BLOCK), strict=True):
            end = min(length, start + _BLOCK)
            query = grouped[:, :, start:end].reshape(groups, -1, size)
            out = grads[:, :, start:end].reshape(groups, -1, size)
            part_v = torch.bmm(weights.transpose(1, 2), out)
            grad_weights = torch.bmm(out, values[:, :end].transpose(1, 2))
            scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_q[:, :, start:end] = torch.bmm(scores, keys[:, :end]).view(
                groups, shared, end - start, size
            )
            part_k = torch.bmm(scores.transpose(1, 2), query)
            if several:
                grad_v[:, :end] += part_v
                grad_k[:, :end] += part_k
            else:
                grad_v, grad_k = part_v, part_k
        shape = (rows, groups // rows, length, size)
        return (
            grad_q.mul_(ctx.scale).view(rows, -1, length, size)[:, :, :true_length],
            grad_k.to(keys.dtype).view(shape)[:, :, :true_length],
            grad_v.to(values.dtype).view(shape)[:, :, :true_length],
        )
