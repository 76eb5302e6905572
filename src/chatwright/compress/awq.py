"""AWQ: weights that meet large inputs are scaled up before rounding, and the inputs down.

Lin et al. 2024 (AWQ: Activation-aware Weight Quantization for On-Device LLM Compression and
Acceleration). The inverse scale goes into what makes the inputs: the norm before q, k, v and gate,
up; v's rows for o; up's rows for down. So the float model computes what it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chatwright.compress.grids import BLOCK, Grid, output_error, round_to_nearest
from chatwright.model.transformer import Block

_STEPS = 20


@dataclass(slots=True)
class Inputs:
    """What some matrices see on calibration text.

    `moment` [C, C] is the inputs' second moment, `size` [C] their mean absolute value.
    """

    moment: Tensor
    size: Tensor

    def divide(self, scale: Tensor) -> None:
        """The inputs are divided by `scale` [C] from now on."""
        self.moment /= scale[:, None] * scale
        self.size /= scale


def fold_scales(block: Block, inputs: dict[str, Inputs], grid: Grid) -> dict[str, float]:
    """Scale a layer's matrices, in place, for rounding to `grid`; returns each search's exponent.

    `inputs` has those of `self_attn.q_proj`, `self_attn.o_proj`, `mlp.gate_proj` and
    `mlp.down_proj`; they are changed with the layer.
    """
    attention, mlp = block.self_attn, block.mlp
    chosen = {}
    for name, norm, users in (
        (
            "self_attn.q_proj",
            block.input_layernorm,
            (attention.q_proj, attention.k_proj, attention.v_proj),
        ),
        ("mlp.gate_proj", block.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
    ):
        scale, chosen[name] = _search([user.weight for user in users], inputs[name], grid)
        with torch.no_grad():
            norm.weight.div_(scale)
            for user in users:
                user.weight.mul_(scale)
        inputs[name].divide(scale)
    heads = attention.v_proj.out_features // attention.head_dim
    for name, maker, user, shared in (
        ("self_attn.o_proj", attention.v_proj, attention.o_proj, heads),
        ("mlp.down_proj", mlp.up_proj, mlp.down_proj, None),
    ):
        scale, chosen[name] = _search([user.weight], inputs[name], grid, shared, attention.head_dim)
        _fold_into(maker, user, scale, shared, attention.head_dim)
        inputs[name].divide(scale)
    return chosen


@torch.no_grad()
def _fold_into(
    maker: nn.Linear, user: nn.Linear, scale: Tensor, heads: int | None, head_dim: int
) -> None:
    user.weight.mul_(scale)
    own = scale if heads is None else scale.view(heads, -1, head_dim)[:, 0].reshape(-1)
    maker.weight.div_(own[:, None])
    if maker.bias is not None:
        maker.bias.div_(own)


@torch.no_grad()
def _search(
    matrices: Sequence[Tensor],
    inputs: Inputs,
    grid: Grid,
    heads: int | None = None,
    head_dim: int = 1,
) -> tuple[Tensor, float]:
    """The scale [C] with the least output error over `matrices`, and its exponent α: size^α.

    With `heads`, the inputs are attention's: query heads that share a value head share its scale.
    α = 0, which changes nothing, is among those tried.
    """
    size = inputs.size
    if len(size) % BLOCK:  # no whole blocks: these matrices are not rounded
        return torch.ones_like(size), 0.0
    if heads is not None:
        shared = size.view(heads, -1, head_dim).mean(dim=1, keepdim=True)
        size = shared.expand(heads, len(size) // heads // head_dim, head_dim).reshape(-1)
    size = size.clamp_min(1e-4 * float(size.mean()) + 1e-30)
    best, best_error, best_exponent = torch.ones_like(size), float("inf"), 0.0
    for step in range(_STEPS):
        scale = size ** (step / _STEPS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        moment = inputs.moment / (scale[:, None] * scale)
        error = 0.0
        for weights in matrices:
            scaled = weights * scale
            rounded = round_to_nearest(scaled, grid, search=False).values()
            error += output_error(rounded - scaled, moment)
        if error < best_error:
            best, best_error, best_exponent = scale, error, step / _STEPS
    return best, best_exponent
