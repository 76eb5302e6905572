from __future__ import annotations

import pytest
import torch

from chatwright.errors import TrainingError
from chatwright.model import Transformer, add_lora
from chatwright.tokenizer import Tokenizer
from chatwright.train.optim import Masters, Optimizers, finish_gradients, group_parameters

from .conftest import tiny_model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("optimizer", ["auto", "adamw", "muon"])
def test_each_parameter_is_updated_by_one_optimizer_once(
    tokenizer: Tokenizer, tied: bool, optimizer: str
) -> None:
    model = tiny_model(tokenizer, tied=tied)
    groups = group_parameters(model.named_parameters())
    optimizers = Optimizers(
        groups,
        optimizer,
        learning_rate=0.1,
        weight_decay=0.5,
        betas=(0.9, 0.95),  # type: ignore[arg-type]
    )
    updated = [
        (p, kind, group["weight_decay"])
        for kind, torch_optimizer in optimizers.torch.items()
        for group in torch_optimizer.param_groups
        for p in group["params"]
    ]
    assert sorted(id(p) for p, _, _ in updated) == sorted(id(p) for p in model.parameters())
    by_id = {id(p): (kind, decay) for p, kind, decay in updated}
    for name, parameter in model.named_parameters():
        kind, decay = by_id[id(parameter)]
        hidden = name.startswith("layers.") and parameter.ndim == 2
        assert kind == ("muon" if hidden and optimizer != "adamw" else "adamw"), name
        assert decay == (0.5 if parameter.ndim == 2 else 0.0), name


def test_adapters_go_to_adamw_and_the_frozen_to_none(model: Transformer) -> None:
    added = add_lora(model, rank=2)
    groups = group_parameters(model.named_parameters())
    assert not groups.hidden and not groups.vectors
    assert {id(p) for p in groups.other.values()} == {id(p) for p in added}
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="every parameter is frozen"):
        Optimizers(
            group_parameters(model.named_parameters()),
            "auto", learning_rate=1, weight_decay=0, betas=(0.9, 0.9),
        )  # fmt: skip


def test_muon_steps_are_orthogonal_with_the_size_of_adamw(model: Transformer) -> None:
    groups = group_parameters(model.named_parameters())
    optimizers = Optimizers(groups, "muon", learning_rate=0.1, weight_decay=0.0, betas=(0.9, 0.95))
    before = {n: p.detach().clone() for n, p in groups.hidden.items()}
    torch.manual_seed(0)
    for part in (groups.hidden, groups.other, groups.vectors):
        for p in part.values():
            p.grad = torch.randn_like(p)
    assert optimizers.step(0.5) == 0.05
    for name, parameter in groups.hidden.items():
        step = (parameter.detach() - before[name]) / 0.05
        # 0.2 · √max(rows, columns) times a matrix whose singular values are near 1.
        singular = torch.linalg.svdvals(step) / (0.2 * max(step.shape) ** 0.5)
        assert float(singular.median()) > 0.6 and float(singular.max()) < 1.5, name


def test_finish_gradients_divides_and_clips_in_one_go() -> None:
    p = torch.nn.Parameter(torch.zeros(2))
    untouched = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.tensor([30.0, 40.0])
    assert finish_gradients([p, untouched], 10.0, None) == pytest.approx(5.0)
    assert p.grad.tolist() == pytest.approx([3.0, 4.0])
    assert untouched.grad is not None and untouched.grad.tolist() == [0.0]
    p.grad = torch.tensor([30.0, 40.0])
    assert finish_gradients([p], 10.0, 1.0) == pytest.approx(5.0)
    assert p.grad.tolist() == pytest.approx([0.6, 0.8])


def test_masters_keep_what_bfloat16_would_lose() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    start = {"weight": layer.weight.detach().clone()}
    layer.to(torch.bfloat16)
    masters = Masters(layer, start)
    for _ in range(3):  # all of them are less than half of bfloat16's step at 1
        layer.weight.grad = torch.full((1, 1), 0.001, dtype=torch.bfloat16)
        masters.collect()
        assert layer.weight.grad is None
    master = masters.masters["weight"]
    assert master.grad is not None
    assert float(master.grad) == pytest.approx(0.003, rel=0.01)
    with torch.no_grad():
        master.add_(master.grad)
    masters.publish()
    assert float(master.detach()) == pytest.approx(1.003, rel=1e-4)
    assert float(layer.weight.detach()) == 1.0  # rounded: below half a step
