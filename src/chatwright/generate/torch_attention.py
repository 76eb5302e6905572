"""Attention of one step's tokens, of many sequences, over a paged cache.

Letters in shapes: H query heads, K key-value heads, G = H/K, D head size, N tokens of the step, n
sequences of a group, t tokens of each, s positions that are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from chatwright.generate.runner import Run
from chatwright.generate.torch_cache import PagedCache
from chatwright.model.config import ModelConfig

# Runs of at most so many tokens (an answer's newest token, speculation) are computed together.
_FEW = 16
# Sequences computed together are padded to the longest. One joins when it has three quarters of
# its blocks, or lacks so few that another group's overhead would cost more.
_FEW_BLOCKS = 4


def grouped(runs: Sequence[Run], block_size: int) -> list[list[int]]:
    """Indices of runs that are computed together: of equally many tokens and similar lengths."""

    def n_blocks(index: int) -> int:
        return -(-(runs[index].start + len(runs[index].tokens)) // block_size)

    order = sorted(range(len(runs)), key=lambda i: (len(runs[i].tokens), -n_blocks(i), i))
    groups: list[list[int]] = []
    for index in order:
        if groups:
            first = groups[-1][0]
            same = len(runs[first].tokens) == len(runs[index].tokens) <= _FEW
            lacking = n_blocks(first) - n_blocks(index)
            if same and (lacking <= _FEW_BLOCKS or 4 * lacking <= n_blocks(first)):
                groups[-1].append(index)
                continue
        groups.append([index])
    return groups


@dataclass(frozen=True, slots=True)
class _View:
    """What a group looks at in the layers of one window; no `rows`: only its own tokens, causal."""

    rows: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class _Group:
    """`n` sequences with `t` tokens each, from token `first` of the step on."""

    first: int
    n: int
    t: int
    views: dict[int | None, _View]


class PagedAttention:
    """The attention of one step; handed to `Transformer.hidden` for all layers.

    The step's one row of N tokens holds the tokens of `groups` of runs, one run after another, then
    what it was padded with. Keys and values go into the cache, and each token attends to its own
    sequence only, within the model's window.
    """

    keeps_window = True

    def __init__(
        self,
        cache: PagedCache,
        config: ModelConfig,
        groups: Sequence[Sequence[Run]],
        dtype: torch.dtype,
    ) -> None:
        self._cache, self._config, self._dtype = cache, config, dtype
        self._windows = [config.window_of(layer) for layer in range(config.n_layers)]
        self._groups: list[_Group] = []
        size, at = cache.block_size, 0
        blocks: list[int] = []
        offsets: list[int] = []
        for runs in groups:
            t = len(runs[0].tokens)
            views = {window: self._view(runs, window) for window in set(self._windows)}
            self._groups.append(_Group(at, len(runs), t, views))
            for run in runs:
                places = range(run.start, run.start + t)
                blocks += [run.blocks[p // size] for p in places]
                offsets += [p % size for p in places]
            at += len(runs) * t
        self._total = at
        self._places = cache.places(blocks, offsets)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`q` [1, H, N, D], `k` and `v` [1, K, N, D] → [1, H, N, D]."""
        self._cache.write(layer, self._places, k[0, :, : self._total], v[0, :, : self._total])
        parts = [
            self._attend(
                layer,
                group,
                *(x[:, :, group.first : group.first + group.n * group.t] for x in (q, k, v)),
            )
            for group in self._groups
        ]
        if self._total < q.shape[2]:  # padding attends to nothing and is never looked at
            parts.append(torch.zeros_like(q[:, :, self._total :]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def _attend(self, layer: int, group: _Group, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The step's tokens of one group: `q` [1, H, n · t, D] → the same shape."""
        n, t = group.n, group.t
        view = group.views[self._windows[layer]]
        if view.rows is None:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        keys, values = self._cache.gather(layer, view.rows, n, q.dtype)
        if t > _FEW:
            return F.scaled_dot_product_attention(
                q, keys, values, attn_mask=view.mask, enable_gqa=True
            )
        # The queries that share a key head become rows of one matrix: with `enable_gqa` instead,
        # one step of 8 requests at 512 positions took 2.3 ms a layer in bfloat16 rather than 0.2.
        kv_heads, size = k.shape[1], q.shape[3]
        shared = q.shape[1] // kv_heads
        rows = q[0].reshape(kv_heads, shared, n, t, size).permute(2, 0, 1, 3, 4)
        mixed = F.scaled_dot_product_attention(
            rows.reshape(n, kv_heads, shared * t, size), keys, values, attn_mask=view.mask
        )
        mixed = mixed.view(n, kv_heads, shared, t, size).permute(1, 2, 0, 3, 4)
        return mixed.reshape(1, kv_heads * shared, n * t, size)

    def _view(self, runs: Sequence[Run], window: int | None) -> _View:
        """Which blocks these runs look at in layers with this window, and which places in them."""
        t, sinks = len(runs[0].tokens), self._config.attention_sinks
        exact = self._cache.dtype == self._dtype
        if len(runs) == 1 and runs[0].start == 0 and exact and (window is None or window >= t):
            return _View(None, None)
        size = self._cache.block_size
        wanted = [_ordinals(run.start, run.start + t, size, window, sinks) for run in runs]
        longest = max(map(len, wanted))
        tables = np.empty((len(runs), longest), dtype=np.int64)
        at = np.full((len(runs), longest, size), np.iinfo(np.int64).max // 2)
        for i, (run, ordinals) in enumerate(zip(runs, wanted, strict=True)):
            # Padded with a block of its own, not another's, whose NaN would be its trouble too.
            tables[i] = run.blocks[ordinals[0]]
            tables[i, : len(ordinals)] = np.asarray(run.blocks, dtype=np.int64)[ordinals]
            at[i, : len(ordinals)] = ordinals[:, None] * size + np.arange(size)
        keys = at.reshape(len(runs), 1, -1)
        queries = np.array([run.start for run in runs])[:, None, None] + np.arange(t)[:, None]
        seen = keys <= queries
        if window is not None:
            seen &= (keys > queries - window) | (keys < sinks)
        return _View(self._cache.rows(torch.from_numpy(tables)), self._mask(seen))

    def _mask(self, seen: NDArray[np.bool_]) -> Tensor | None:
        """Additive mask of `seen` [n, t, s], a row for each of the rows that `_attend` makes."""
        if seen.all():
            return None
        n, t, s = seen.shape
        hidden = torch.from_numpy(~seen).to(self._cache.device)[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
        mask.masked_fill_(hidden, float("-inf"))
        if t > _FEW:
            return mask
        shared = self._config.n_heads // self._config.n_kv_heads
        return mask.expand(n, shared, t, s).reshape(n, 1, shared * t, s)


def _ordinals(start: int, end: int, size: int, window: int | None, sinks: int) -> NDArray[np.int64]:
    """Which blocks of its table a run of positions `start`…`end` − 1 looks at, in order."""
    last = -(-end // size)
    if window is None:
        return np.arange(last)
    first = max(0, start - window + 1) // size
    return np.concatenate((np.arange(min(first, -(-sinks // size))), np.arange(first, last)))
