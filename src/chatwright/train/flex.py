"""Attention of packed sequences on a GPU: flash attention by sequence, or FlexAttention by blocks.

Both compute what the loop of `PackedAttention` does, without one kernel call per sequence. Flash
attention (Dao 2023) of sequences laid end to end takes 16-bit numbers and a window; everything else
(float32, attention sinks, older GPUs) goes through FlexAttention (Dong et al. 2024), compiled at
the first call. Blocks that hold no visible pair are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

_BLOCK = 128  # what FlexAttention's kernels divide queries and keys into
_FLASH_CAPABILITY = (8, 0)
_FLASH_HEAD = 256


class Segments:
    """Sequences of `lengths` tokens end to end on one device, for every layer of one batch."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        ends = torch.tensor(lengths, dtype=torch.int64).cumsum(0)
        self.total = int(ends[-1])
        self.longest = max(lengths)
        self._device = device
        self._bounds = torch.cat([ends.new_zeros(1), ends])
        self._masks: dict[tuple[int | None, int], Any] = {}
        self._on_device: Tensor | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, window: int | None, sinks: int) -> Tensor:
        """Queries [1, H, N, D] to keys and values [1, K, N, D]."""
        if sinks == 0 and can_flash(q):
            return self._flash(q, k, v, window)
        return _flex()(  # type: ignore[no-any-return]
            q, k, v, block_mask=self.block_mask(window, sinks), enable_gqa=q.shape[1] != k.shape[1]
        )

    def _flash(self, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        if self._on_device is None:
            self._on_device = self._bounds.to(self._device, torch.int32)
        bounds = self._on_device
        # A window here counts the tokens to the left, ours the token itself too.
        left = -1 if window is None or window >= self.longest else window - 1
        queries, keys, values = (x[0].transpose(0, 1) for x in (q, k, v))
        mixed = varlen_attn(
            queries,
            keys,
            values,
            bounds,
            bounds,
            self.longest,
            self.longest,
            window_size=(left, 0),
            enable_gqa=q.shape[1] != k.shape[1],
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
            begin = start[query]
            seen = (key <= query) & (key >= begin)
            if window is not None:
                near = query - key < window
                if sinks:
                    near |= key - begin < sinks
                seen &= near
            return seen

        return sees


def can_flash(q: Tensor) -> bool:
    """Whether flash attention takes such queries."""
    return (
        q.is_cuda
        and q.dtype in (torch.bfloat16, torch.float16)
        and q.shape[-1] <= _FLASH_HEAD
        and torch.cuda.get_device_capability(q.device) >= _FLASH_CAPABILITY
    )


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
