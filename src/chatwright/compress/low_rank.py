"""Matrices replaced by products of two thin ones: singular value decomposition, plain or weighted.

Plain: the best approximation of W itself (Eckart and Young 1936). Weighted: of what W makes of the
calibration text, ‖X Wᵀ − X W′ᵀ‖, by decomposing W L, where L Lᵀ = Xᵀ X (Cholesky), as in SVD-LLM
(Wang et al. 2025). A product of rank r costs r · (inputs + outputs): it pays below
inputs · outputs / (inputs + outputs) only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from chatwright.compress.layerwise import walk_blocks
from chatwright.errors import UsageError
from chatwright.model.compact import refuse_compact, replace_module
from chatwright.model.low_rank import LowRankLinear
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Added to the Gram matrix's diagonal, relative to its mean: inputs that never vary make it
# singular, and the factor must be inverted.
_DAMPING = 1e-6


def factorise(
    weight: Tensor,
    rank: int | None = None,
    *,
    energy: float | None = None,
    gram: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`weight` [outputs, inputs] ≈ outer [outputs, r] · inner [r, inputs]; float32.

    r is `rank`, or the smallest with the share `energy` of the squared singular values. With `gram`
    = Xᵀ X [inputs, inputs] the error of the outputs X Wᵀ is smallest, without it that of W. The
    singular values are shared out between the factors. Computed in float64.
    """
    wide = weight.detach().double().cpu()
    factor = None
    if gram is not None:
        factor = _cholesky(gram.double().cpu())
        wide = wide @ factor
    u, s, vt = torch.linalg.svd(wide, full_matrices=False)
    if rank is None:
        rank = rank_for(s, 1.0 if energy is None else energy)
    root = s[:rank].sqrt()
    outer, inner = u[:, :rank] * root, root[:, None] * vt[:rank]
    if factor is not None:  # inner · L⁻¹
        inner = torch.linalg.solve_triangular(factor, inner, upper=False, left=False)
    return outer.float().contiguous(), inner.float().contiguous()


def rank_for(singular_values: Tensor, energy: float) -> int:
    """The smallest rank that keeps the share `energy` of the squared singular values."""
    squares = singular_values.double().square()
    kept = squares.cumsum(0) / squares.sum().clamp_min(1e-300)
    return min(int((kept < energy - 1e-12).sum()) + 1, len(squares))


def factorise_model(
    model: Transformer,
    *,
    rank: int | None = None,
    keep: float | None = None,
    energy: float | None = None,
    calibration: Sequence[Sequence[int]] = (),
    targets: Iterable[str] = TARGETS,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Factorise `targets` of every layer in place where that saves weights; returns the ranks.

    How far: `rank` of each, or a share `keep` of each one's weights, or the share `energy` of its
    squared singular values. Weighted by `calibration` (rows of token ids) where there are any, each
    layer's inputs as the layers before it, factorised, make them. A matrix whose product would be
    larger than itself stays. Raises `UsageError` where nothing would become smaller.
    """
    refuse_compact(model, "matrices")
    wanted = tuple(targets)
    if unknown := sorted(set(wanted) - set(TARGETS)):
        raise UsageError(
            f"no projection is called {unknown[0]}", hint=f"there are {', '.join(TARGETS)}"
        )
    if sum(x is not None for x in (rank, keep, energy)) != 1:
        raise UsageError("give one of rank, keep and energy", where="--rank, --keep, --energy")
    for name, value in (("--keep", keep), ("--energy", energy)):
        if value is not None and not 0 < value <= 1:
            raise UsageError(f"{value:g} is not above 0 and at most 1", where=name)
    ranks: dict[str, int] = {}

    def replace(at: str, module: nn.Linear, gram: Tensor | None) -> None:
        outputs, inputs = module.weight.shape
        own = rank
        if keep is not None:
            own = max(1, int(keep * inputs * outputs / (inputs + outputs)))
        if own is not None and own * (inputs + outputs) >= inputs * outputs:
            return
        outer, inner = factorise(module.weight, own, energy=energy, gram=gram)
        if len(inner) * (inputs + outputs) >= inputs * outputs:
            return
        outer, inner = (f.to(module.weight.device, module.weight.dtype) for f in (outer, inner))
        new = LowRankLinear.of(inner, outer, module.bias)
        replace_module(model, at, new.train(module.training))
        ranks[at] = len(inner)

    if not calibration:
        for name, module in list(model.layers.named_modules()):
            if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in wanted:
                replace(f"layers.{name}", module, None)
    else:
        for run in walk_blocks(model, calibration, progress):
            modules = {
                name: module
                for name, module in run.block.named_modules()
                if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in wanted
            }
            grams = {name: _Gram(module) for name, module in modules.items()}
            run.observe({modules[name]: gram.add for name, gram in grams.items()})
            for name, module in modules.items():
                replace(f"layers.{run.index}.{name}", module, grams[name].total)
    if not ranks:
        raise UsageError(
            "no matrix would become smaller: a product of two pays only below rank "
            "inputs · outputs / (inputs + outputs)",
            where="--rank, --keep, --energy",
            hint="ask for less",
        )
    return ranks


class _Gram:
    """Xᵀ X over all tokens: float32 [inputs, inputs]."""

    def __init__(self, module: nn.Linear) -> None:
        size = module.in_features
        self.total = torch.zeros(size, size, device=module.weight.device)

    def add(self, x: Tensor) -> None:
        wide = x.float()
        self.total.addmm_(wide.T, wide)


def _cholesky(gram: Tensor) -> Tensor:
    """L, lower triangular, with L Lᵀ = `gram` and a little on its diagonal, as much as it takes."""
    mean = gram.diagonal().mean().clamp_min(1e-30)
    damping = _DAMPING
    while True:
        damped = gram + damping * mean * torch.eye(len(gram), dtype=gram.dtype)
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not int(failed):
            return factor
        damping *= 10
