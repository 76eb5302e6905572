"""Attention of packed sequences on a GPU: flash attention by sequence, or FlexAttention by blocks.

Both compute what the loop of `PackedAttention` does, without one kernel call per sequence. Flash
attention (Dao 2023) of sequences laid end to end takes 16-bit numbers and a window; rows of one
length, as pretraining has them, go to cuDNN's kernels where these are faster. Everything else
(float32, attention sinks, older GPUs) goes through FlexAttention (Dong et al. 2024), compiled at
the first call. Blocks that hold no visible pair are never looked at.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 128  # what FlexAttention's kernels divide queries and keys into
_FLASH_CAPABILITY = (8, 0)
_FLASH_HEAD = 256
# cuDNN's attention is made for Hopper and later; it plans anew for each shape, which takes long.
_CUDNN_CAPABILITY = (9, 0)
_CUDNN_HEAD = 128
_FLEX_HEAD = 16  # FlexAttention's kernels take no smaller heads


class Segments:
    """Sequences of `lengths` tokens end to end on one device, for every layer of one batch."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        ends = torch.tensor(lengths, dtype=torch.int64).cumsum(0)
        self.total = int(ends[-1])
        self.longest = max(lengths)
        # How many rows of one length they are; 0 where they are not, or of no round length: such
        # shapes come once, and cuDNN's plan for one takes longer than what it saves.
        equal = self.longest == min(lengths) and self.longest % _BLOCK == 0
        self._rows = len(lengths) if equal else 0
        self._device = device
        self._bounds = torch.cat([ends.new_zeros(1), ends])
        self._masks: dict[tuple[int | None, int], Any] = {}
        self._on_device: Tensor | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, window: int | None, sinks: int) -> Tensor:
        """Queries [1, H, N, D] to keys and values [1, K, N, D]."""
        if sinks == 0 and can_flash(q):
            if self._rows and (window is None or window >= self.longest) and _prefers_cudnn(q):
                return self._by_rows(q, k, v)
            return self._flash(q, k, v, window)
        shared = q.shape[1] != k.shape[1]
        if self.total <= _BLOCK and q.is_cuda:
            # A single block: nothing can be left out, and FlexAttention would choose its kernels
            # for decoding, which torch 2.11 cannot compile for any length.
            dense = self._dense_mask(window, sinks)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=dense, enable_gqa=shared)
        size = q.shape[-1]
        mask = self.block_mask(window, sinks)
        if q.is_cuda and size < _FLEX_HEAD:  # zeros change no score
            q, k, v = (F.pad(x, (0, _FLEX_HEAD - size)) for x in (q, k, v))
        mixed: Tensor = _flex()(
            q,
            k,
            v,
            block_mask=mask,
            scale=1 / math.sqrt(size),
            enable_gqa=shared,
        )
        return mixed[..., :size]

    def _dense_mask(self, window: int | None, sinks: int) -> Tensor:
        """Which query sees which key: bool [N, N]."""
        if (window, sinks) not in self._masks:
            at = torch.arange(self.total, device=self._device)
            none = at.new_zeros(())
            self._masks[window, sinks] = self._mask(window, sinks)(none, none, at[:, None], at)
        mask: Tensor = self._masks[window, sinks]
        return mask

    def _by_rows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Sequences of equal length as rows of a batch."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        queries, keys, values = (
            x[0].transpose(0, 1).unflatten(0, (self._rows, self.longest)).transpose(1, 2)
            for x in (q, k, v)
        )
        order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        with sdpa_kernel(order, set_priority=True):
            mixed = F.scaled_dot_product_attention(
                queries, keys, values, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
            )
        return mixed.transpose(1, 2).flatten(0, 1).transpose(0, 1)[None]

    def _flash(self, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        if self._on_device is None:
            self._on_device = self._bounds.to(self._device, torch.int32)
        bounds = self._on_device
        # A window here counts the tokens to the left, ours the token itself too.
        left = -1 if window is None or window >= self.longest else window - 1
        queries, keys, values = (x[0].transpose(0, 1) for x in (q, k, v))
        # Since torch 2.12 shared heads must be asked for; before, they were simply taken.
        asks = "enable_gqa" in _varlen_options()
        options: dict[str, Any] = {"enable_gqa": q.shape[1] != k.shape[1]} if asks else {}
        mixed = varlen_attn(
            queries,
            keys,
            values,
            bounds,
            bounds,
            self.longest,
            self.longest,
            window_size=(left, 0),
            **options,
        )
        assert isinstance(mixed, Tensor)
        return mixed.transpose(0, 1)[None]

    def block_mask(self, window: int | None, sinks: int = 0) -> Any:
        """FlexAttention's `BlockMask`: which blocks of keys each block of queries looks at.

        Made from the sequences' bounds, O(blocks²), where `create_block_mask` would look at every
        pair of tokens.
        """
        from torch.nn.attention.flex_attention import BlockMask

        key = (window, sinks)
        if key not in self._masks:
            some, full = self._blocks(window, sinks)
            counts, blocks, full_counts, full_blocks = (
                x.to(self._device) for x in (*_listed(some & ~full), *_listed(full))
            )
            self._masks[key] = BlockMask.from_kv_blocks(
                counts,
                blocks,
                full_counts,
                full_blocks,
                BLOCK_SIZE=_BLOCK,
                mask_mod=self._mask(window, sinks),
                seq_lengths=(self.total, self.total),
            )
        return self._masks[key]

    def _blocks(self, window: int | None, sinks: int) -> tuple[Tensor, Tensor]:
        """Blocks of queries and keys with a visible pair, and those with visible pairs only.

        Both bool [blocks, blocks]. A query at q sees its sequence from `first(q)` to q, and
        `first` never falls from one query to the next, so that the ends of a block decide.
        """
        count = -(-self.total // _BLOCK)
        starts = torch.arange(count) * _BLOCK
        ends = (starts + _BLOCK).clamp(max=self.total) - 1
        columns = torch.arange(count)
        first, last = self._first(starts, window), self._first(ends, window)
        some = (columns >= first[:, None] // _BLOCK) & (columns <= ends[:, None] // _BLOCK)
        # The last block may be short; what lies behind it is no pair.
        full = (starts >= last[:, None]) & (ends <= starts[:, None]) & (columns < count - 1)
        full[-1] = False
        if sinks and window is not None:
            begin = self._bounds[torch.searchsorted(self._bounds, starts, right=True) - 1]
            for row in range(count):
                seen = (self._bounds >= begin[row]) & (self._bounds <= ends[row])
                for start in self._bounds[seen].tolist():
                    stop = min(start + sinks - 1, int(ends[row]))
                    some[row, start // _BLOCK : stop // _BLOCK + 1] = True
        return some, full

    def _first(self, queries: Tensor, window: int | None) -> Tensor:
        """The first key that each query sees, sinks aside."""
        begin = self._bounds[torch.searchsorted(self._bounds, queries, right=True) - 1]
        return begin if window is None else torch.maximum(begin, queries - window + 1)

    def _mask(self, window: int | None, sinks: int) -> Callable[..., Tensor]:
        """Whether the query at one index sees the key at another."""
        # Queries and keys are computed in whole blocks: what lies behind the end is a sequence too.
        padded = -(-self.total // _BLOCK) * _BLOCK
        at = torch.arange(padded)
        number = torch.searchsorted(self._bounds, at, right=True) - 1
        start = self._bounds[number].to(self._device)

        def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
            # Nothing in place: FlexAttention's compiler takes no mutations.
            begin = start[query]
            seen = (key <= query) & (key >= begin)
            if window is not None:
                near = query - key < window
                if sinks:
                    near = near | (key - begin < sinks)
                seen = seen & near
            return seen

        return sees


def can_flash(q: Tensor) -> bool:
    """Whether flash attention takes such queries."""
    return (
        q.is_cuda
        and q.dtype in (torch.bfloat16, torch.float16)
        and q.shape[-1] <= _FLASH_HEAD
        and q.shape[-1] % 8 == 0
        and torch.cuda.get_device_capability(q.device) >= _FLASH_CAPABILITY
        and "window_size" in _varlen_options()
    )


def _prefers_cudnn(q: Tensor) -> bool:
    """Whether cuDNN's attention takes such queries and is likely to be the faster one.

    It has no deterministic backward pass in torch; flash attention has.
    """
    return (
        q.shape[-1] <= _CUDNN_HEAD
        and torch.cuda.get_device_capability(q.device) >= _CUDNN_CAPABILITY
        and not torch.are_deterministic_algorithms_enabled()
    )


@cache
def _varlen_options() -> frozenset[str]:
    """What torch's attention of sequences end to end can be told; nothing where there is none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks each row has, and their numbers, those in front: int32 [1, 1, rows (, n)]."""
    order = torch.argsort(blocks.int(), dim=1, descending=True, stable=True)
    return blocks.sum(1).int()[None, None], order.int()[None, None]


@cache
def _flex() -> Callable[..., Any]:
    """FlexAttention, compiled where there is a GPU: uncompiled it makes every score."""
    from torch.nn.attention.flex_attention import flex_attention

    if torch.cuda.is_available():
        return torch.compile(flex_attention, dynamic=True)
    return flex_attention
