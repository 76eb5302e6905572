"""Keys and values in blocks, as PyTorch tensors on any device.

Letters in shapes: L layers, P blocks of the pool, S positions of a block, K key-value heads, D head
size, N tokens of one step, n sequences, b blocks of the longest of them.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor

from chatwright.errors import UsageError
from chatwright.model.config import ModelConfig
from chatwright.model.transformer import rotate

KVType = Literal["auto", "bfloat16", "float32", "int8"]
_SCALE = torch.float32


def cache_dtype(kv_dtype: str, model: torch.dtype) -> torch.dtype:
    """The type that keys and values are kept in. Raises `UsageError` for an unknown name."""
    if kv_dtype not in get_args(KVType):
        raise UsageError(
            f"kv_dtype is {kv_dtype!r}", hint=f"use one of {', '.join(get_args(KVType))}"
        )
    if kv_dtype == "auto":
        return model
    dtype: torch.dtype = getattr(torch, kv_dtype)
    return dtype


def bytes_per_block(config: ModelConfig, block_size: int, dtype: torch.dtype) -> int:
    """The memory of one block: keys and values of all layers; with int8 also their scales."""
    per_head = config.head_dim * dtype.itemsize
    if dtype == torch.int8:
        per_head += _SCALE.itemsize
    return 2 * config.n_layers * config.n_kv_heads * block_size * per_head


class PagedCache:
    """Two buffers [L, P, K, S, D]; position p of a sequence is place p mod S of one of its blocks.

    On a CPU memory is only taken from the system where a position is written, so that a large pool
    costs nothing until requests fill it. What was never written is zero, never NaN: attention reads
    past a sequence's end, with weight 0.

    As int8, each key and each value of a head is kept as integers of −127…127 times one float32
    scale, its largest magnitude over 127.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype = dtype
        self.block_size = block_size
        self.kv_heads = config.n_kv_heads
        shape = (config.n_layers, n_blocks, config.n_kv_heads, block_size, config.head_dim)
        self.keys = _zeros(shape, dtype, device)
        self.values = _zeros(shape, dtype, device)
        self.key_scales: Tensor | None = None
        self.value_scales: Tensor | None = None
        if dtype == torch.int8:
            self.key_scales = _zeros(shape[:-1], _SCALE, device)
            self.value_scales = _zeros(shape[:-1], _SCALE, device)

    @property
    def device(self) -> torch.device:
        return self.keys.device

    def places(self, blocks: Sequence[int], offsets: Sequence[int]) -> Tensor:
        """Rows [N · K] of a layer seen as [P·K·S, D]: where `write` puts N tokens."""
        block, offset = (torch.tensor(x, dtype=torch.int64) for x in (blocks, offsets))
        heads = torch.arange(self.kv_heads)
        rows = (block[:, None] * self.kv_heads + heads) * self.block_size + offset[:, None]
        return rows.view(-1).to(self.device)

    def rows(self, tables: Tensor) -> Tensor:
        """Rows [n · K · b] of a layer seen as [P·K, S·D]: `gather` reads them for tables [n, b]."""
        heads = torch.arange(self.kv_heads)
        return (tables[:, None] * self.kv_heads + heads[:, None]).view(-1).to(self.device)

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store `keys` and `values` [K, N, D] of one layer at `places`."""
        size = keys.shape[-1]
        for buffer, scales, new in (
            (self.keys, self.key_scales, keys),
            (self.values, self.value_scales, values),
        ):
            rows = new.transpose(0, 1).reshape(-1, size)
            if scales is not None:
                rows, scale = quantise(rows)
                scales[layer].view(-1).index_copy_(0, places, scale)
            buffer[layer].view(-1, size).index_copy_(0, places, rows.to(self.dtype))

    def gather(self, layer: int, rows: Tensor, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values [n, K, b · S, D] of a layer as `dtype`; `rows` are those of `rows()`."""
        shape = (n, self.kv_heads, -1, self.keys.shape[-1])
        found = []
        for buffer, scales in ((self.keys, self.key_scales), (self.values, self.value_scales)):
            flat = buffer[layer].view(-1, buffer.shape[-2] * buffer.shape[-1])
            taken = flat.index_select(0, rows).view(shape)
            if scales is not None:
                scale = scales[layer].view(-1, self.block_size).index_select(0, rows)
                taken = taken * scale.view(*taken.shape[:-1], 1)
            found.append(taken.to(dtype))
        return found[0], found[1]

    def copy(self, source: int, target: int) -> None:
        """Copy a whole block, in all layers."""
        for buffer in self._buffers():
            buffer[:, target].copy_(buffer[:, source])

    def clear(self, blocks: Sequence[int]) -> None:
        """Zero blocks."""
        index = torch.tensor(blocks, dtype=torch.int64, device=self.device)
        for buffer in self._buffers():
            buffer.index_fill_(1, index, 0)

    def turn(self, blocks: Sequence[int], cos: Tensor, sin: Tensor) -> None:
        """Turn the keys of `blocks` by the angles whose cosines and sines [D/2] are given."""
        index = torch.tensor(blocks, dtype=torch.int64, device=self.device)
        for layer in range(len(self.keys)):  # one at a time: all of them in float32 would be much
            keys = self.keys[layer].index_select(0, index).float()
            if self.key_scales is None:
                self.keys[layer].index_copy_(0, index, rotate(keys, cos, sin).to(self.dtype))
                continue
            scale = self.key_scales[layer].index_select(0, index)
            codes, scale = quantise(rotate(keys * scale[..., None], cos, sin))
            self.keys[layer].index_copy_(0, index, codes)
            self.key_scales[layer].index_copy_(0, index, scale)

    def _buffers(self) -> list[Tensor]:
        all_of_them = (self.keys, self.values, self.key_scales, self.value_scales)
        return [buffer for buffer in all_of_them if buffer is not None]


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """int8 codes [..., D] and float32 scales [...]; NaN and infinity end up in the scale."""
    wide = x.float()
    scale = wide.abs().amax(-1) / 127
    divisor = scale.clamp(min=torch.finfo(_SCALE).tiny)[..., None]
    return (wide / divisor).round().nan_to_num(0).clamp(-127, 127).to(torch.int8), scale


def _zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    # `torch.zeros` would write, and so take, every page. A private anonymous mapping reads as zero
    # and takes a page when it is first written.
    size = prod(shape) * dtype.itemsize
    if sys.platform == "win32":
        pages = mmap.mmap(-1, size)
    else:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(*shape)
