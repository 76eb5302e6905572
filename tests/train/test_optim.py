from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from chatwright.errors import TrainingError
from chatwright.model import Transformer, add_lora
from chatwright.records import Document
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings, train
from chatwright.train.lamb import Lamb
from chatwright.train.optim import (
    Groups,
    Masters,
    Optimizers,
    finish_gradients,
    group_parameters,
)

from .conftest import tiny_model

ALL = ("auto", "adamw", "muon", "sgd", "rmsprop", "adagrad", "radam", "lamb")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("optimizer", ALL)
def test_each_parameter_is_updated_by_one_optimizer_once(
    tokenizer: Tokenizer, tied: bool, optimizer: Any
) -> None:
    model = tiny_model(tokenizer, tied=tied)
    groups = group_parameters(model.named_parameters())
    optimizers = Optimizers(
        groups, optimizer, learning_rate=0.1, weight_decay=0.5, betas=(0.9, 0.95)
    )
    updated = [
        (p, kind, group["weight_decay"] + group.get("decoupled", 0.0))
        for kind, torch_optimizer in optimizers.torch.items()
        for group in torch_optimizer.param_groups
        for p in group["params"]
    ]
    assert sorted(id(p) for p, _, _ in updated) == sorted(id(p) for p in model.parameters())
    by_id = {id(p): (kind, decay) for p, kind, decay in updated}
    muon = optimizer in ("muon", "auto")
    for name, parameter in model.named_parameters():
        kind, decay = by_id[id(parameter)]
        hidden = name.startswith("layers.") and parameter.ndim == 2
        assert kind == ("muon" if hidden and muon else "adamw" if muon else optimizer), name
        assert decay == (0.5 if parameter.ndim == 2 else 0.0), name


# -- against formulas in plain Python --------------------------------------------------------------

Numbers = list[float]
RATE, DECAY, BETAS, STEPS = 0.05, 0.1, (0.9, 0.95), 9


def sgd(p: Numbers, gradients: list[Numbers], decay: float, nesterov: bool) -> Numbers:
    velocity = [0.0] * len(p)
    for g in gradients:
        velocity = [0.9 * v + x for v, x in zip(velocity, g, strict=True)]
        step = [x + 0.9 * v for v, x in zip(velocity, g, strict=True)] if nesterov else velocity
        p = [x * (1 - RATE * decay) - RATE * u for x, u in zip(p, step, strict=True)]
    return p


def rmsprop(p: Numbers, gradients: list[Numbers], decay: float) -> Numbers:
    square = [0.0] * len(p)
    for g in gradients:
        square = [0.95 * s + 0.05 * x * x for s, x in zip(square, g, strict=True)]
        p = [
            x * (1 - RATE * decay) - RATE * y / (math.sqrt(s) + 1e-8)
            for x, y, s in zip(p, g, square, strict=True)
        ]
    return p


def adagrad(p: Numbers, gradients: list[Numbers], decay: float) -> Numbers:
    square = [0.0] * len(p)
    for g in gradients:
        square = [s + x * x for s, x in zip(square, g, strict=True)]
        p = [
            x * (1 - RATE * decay) - RATE * y / (math.sqrt(s) + 1e-10)
            for x, y, s in zip(p, g, square, strict=True)
        ]
    return p


def moments(p: Numbers, gradients: list[Numbers]) -> list[tuple[int, Numbers, Numbers]]:
    """Adam's bias-corrected first moment and uncorrected second one after each step."""
    m, v, found = [0.0] * len(p), [0.0] * len(p), []
    for t, g in enumerate(gradients, 1):
        m = [0.9 * a + 0.1 * x for a, x in zip(m, g, strict=True)]
        v = [0.95 * a + 0.05 * x * x for a, x in zip(v, g, strict=True)]
        found.append((t, [a / (1 - 0.9**t) for a in m], v))
    return found


def adamw(p: Numbers, gradients: list[Numbers], decay: float) -> Numbers:
    for t, m, v in moments(p, gradients):
        roots = [math.sqrt(a / (1 - 0.95**t)) + 1e-8 for a in v]
        p = [x * (1 - RATE * decay) - RATE * a / r for x, a, r in zip(p, m, roots, strict=True)]
    return p


def radam(p: Numbers, gradients: list[Numbers], decay: float) -> Numbers:
    """Liu et al. 2020, algorithm 2; torch rectifies from ρ > 5 on, as the authors' code does."""
    longest = 2 / (1 - 0.95) - 1
    for t, m, v in moments(p, gradients):
        rho = longest - 2 * t * 0.95**t / (1 - 0.95**t)
        factors = [1.0] * len(p)
        if rho > 5:
            top = (rho - 4) * (rho - 2) * longest
            rectify = math.sqrt(top / ((longest - 4) * (longest - 2) * rho))
            factors = [rectify * math.sqrt(1 - 0.95**t) / (math.sqrt(a) + 1e-8) for a in v]
        p = [x * (1 - RATE * decay) - RATE * a * f for x, a, f in zip(p, m, factors, strict=True)]
    return p


def lamb(p: Numbers, gradients: list[Numbers], decay: float) -> Numbers:
    """You et al. 2020, algorithm 2; for vectors (without decay) the ratio is 1."""
    for t, m, v in moments(p, gradients):
        u = [
            a / (math.sqrt(b / (1 - 0.95**t)) + 1e-6) + decay * x
            for a, b, x in zip(m, v, p, strict=True)
        ]
        ratio = 1.0
        if decay:
            ratio = math.sqrt(sum(x * x for x in p)) / math.sqrt(sum(x * x for x in u))
        p = [x - RATE * ratio * y for x, y in zip(p, u, strict=True)]
    return p


FORMULAS: dict[str, tuple[str, dict[str, Any], Callable[..., Numbers]]] = {
    "sgd": ("sgd", {}, partial(sgd, nesterov=False)),
    "nesterov": ("sgd", {"nesterov": True}, partial(sgd, nesterov=True)),
    "rmsprop": ("rmsprop", {}, rmsprop),
    "adagrad": ("adagrad", {}, adagrad),
    "adamw": ("adamw", {}, adamw),
    "radam": ("radam", {}, radam),
    "lamb": ("lamb", {}, lamb),
}


def two_parameters() -> tuple[nn.Parameter, nn.Parameter, list[tuple[Tensor, Tensor]]]:
    """A matrix, a vector, and gradients for several steps."""
    generator = torch.Generator().manual_seed(7)
    matrix, vector = torch.randn(2, 3, generator=generator), torch.randn(4, generator=generator)
    gradients = [
        (torch.randn(2, 3, generator=generator), torch.randn(4, generator=generator))
        for _ in range(STEPS)
    ]
    return nn.Parameter(matrix), nn.Parameter(vector), gradients


@pytest.mark.parametrize("case", FORMULAS)
def test_updates_are_the_published_formulas(case: str) -> None:
    name, options, formula = FORMULAS[case]
    matrix, vector, gradients = two_parameters()
    wanted_matrix = formula(
        matrix.flatten().tolist(), [g.flatten().tolist() for g, _ in gradients], DECAY
    )
    wanted_vector = formula(vector.tolist(), [g.tolist() for _, g in gradients], 0.0)
    optimizers = Optimizers(
        Groups({"layers.0.w": matrix}, {}, {"norm": vector}), name,  # type: ignore[arg-type]
        learning_rate=RATE, weight_decay=DECAY, betas=BETAS, **options,
    )  # fmt: skip
    for matrix.grad, vector.grad in gradients:
        optimizers.step(1.0)
    assert matrix.flatten().tolist() == pytest.approx(wanted_matrix, rel=2e-5, abs=2e-6)
    assert vector.tolist() == pytest.approx(wanted_vector, rel=2e-5, abs=2e-6)


def test_lamb_by_hand() -> None:
    """At the first step m̂ / √v̂ is ±1; a matrix of norm 5 moves by lr · 5 / √2 in each place."""
    matrix, zero = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.zeros(1, 2))
    optimizer = Lamb([{"params": [matrix, zero]}], lr=0.1, eps=0.0)
    matrix.grad, zero.grad = torch.tensor([[7.0, -0.02]]), torch.tensor([[0.3, 5.0]])
    optimizer.step()
    moved = 0.1 * 5 / math.sqrt(2)
    assert matrix.tolist()[0] == pytest.approx([3 - moved, 4 + moved])
    # A matrix of zeros would never move with its own ratio; it takes Adam's step.
    assert zero.tolist()[0] == pytest.approx([-0.1, -0.1])


@pytest.mark.parametrize("optimizer", ALL)
def test_state_is_restored_to_the_bit_from_a_file(
    tokenizer: Tokenizer, optimizer: Any, tmp_path: Path
) -> None:
    def build() -> tuple[Transformer, Optimizers]:
        model = tiny_model(tokenizer)
        groups = group_parameters(model.named_parameters())
        options: dict[str, Any] = {"momentum": 0.8} if optimizer in ("sgd", "rmsprop") else {}
        return model, Optimizers(
            groups, optimizer, learning_rate=0.01, weight_decay=0.1, betas=BETAS, **options
        )

    def step(model: Transformer, optimizers: Optimizers, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        optimizers.step(1 / number)

    model, optimizers = build()
    for number in range(1, 8):  # beyond the step at which RAdam begins to rectify
        step(model, optimizers, number)
    save_file(optimizers.tensors(), tmp_path / "state.safetensors")
    other, again = build()
    other.load_state_dict(model.state_dict())
    again.load_tensors(load_file(tmp_path / "state.safetensors"))
    for number in range(8, 11):
        step(model, optimizers, number)
        step(other, again, number)
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
    fewer = Groups({}, {}, {"norm": model.norm.weight})
    with pytest.raises(TrainingError, match="is of another model"):
        Optimizers(
            fewer, optimizer, learning_rate=1, weight_decay=0, betas=BETAS
        ).load_tensors(again.tensors())  # fmt: skip


def test_sgd_without_momentum_has_no_state_and_nothing_to_restore() -> None:
    vector = nn.Parameter(torch.ones(3))
    options = {"learning_rate": 0.1, "weight_decay": 0.0, "betas": BETAS, "momentum": 0.0}
    optimizers = Optimizers(Groups({}, {}, {"norm": vector}), "sgd", **options)  # type: ignore[arg-type]
    vector.grad = torch.ones(3)
    optimizers.step(1.0)
    assert vector.tolist() == pytest.approx([0.9] * 3)
    assert optimizers.tensors() == {}
    optimizers.load_tensors({})


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


@pytest.mark.parametrize("optimizer", ALL)
def test_every_optimizer_learns_at_the_rate_that_is_chosen_for_it(
    tokenizer: Tokenizer, documents: list[Document], optimizer: Any
) -> None:
    wanted = TrainSettings(
        objective="pretrain", optimizer=optimizer, length=64, batch_tokens=256, steps=30,
        precision="fp32",
    )  # fmt: skip
    result = train(tiny_model(tokenizer), tokenizer, documents, wanted)
    first, last = (result.metrics[at]["loss"] for at in (0, -1))
    assert last < 0.7 * first, (first, last)
