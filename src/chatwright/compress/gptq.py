"""GPTQ: round a matrix column by column, and let what is left make good for each error.

Frantar et al. 2023 (GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers). Scales are float16 in the file, so every column is rounded with the rounded scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from chatwright.compress.grids import Grid, Rounded, fit, moment_of, nearest, on_grid
from chatwright.errors import ModelError

# Columns whose corrections are applied at once to all columns after them.
_AT_ONCE = 128


def gptq(
    weights: Tensor,
    moment: Tensor,
    grid: Grid,
    *,
    damping: float = 0.01,
    order: bool = False,
) -> Rounded:
    """`weights` [R, C] float32 on the grid, with the least error in the outputs that GPTQ finds.

    `moment` [C, C] is the second moment of the inputs on calibration text, the Hessian of the
    output error up to a factor; `damping`, a part of its mean diagonal, is added to the diagonal.
    A group's scale is fitted to its weights as the corrections so far left them. With `order` the
    inputs that matter most are rounded first; as a group's inputs are then no longer together, all
    scales are fitted beforehand. Inputs that were never anything but 0 are rounded to nearest.
    Raises `ModelError` for a moment that is not finite.
    """
    columns = weights.shape[1]
    hessian = moment.double().clone()
    if not hessian.isfinite().all():
        raise ModelError(
            "the calibration text gives inputs that are not finite",
            hint="check that the model answers sensibly; try bfloat16 weights as float32",
        )
    diagonal = hessian.diagonal()
    dead = diagonal <= 0
    hessian[dead, :], hessian[:, dead] = 0, 0
    alive = diagonal[~dead]
    mean = float(alive.mean()) if len(alive) else 1.0
    diagonal += damping * mean
    diagonal[dead] = mean

    permutation = (
        torch.argsort(diagonal, descending=True, stable=True) if order else torch.arange(columns)
    )
    upper = _inverse_root(hessian[permutation][:, permutation]).float()
    parts = list(grid.groups(columns))
    group_of = torch.cat([torch.full((p.stop - p.start,), i) for i, p in enumerate(parts)])
    if order:
        fitted = [fit(weights[:, part], grid, moment_of(moment, part)) for part in parts]
    else:
        fitted = []

    left = weights[:, permutation].clone()
    codes = torch.empty_like(left)
    for start, end in _stretches(parts):
        errors = torch.zeros(left.shape[0], end - start)
        for i in range(start, end):
            group = int(group_of[permutation[i]])
            if group == len(fitted):  # at its first column: all its columns are corrected so far
                part = parts[group]
                fitted.append(fit(left[:, part], grid, moment_of(moment, part)))
            scale, low = fitted[group]
            column = left[:, i : i + 1]
            codes[:, i : i + 1] = nearest(column, scale, low, grid)
            error = (column - codes[:, i : i + 1] * scale - low) / upper[i, i]
            left[:, i + 1 : end] -= error @ upper[i : i + 1, i + 1 : end]
            errors[:, i - start] = error[:, 0]
        left[:, end:] -= errors @ upper[start:end, end:]
    codes = codes[:, torch.argsort(permutation)]
    return on_grid(codes, [scale for scale, _ in fitted], [low for _, low in fitted], grid)


def _stretches(parts: list[slice]) -> Iterator[tuple[int, int]]:
    """Runs of at most `_AT_ONCE` columns; a group that ends within one does not begin before it."""
    start = 0
    for part in parts:
        if part.stop - start > _AT_ONCE and part.start > start:
            yield start, part.start
            start = part.start
        while part.stop - start > _AT_ONCE:
            yield start, start + _AT_ONCE
            start += _AT_ONCE
    yield start, parts[-1].stop


def _inverse_root(hessian: Tensor) -> Tensor:
    """The upper triangular U with UᵀU = H⁻¹, whose rows say how to make good for an error."""
    eye = torch.eye(len(hessian), dtype=hessian.dtype)
    for attempt in range(8):
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            inverse = torch.cholesky_inverse(lower)
            upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not failed:
                return cast(Tensor, upper)
        # Nearly singular: few calibration tokens for many inputs.
        hessian = hessian + eye * hessian.diagonal().mean() * 10.0 ** (attempt - 6)
    raise ModelError(
        "the inputs on the calibration text say too little about this matrix",
        hint="give more calibration text, or a larger damping",
    )
