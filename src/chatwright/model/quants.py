"""ggml's block formats as numbers, and numbers as ggml's blocks.

Each block holds a fixed count of weights: small integers, a scale, and for some formats an offset.
The layouts are those of ggml (ggml-quants.c, `dequantize_row_*` and `quantize_row_*_ref`).
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


def quantise(weights: Tensor, kind: str) -> Tensor:
    """The bytes, uint8, that ggml's reference makes of `weights` (any float type, whole blocks).

    `kind` is F32, F16, BF16, Q8_0, Q4_0 or Q4_1. Each block is rounded to the grid between its
    extremes; numbers that came out of such a block keep their values. Raises `ValueError` for a
    number that `kind` cannot hold.
    """
    numbers = weights.detach().reshape(-1)
    if kind in _FLOATS:
        data = numbers.to(_FLOATS[kind]).contiguous()
        if not data.isfinite().all():
            raise ValueError(f"a number is not finite, or too large for {kind}")
        return data.view(torch.uint8)
    per_block, block_bytes, _ = _BLOCKS[kind]
    fit = _FITS[kind]
    rows = numbers.view(-1, per_block)
    data = torch.empty(len(rows), block_bytes, dtype=torch.uint8)
    step = _AT_ONCE // per_block
    for start in range(0, len(rows), step):
        part = rows[start : start + step].float()
        data[start : start + step] = pack_blocks(kind, *fit(part))
    return data.view(-1)


def pack_blocks(kind: str, codes: Tensor, scale: Tensor, low: Tensor | None = None) -> Tensor:
    """Blocks of bytes, uint8 [blocks, bytes], of Q8_0, Q4_0 or Q4_1.

    `codes` [blocks, 32] are the small integers as they stand in the block: −127…127 for Q8_0, 0…15
    otherwise (Q4_0 means 8 less). `scale` and `low` [blocks, 1] are stored as float16; `low`, the
    number that code 0 stands for, is Q4_1's alone. Raises `ValueError` for a scale that float16
    cannot hold.
    """
    ends = [scale] if low is None else [scale, low]
    halves = [end.to(torch.float16).view(-1, 1) for end in ends]
    if not all(half.isfinite().all() for half in halves):
        raise ValueError(f"a number is not finite, or too large for {kind}")
    if kind == "Q8_0":
        small = codes.to(torch.int8).contiguous().view(torch.uint8)
    else:
        small = codes.to(torch.uint8)
        small = small[:, :16] | small[:, 16:] << 4
    return torch.cat([half.view(torch.uint8) for half in halves] + [small], dim=1)


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale; 0 where that is infinite: float16 makes 0 of so small a scale."""
    inverse = 1 / scale
    return torch.where(inverse.isinf(), 0.0, inverse)


def _fit_q8_0(x: Tensor) -> tuple[Tensor, Tensor]:
    scale = x.abs().amax(dim=1, keepdim=True) / 127
    scaled = x * _inverse(scale)
    size = scaled.abs()
    whole = size.floor()  # halves away from zero, as C's roundf: torch rounds them to even
    return scaled.sign() * (whole + (2 * (size - whole)).floor()), scale


def _fit_q4_0(x: Tensor) -> tuple[Tensor, Tensor]:
    largest = x.gather(1, x.abs().argmax(dim=1, keepdim=True))  # with its sign: it becomes code 0
    scale = largest / -8
    return (x * _inverse(scale) + 8.5).trunc().clamp(0, 15), scale


def _fit_q4_1(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = x.aminmax(dim=1, keepdim=True)
    scale = (high - low) / 15
    return ((x - low) * _inverse(scale) + 0.5).trunc().clamp(0, 15), scale, low


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
_FITS: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "Q8_0": _fit_q8_0,
    "Q4_0": _fit_q4_0,
    "Q4_1": _fit_q4_1,
}
