"""Causal attention that never crosses from one packed sequence into another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.model.config import ModelConfig
from chatwright.model.transformer import visible
from chatwright.train import native
from chatwright.train.flex import Segments

# Up to this length, bfloat16 attention on a CPU goes through `_BlockAttention`: forward and
# backward took 8 to 12 µs per token and layer (SmolLM2's 9 heads of 64) where torch 2.13's flash
# kernel took 17 to 23, and its memory (the probabilities) stays small. Longer ones need the kernel.
_BLOCK_UP_TO = 1024
_BLOCK = 128
# Lengths are rounded up to a multiple of this: oneDNN compiles code for each new shape of a bf16
# product, which takes longer than the product, and keeps it. Zeros after the end change nothing,
# since no token looks ahead.
_MULTIPLE = 32

Runs = list[tuple[int, int, int]]
"""Neighbours of equal length: the first token, how many sequences, and the length of each."""


class PackedAttention:
    """An `Attention` for sequences laid end to end in one row (`Batch.lengths`).

    On a CPU, a loop over the sequences does no work for pairs of tokens that may not see each
    other, which a mask over the whole row would. Neighbours of equal length go together as one
    batch. On a GPU one kernel takes them all (`train/flex.py`).

    Keeps to the windows and sinks of `config`; without it, everything before a token is seen (and
    a model with a window refuses longer sequences).
    """

    def __init__(self, lengths: Sequence[int], config: ModelConfig | None = None) -> None:
        self.keeps_window = config is not None
        self._config = config
        self._lengths = tuple(lengths)
        self._runs: Runs = []
        start = 0
        for length in lengths:
            if self._runs and self._runs[-1][2] == length:
                first, count, _ = self._runs[-1]
                self._runs[-1] = (first, count + 1, length)
            else:
                self._runs.append((start, 1, length))
            start += length
        self._total = start
        self._segments: Segments | None = None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[0] != 1 or q.shape[2] != self._total:
            raise ValueError(f"queries of shape {tuple(q.shape)} for {self._total} packed tokens")
        window, sinks = None, 0
        if self._config is not None:
            window, sinks = self._config.window_of(layer), self._config.attention_sinks
        if q.is_cuda:
            if self._segments is None:
                self._segments = Segments(self._lengths, q.device)
            return self._segments.attend(q, k, v, window, sinks)
        longest = max(self._lengths)
        if _by_blocks(q, longest) and (window is None or window >= longest):
            return _BlockAttention.apply(q, k, v, self._runs)  # type: ignore[no-any-return]
        outputs = []
        for first, count, length in self._runs:
            one_q, one_k, one_v = (_split(x, first, count, length) for x in (q, k, v))
            outputs.append(_join(causal(one_q, one_k, one_v, window, sinks)))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


def _split(x: Tensor, first: int, count: int, length: int) -> Tensor:
    """[1, H, N, D] → [count, H, length, D]."""
    part = x[0, :, first : first + count * length]
    return part.view(part.shape[0], count, length, -1).transpose(0, 1)


def _join(x: Tensor) -> Tensor:
    """[count, H, length, D] → [1, H, count · length, D]."""
    return x.transpose(0, 1).flatten(1, 2)[None]


def causal(q: Tensor, k: Tensor, v: Tensor, window: int | None = None, sinks: int = 0) -> Tensor:
    """Causal attention of queries [B, H, T, D] to keys and values [B, K, T, D].

    With `window`, to the last `window` tokens (itself included) and the first `sinks`.
    """
    length = q.shape[2]
    mask: Tensor | None = None
    if window is not None and window < length:
        mask = visible(torch.arange(length, device=q.device), length, window, sinks)
    elif _by_blocks(q, length):
        return _BlockAttention.apply(q, k, v)  # type: ignore[no-any-return]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    )


def _by_blocks(q: Tensor, length: int) -> bool:
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and length <= _BLOCK_UP_TO


@lru_cache(maxsize=2 * _BLOCK)
def _later(size: int) -> Tensor:
    """Minus infinity where the key comes after the query, else 0."""
    return torch.full((size, size), -math.inf, dtype=torch.bfloat16).triu_(1)


class _BlockAttention(torch.autograd.Function):
    """Plain attention in blocks of queries, each against the keys up to its end.

    Query heads that share a key head are stacked, so that each block is one matrix product per key
    head. Softmax accumulates in float32 inside its kernel. The probabilities are kept for the
    backward pass: 2 bytes per head and pair of tokens.

    `runs` are the packed sequences of one row (None: plain rows). All in one function, since
    autograd would add up a gradient as long as the whole row for each of them.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, runs: Runs | None = None) -> Tensor:
        ctx.runs, ctx.counts = runs, []
        if runs is None:
            out, kept = _attend(q, k, v)
            ctx.save_for_backward(*kept)
            return out
        out, kept = torch.empty_like(q), []
        for run in runs:
            one_q, one_k, one_v = (_split(x, *run) for x in (q, k, v))
            part, found = _attend(one_q, one_k, one_v)
            _split(out, *run).copy_(part)
            kept += found
            ctx.counts.append(len(found))
        ctx.save_for_backward(*kept)
        ctx.shape = k.shape
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        kept = ctx.saved_tensors
        if ctx.runs is None:
            return *_attend_backward(grad, kept), None
        # Laid out as the projections' outputs are: tokens first.
        grad_q, grad_k, grad_v = (
            grad.new_empty(1, shape[2], shape[1], shape[3]).transpose(1, 2)
            for shape in (grad.shape, ctx.shape, ctx.shape)
        )
        for run, count in zip(ctx.runs, ctx.counts, strict=True):
            found = _attend_backward(_split(grad, *run), kept[:count])
            kept = kept[count:]
            for whole, part in zip((grad_q, grad_k, grad_v), found, strict=True):
                _split(whole, *run).copy_(part)
        return grad_q, grad_k, grad_v, None


def _attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output, and what the backward pass needs: queries, keys, values, and probabilities."""
    rows, heads, true_length, size = q.shape
    shared = heads // k.shape[1]
    more = -true_length % _MULTIPLE
    length = true_length + more
    q, k, v = (F.pad(x, (0, 0, 0, more)) if more else x for x in (q, k, v))
    grouped = (q * _scale(size)).reshape(rows * k.shape[1], shared, length, size)
    keys, values = (x.reshape(-1, length, size) for x in (k, v))
    out = torch.empty_like(grouped)
    kept = []
    for start in range(0, length, _BLOCK):
        end = min(length, start + _BLOCK)
        query = grouped[:, :, start:end].reshape(-1, shared * (end - start), size)
        scores = torch.bmm(query, keys[:, :end].transpose(1, 2))
        if native.ready(scores):
            weights = native.causal_softmax(scores, end - start)
        else:
            scores.view(-1, shared, end - start, end)[..., start:].add_(_later(end - start))
            weights = torch.softmax(scores, dim=-1)
        kept.append(weights)
        mixed = torch.bmm(weights, values[:, :end])
        out[:, :, start:end] = mixed.view(-1, shared, end - start, size)
    return out.view(rows, heads, length, size)[:, :, :true_length], [grouped, keys, values, *kept]


def _attend_backward(grad: Tensor, saved: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values, given the output's."""
    grouped, keys, values, *kept = saved
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
        if native.ready(grad_weights):
            scores = native.causal_softmax_backward(grad_weights, weights, end - start)
        else:
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
        grad_q.mul_(_scale(size)).view(rows, -1, length, size)[:, :, :true_length],
        grad_k.to(keys.dtype).view(shape)[:, :, :true_length],
        grad_v.to(values.dtype).view(shape)[:, :, :true_length],
    )


def _scale(size: int) -> float:
    return 1 / math.sqrt(size)
