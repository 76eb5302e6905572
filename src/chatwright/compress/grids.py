"""Grids that numbers are rounded to: a scale and an offset a group, as ggml's blocks hold them.

A number is `scale · q + low` with a small integer q. Scale and offset are float16 in the file, so
they are rounded to it before the integers are chosen. How far the rounded weights are from the true
ones is measured as the layer feels it: an error δ of a group's weights costs δᵀHδ, where H is the
second moment of the inputs on calibration text (its diagonal, or none at all where there is none).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from chatwright.model.quants import dequantise, pack_blocks

BlockKind = Literal["Q8_0", "Q4_0", "Q4_1"]
BLOCK = 32
# The smallest and largest integer of each kind, and what is added to it in the block's bytes.
_RANGES = {"Q8_0": (-127, 127, 0), "Q4_0": (-8, 7, 8), "Q4_1": (0, 15, 0)}
# Ranges tried, as parts of the whole one: a smaller range clips its ends and is finer in between.
_PARTS = {
    "Q8_0": (1.0, 0.97, 0.94, 0.9),
    "Q4_0": (1.0, 1.06, 0.94, 0.88, 0.82, 0.76, 0.7),
    "Q4_1": (1.0, 1.05, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7),
}
# Beyond this a group's whole second moment costs more than it tells: its diagonal stands for it.
_WHOLE_MOMENT = 256
_AT_ONCE = 1 << 18  # numbers, so that what is tried stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Grid:
    """A kind of block, and how many inputs share a scale: a multiple of 32, or None for all."""

    kind: BlockKind
    group: int | None = BLOCK

    @property
    def lowest(self) -> int:
        return _RANGES[self.kind][0]

    @property
    def highest(self) -> int:
        return _RANGES[self.kind][1]

    @property
    def offset(self) -> bool:
        """Whether a group has an offset besides its scale."""
        return self.kind == "Q4_1"

    def groups(self, columns: int) -> Iterator[slice]:
        """The groups of a row; the last may be shorter where `group` does not divide it."""
        size = self.group or columns
        for start in range(0, columns, size):
            yield slice(start, min(start + size, columns))


@dataclass(frozen=True, slots=True)
class Rounded:
    """A matrix on a grid: `codes` [R, C] are the integers q, `scale` and `low` [R, C / 32]."""

    kind: BlockKind
    codes: Tensor
    scale: Tensor
    low: Tensor | None

    def blocks(self) -> Tensor:
        """The bytes that GGUF stores, uint8 [R, bytes of a row]. Raises `ValueError`."""
        added = _RANGES[self.kind][2]
        low = None if self.low is None else self.low.reshape(-1, 1)
        packed = pack_blocks(
            self.kind, self.codes.reshape(-1, BLOCK) + added, self.scale.reshape(-1, 1), low
        )
        return packed.view(self.codes.shape[0], -1)

    def values(self) -> Tensor:
        """The numbers that the bytes stand for, float32 [R, C]."""
        numbers = dequantise(self.blocks().view(-1), self.kind, torch.float32)
        return numbers.view(self.codes.shape)


def nearest(weights: Tensor, scale: Tensor, low: Tensor, grid: Grid) -> Tensor:
    """The integers whose values are nearest to `weights`, as floats."""
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    return ((weights - low) * inverse).round().clamp(grid.lowest, grid.highest)


def fit(
    weights: Tensor, grid: Grid, moment: Tensor | None = None, *, search: bool = True
) -> tuple[Tensor, Tensor]:
    """Scale and offset [R, 1] of one group's `weights` [R, G], representable in float16.

    `moment` is the inputs' second moment, [G, G] or its diagonal [G]. Several ranges are tried;
    for each, the best scale and offset for the integers that it gives are worked out (least
    squares) and rounded to float16, and the one with the least error is kept. Weights that lie on
    such a grid already keep it. Without `search` the grid goes from the least to the largest.
    """
    scale, low = _whole_range(weights, grid)
    best_scale, best_low = _half(scale), _half(low)
    if not search:
        return best_scale, best_low
    codes = nearest(weights, best_scale, best_low, grid)
    best = _error(weights - codes * best_scale - best_low, moment)
    middle = low + scale * ((grid.lowest + grid.highest) / 2) if grid.offset else low
    signs = (1.0, -1.0) if grid.kind == "Q4_0" else (1.0,)
    for part in (sign * part for part in _PARTS[grid.kind] for sign in signs):
        tried = scale * part
        start = middle - tried * ((grid.lowest + grid.highest) / 2) if grid.offset else low
        codes = nearest(weights, tried, start, grid)
        tried, start = _least_squares(weights, codes, moment, grid.offset)
        tried, start = _half(tried), _half(start)
        codes = nearest(weights, tried, start, grid)
        error = _error(weights - codes * tried - start, moment)
        better = error < best  # never where the fit gave no number
        best = torch.where(better, error, best)
        best_scale = torch.where(better, tried, best_scale)
        best_low = torch.where(better, start, best_low)
    return best_scale, best_low


def _all_alike(weights: Tensor, grid: Grid, size: int, search: bool) -> Rounded:
    """Groups that nothing tells apart, many at a time: few large operations in place of many."""
    rows = weights.shape[0]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for own in weights.view(-1, size).split(max(1, _AT_ONCE // size)):
        scale, low = fit(own, grid, search=search)
        found.append((nearest(own, scale, low, grid), scale, low))
    codes, scale, low = (torch.cat(part) for part in zip(*found, strict=True))
    scales, lows = list(scale.view(rows, -1).split(1, 1)), list(low.view(rows, -1).split(1, 1))
    return on_grid(codes.view(weights.shape), scales, lows, grid)


def round_to_nearest(
    weights: Tensor, grid: Grid, moment: Tensor | None = None, *, search: bool = True
) -> Rounded:
    """`weights` [R, C] float32 on the grid, each group by itself.

    `moment` [C, C], where given, decides between scales; see `fit`.
    """
    size = grid.group or weights.shape[1]
    if moment is None and weights.shape[1] % size == 0:
        return _all_alike(weights.contiguous(), grid, size, search)
    codes = torch.empty_like(weights)
    scales, lows = [], []
    for part in grid.groups(weights.shape[1]):
        own = weights[:, part]
        scale, low = fit(own, grid, moment_of(moment, part), search=search)
        codes[:, part] = nearest(own, scale, low, grid)
        scales.append(scale)
        lows.append(low)
    return on_grid(codes, scales, lows, grid)


def on_grid(codes: Tensor, scales: Sequence[Tensor], lows: Sequence[Tensor], grid: Grid) -> Rounded:
    """Integers [R, C] and each group's scale and offset [R, 1], with one of these per block."""
    sizes = [(part.stop - part.start) // BLOCK for part in grid.groups(codes.shape[1])]
    scale = torch.cat([s.expand(-1, n) for s, n in zip(scales, sizes, strict=True)], dim=1)
    low = torch.cat([x.expand(-1, n) for x, n in zip(lows, sizes, strict=True)], dim=1)
    return Rounded(grid.kind, codes, scale, low if grid.offset else None)


def moment_of(moment: Tensor | None, part: slice) -> Tensor | None:
    """A group's part of the inputs' second moment: [G, G], its diagonal for a large group."""
    if moment is None:
        return None
    own = moment[part, part]
    return own if own.shape[0] <= _WHOLE_MOMENT else own.diagonal()


def output_error(difference: Tensor, moment: Tensor) -> float:
    """Mean over inputs of the squared output error, summed over outputs: tr(ΔHΔᵀ)."""
    return float(((difference @ moment) * difference).sum(dtype=torch.float64))


def _half(x: Tensor) -> Tensor:
    return x.to(torch.float16).float()


def _whole_range(weights: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The grid from end to end, as ggml's reference lays it."""
    if grid.offset:
        low, high = weights.aminmax(dim=1, keepdim=True)
        return (high - low) / (grid.highest - grid.lowest), low
    largest = weights.gather(1, weights.abs().argmax(dim=1, keepdim=True))
    if grid.kind == "Q4_0":
        return largest / grid.lowest, torch.zeros_like(largest)
    return largest.abs() / grid.highest, torch.zeros_like(largest)


def _error(difference: Tensor, moment: Tensor | None) -> Tensor:
    return _product(difference, difference, moment)


def _product(a: Tensor, b: Tensor, moment: Tensor | None) -> Tensor:
    """aᵀHb of each row, [R, 1]."""
    if moment is None:
        weighted = a
    elif moment.ndim == 1:
        weighted = a * moment
    else:
        weighted = a @ moment
    return (weighted * b).sum(dim=1, keepdim=True)


def _least_squares(
    weights: Tensor, codes: Tensor, moment: Tensor | None, offset: bool
) -> tuple[Tensor, Tensor]:
    """Scale and offset [R, 1] that bring `codes` nearest to `weights`."""
    qq, qx = _product(codes, codes, moment), _product(codes, weights, moment)
    if not offset:
        return qx / qq, torch.zeros_like(qx)
    ones = torch.ones_like(codes)
    q1, x1, n = (_product(a, ones, moment) for a in (codes, weights, ones))
    determinant = qq * n - q1 * q1
    scale = (qx * n - x1 * q1) / determinant
    return scale, (x1 - scale * q1) / n
