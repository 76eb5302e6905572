"""ggml's block formats as numbers.

Each block holds a fixed count of weights: small integers, a scale, and for some formats an offset.
The layouts are those of ggml (ggml-quants.c, `dequantize_row_*`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Numbers turned at a time: intermediate results stay in the processor's cache (three times faster
# than whole matrices), and torch does not wake its threads for so few.
_AT_ONCE = 32_768


def dequantise(data: Tensor, kind: str, dtype: torch.dtype) -> Tensor:
    """Weights [numbers] of type `dtype` from `data`: uint8 [bytes], whole blocks of type `kind`.

    `kind` is a type's name in `tokenizer.gguf_file.TENSOR_TYPES`. Computed in float32.
    """
    if kind in _FLOATS:
        return data.view(_FLOATS[kind]).to(dtype, copy=True)
    numbers, block_bytes, convert = _BLOCKS[kind]
    blocks = data.view(-1, block_bytes)
    weights = torch.empty(len(blocks), numbers, dtype=dtype)
    step = _AT_ONCE // numbers
    for start in range(0, len(blocks), step):
        weights[start : start + step] = convert(blocks[start : start + step]).view(-1, numbers)
    return weights.view(-1)


def _half(blocks: Tensor, start: int) -> Tensor:
    """The float16 at byte `start` of each block, as float32 [blocks, 1]."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """Low halves of all bytes, then high halves, along the last dimension; float32."""
    return torch.cat((packed & 15, packed >> 4), dim=-1).float()


def _q8_0(b: Tensor) -> Tensor:
    return b[:, 2:].view(torch.int8).float().mul_(_half(b, 0))


def _q4_0(b: Tensor) -> Tensor:
    return _nibbles(b[:, 2:]).sub_(8).mul_(_half(b, 0))


def _q4_1(b: Tensor) -> Tensor:
    return _nibbles(b[:, 4:]).mul_(_half(b, 0)).add_(_half(b, 2))


def _q4_k(b: Tensor) -> Tensor:
    """Eight groups of 32; each has a 6-bit scale and a 6-bit offset, packed into 12 bytes."""
    packed = b[:, 4:16]
    low, high, mixed = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scale = torch.cat((low & 63, (mixed & 15) | (low >> 6) << 4), dim=-1).float()
    offset = torch.cat((high & 63, (mixed >> 4) | (high >> 6) << 4), dim=-1).float()
    scale, offset = scale * _half(b, 0), offset * _half(b, 2)
    numbers = _nibbles(b[:, 16:].reshape(-1, 4, 32)).view(-1, 8, 32)
    return numbers.mul_(scale[..., None]).sub_(offset[..., None])


def _q6_k(b: Tensor) -> Tensor:
    """Sixteen groups of 16 with an 8-bit scale; four low bits and two high bits lie apart."""
    low = b[:, :128].reshape(-1, 2, 1, 64)
    low = torch.cat((low & 15, low >> 4), dim=2).view(-1, 2, 4, 32)
    high = b[:, 128:192].reshape(-1, 2, 1, 32)
    high = torch.cat([(high >> shift) & 3 for shift in (0, 2, 4, 6)], dim=2)
    numbers = (low | high << 4).view(-1, 16, 16).float().sub_(32)
    scale = b[:, 192:208].view(torch.int8).float() * _half(b, 208)
    return numbers.mul_(scale[..., None])


_FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BLOCKS: dict[str, tuple[int, int, Callable[[Tensor], Tensor]]] = {
    "Q8_0": (32, 34, _q8_0),
    "Q4_0": (32, 18, _q4_0),
    "Q4_1": (32, 20, _q4_1),
    "Q4_K": (256, 144, _q4_k),
    "Q6_K": (256, 210, _q6_k),
}
