"""Weights set to zero: by magnitude, or by magnitude times the size of what they multiply (Wanda).

Wanda is Sun et al. 2024 ("A simple and effective pruning approach for large language models"): a
weight's score is |W| · ‖x‖, the norm of its input over calibration text, and weights compete within
an output row. Magnitude's compete within a matrix. The zeros stay in a dense file: it gets smaller
only when compressed; 2:4 is the pattern that some GPUs multiply at twice the speed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from chatwright.compress.layerwise import linears, walk_blocks
from chatwright.errors import UsageError
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress

PruneCriterion = Literal["magnitude", "wanda"]
Masks = dict[str, Tensor]
"""By parameter name: bool of the parameter's shape, True where the weight stays."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """At most `kept` of every `of` neighbouring weights of a row are not zero."""

    kept: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """`2:4`. Raises `UsageError` for anything that is not such a pattern."""
        found = re.fullmatch(r"(\d+):(\d+)", text.strip())
        if found is None or not 0 < int(found[1]) < int(found[2]):
            raise UsageError(
                f"{text!r} is not a pattern", where="--pattern", hint="2:4 keeps 2 weights of 4"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.kept}:{self.of}"


def lowest(scores: Tensor, share: float) -> Tensor:
    """True but for the lowest `share` of each row of `scores` [rows, columns].

    The number is exact, round(share · columns), and among equal scores the first go: the same
    input gives the same mask.
    """
    removed = round(share * scores.shape[-1])
    if removed == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    # Selection and not sorting: a whole matrix is one row, and this is four times as quick.
    bound = scores.kthvalue(removed, dim=-1, keepdim=True).values
    below, equal = scores < bound, scores == bound
    room = removed - below.sum(-1, keepdim=True)
    return ~(below | (equal & (equal.cumsum(-1) <= room)))


def pattern_mask(scores: Tensor, pattern: Pattern) -> Tensor:
    """True for the `kept` highest of every `of` neighbours in a row of `scores` [rows, columns]."""
    rows, columns = scores.shape
    if columns % pattern.of:
        raise UsageError(
            f"rows of {columns} weights do not divide into groups of {pattern.of}",
            where=f"--pattern {pattern}",
        )
    groups = scores.reshape(-1, pattern.of)
    return lowest(groups, 1 - pattern.kept / pattern.of).view(rows, columns)


def prune(
    model: Transformer,
    *,
    sparsity: float = 0.5,
    pattern: Pattern | None = None,
    criterion: PruneCriterion = "wanda",
    calibration: Sequence[Sequence[int]] = (),
    progress: Progress | None = None,
) -> Masks:
    """Zero weights of all projections in place, and return the masks that keep them zero.

    A share `sparsity` of each matrix (magnitude) or of each of its rows (Wanda), exactly; or, with
    a `pattern`, what it says. `calibration` are rows of token ids (Wanda only): each layer's inputs
    are measured behind the layers that are pruned already. Embedding, head and norms stay whole.
    """
    if pattern is None and not 0 < sparsity < 1:
        raise UsageError(f"{sparsity:g} is not between 0 and 1", where="--sparsity")
    masks: Masks = {}
    if criterion == "magnitude":
        for name, module in linears(model.layers).items():
            scores = module.weight.detach().float().abs()
            masks[f"layers.{name}.weight"] = _mask(scores, sparsity, pattern, by_row=False)
        apply_masks(model, masks)
        return masks
    for run in walk_blocks(model, calibration, progress):
        projections = linears(run.block)
        squares = {name: _SquareSum(m) for name, m in projections.items()}
        run.observe({projections[name]: found.add for name, found in squares.items()})
        for name, module in projections.items():
            scores = module.weight.detach().float().abs() * squares[name].total.sqrt()
            mask = _mask(scores, sparsity, pattern, by_row=True)
            masks[f"layers.{run.index}.{name}.weight"] = mask
            with torch.no_grad():
                module.weight.mul_(mask)
    return masks


class _SquareSum:
    """Σ x² over all tokens, by input: float32 [inputs]."""

    def __init__(self, module: nn.Linear) -> None:
        self.total = torch.zeros(module.in_features, device=module.weight.device)

    def add(self, x: Tensor) -> None:
        self.total += x.float().square().sum(0)


def _mask(scores: Tensor, sparsity: float, pattern: Pattern | None, *, by_row: bool) -> Tensor:
    if pattern is not None:
        return pattern_mask(scores, pattern)
    if by_row:
        return lowest(scores, sparsity)
    return lowest(scores.reshape(1, -1), sparsity).view(scores.shape)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero in place what the masks leave out."""
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)


def zero_masks(model: Transformer) -> Masks:
    """Masks of the zeros that the projections have now (for a checkpoint that was pruned once)."""
    found = {
        f"layers.{name}.weight": module.weight.detach() != 0
        for name, module in linears(model.layers).items()
    }
    return {name: mask for name, mask in found.items() if not bool(mask.all())}


def sparsity_of(model: Transformer) -> float:
    """The share of zeros among the projections' weights."""
    weights = [module.weight.detach() for module in linears(model.layers).values()]
    zeros = sum(int((w == 0).sum()) for w in weights)
    return zeros / max(1, sum(w.numel() for w in weights))
