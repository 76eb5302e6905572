"""The compiled kernels of training against the same formulas in float64 by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.train import native

pytestmark = pytest.mark.skipif(
    not native.ready(torch.zeros(16, dtype=torch.bfloat16)), reason="the kernels are not compiled"
)


@pytest.fixture(autouse=True, params=["avx512", "avx2", "portable"])
def _kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs on every set of instructions that this machine has."""
    if not native.choose(request.param):
        pytest.skip(f"this processor has no {request.param}")
    yield
    native.choose()


ROUNDED = {"rtol": 1 / 128, "atol": 2e-3}  # two roundings to bfloat16


def draw(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return (scale * torch.randn(*shape, generator=generator)).bfloat16()


def gradients(function: Callable[..., Tensor], grad: Tensor, *inputs: Tensor) -> list[Tensor]:
    """What autograd says, in float64."""
    wide = [x.double().requires_grad_() for x in inputs]
    return list(torch.autograd.grad(function(*wide), wide, grad.double()))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), **ROUNDED)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("width", [16, 320, 592])
def test_norm(width: int, threads: int) -> None:
    torch.set_num_threads(threads)
    x, weight, grad, more = (
        draw(37, width),
        draw(width, seed=1),
        draw(37, width, seed=2),
        draw(37, width, seed=3),
    )

    def formula(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight

    y, factor = native.norm(x, weight, 1e-5)
    close(y, formula(x.double(), weight.double()))
    assert torch.equal(native.norm_again(x, weight, factor), y)
    grad_x, grad_weight = gradients(formula, grad, x, weight)
    found, found_weight = native.norm_backward(grad, x, weight, factor, True, add=None)
    close(found, grad_x)
    assert found_weight is not None
    close(found_weight, grad_weight)
    found, none = native.norm_backward(grad, x, weight, factor, False, add=more)
    close(found, grad_x + more.double())
    assert none is None


def test_turn_and_its_inverse() -> None:
    x = draw(21, 3, 64)
    angles = torch.rand(21, 1, 32, generator=torch.Generator().manual_seed(0)) * 6
    cos, sin = angles.cos(), angles.sin()
    turned = native.turn(x, cos, sin, 1.0)
    a, b = x.double().chunk(2, -1)
    close(turned, torch.cat([a * cos - b * sin, b * cos + a * sin], -1))
    back = native.turn(turned, cos, sin, -1.0)
    torch.testing.assert_close(back, x, rtol=0, atol=0.03)


def test_gated() -> None:
    gate, up, grad = draw(13, 48, scale=4), draw(13, 48, seed=1), draw(13, 48, seed=2)
    close(native.gated(gate, up), F.silu(gate.double()) * up.double())
    expected = gradients(lambda g, u: F.silu(g) * u, grad, gate, up)
    for found, wanted in zip(native.gated_backward(gate, up, grad), expected, strict=True):
        close(found, wanted)


@pytest.mark.parametrize(("queries", "keys"), [(32, 32), (32, 96), (16, 48)])
def test_causal_softmax(queries: int, keys: int) -> None:
    scores, grad = draw(3, 2 * queries, keys, scale=3), draw(3, 2 * queries, keys, seed=1)
    later = torch.ones(queries, keys).triu_(keys - queries + 1).bool().repeat(2, 1)

    def formula(scores: Tensor) -> Tensor:
        return torch.softmax(scores.masked_fill(later, -torch.inf), -1)

    expected = formula(scores.double())
    (expected_grad,) = gradients(formula, grad, scores)
    weights = native.causal_softmax(scores.clone(), queries)
    close(weights, expected)
    assert not weights[:, later].any()
    close(native.causal_softmax_backward(grad.clone(), weights, queries), expected_grad)


def test_cross_entropy() -> None:
    logits = draw(19, 1040, scale=5)
    targets = torch.randint(0, 1040, (19,), generator=torch.Generator().manual_seed(0))
    logits[3, targets[3]] = -200.0  # a hopeless guess costs what it costs
    wide = logits.double().requires_grad_()
    expected = F.cross_entropy(wide, targets, reduction="none")
    (grad,) = torch.autograd.grad(expected.sum(), wide)
    losses = native.cross_entropy(logits, targets)
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    close(logits, grad)


def test_what_is_not_a_number_stays_so() -> None:
    x, weight = draw(4, 32), draw(32)
    x[2, 5] = torch.nan
    assert native.norm(x, weight, 1e-5)[0][2].isnan().all()
    assert native.gated(x, x)[2, 5].isnan()
    assert native.cross_entropy(x, torch.zeros(4, dtype=torch.int64)).isnan().tolist() == [
        False, False, True, False,
    ]  # fmt: skip


def test_a_result_does_not_depend_on_the_number_of_threads() -> None:
    gate, up = draw(300, 64), draw(300, 64, seed=1)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(native.gated(gate, up))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_other_numbers_are_left_to_torch() -> None:
    assert not native.ready(torch.zeros(16))
    assert not native.ready(torch.zeros(24, dtype=torch.bfloat16))
    assert not native.ready(torch.zeros(16, dtype=torch.bfloat16, device="meta"))
