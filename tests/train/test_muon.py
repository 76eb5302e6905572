from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chatwright.train import muon
from chatwright.train.muon import BatchedMuon, orthogonalise

SHAPES = [(8, 8), (8, 8), (16, 8), (8, 16), (8, 16), (4, 8), (1, 8), (8, 1)]
OPTIONS = {"lr": 0.05, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def steps(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for step in range(count):
        for number, weight in enumerate(weights):
            gradient = torch.randn(weight.shape, generator=generator)
            # The fourth one is not reached by the loss of the second step.
            weight.grad = None if (step, number) == (1, 3) else gradient
        optimizer.step()


@pytest.mark.parametrize("at_once", [1, 130, 1 << 24])
@pytest.mark.parametrize("options", [{}, {"nesterov": False, "momentum": 0.5}, {"ns_steps": 3}])
def test_the_batched_update_is_torchs(
    options: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit but for the order in which a batched product adds up in bfloat16."""
    monkeypatch.setattr(muon, "_ELEMENTS_AT_ONCE", at_once)
    ours, theirs = parameters(), parameters()
    steps(BatchedMuon(ours, **(OPTIONS | options)), ours, 4)
    steps(torch.optim.Muon(theirs, **(OPTIONS | options)), theirs, 4)
    for start, a, b in zip(parameters(), ours, theirs, strict=True):
        moved = (b - start).norm()
        assert moved > 0.01
        assert float((a - b).detach().norm()) <= 0.01 * float(moved.detach())


def test_state_can_go_between_torchs_and_ours() -> None:
    one, other = parameters(), parameters()
    optimizer = torch.optim.Muon(one, **OPTIONS)
    steps(optimizer, one, 2)
    ours = BatchedMuon(other, **OPTIONS)
    ours.load_state_dict(deepcopy(optimizer.state_dict()))
    for a, b in zip(one, other, strict=True):
        b.data.copy_(a.data)
    steps(optimizer, one, 1)
    steps(ours, other, 1)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 24, 8), (2, 8, 24)])
def test_singular_values_come_close_to_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    found = orthogonalise(matrices, 5)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    singular = torch.linalg.svdvals(found.float())
    # The smallest of a square matrix may be too small to be lifted in five steps.
    large = s > 0.1 * s.amax(-1, keepdim=True)
    assert singular.max() < 1.35
    assert (singular.sort(descending=True).values[large] > 0.5).all()
    wanted: Tensor = u @ v
    inside = (found.float() * wanted).sum((1, 2)) / wanted.square().sum((1, 2))
    assert (inside > 0.6).all()


def test_it_takes_no_closure() -> None:
    with pytest.raises(ValueError, match="closure"):
        BatchedMuon(parameters(), **OPTIONS).step(lambda: 0.0)
