"""The losses against arithmetic written out in plain Python, and against what is known of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chatwright.train.preference.losses import bradley_terry, direct_preference
from chatwright.train.preference.settings import PreferenceSettings

NUMBERS = st.lists(st.floats(-20, 20), min_size=1, max_size=6)
QUICK = settings(max_examples=60, deadline=None)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))


def wide(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@QUICK
@given(values=NUMBERS, margin=st.floats(0, 3), center=st.floats(0, 2))
def test_bradley_terry_is_the_formula(values: list[float], margin: float, center: float) -> None:
    chosen, rejected = wide(values), wide(values[::-1]) * 0.7
    found = bradley_terry(chosen, rejected, torch.full_like(chosen, margin), center)
    for a, b, loss in zip(chosen.tolist(), rejected.tolist(), found.tolist(), strict=True):
        expected = -log_sigmoid(a - b - margin) + center * (a + b) ** 2
        assert loss == pytest.approx(expected, rel=1e-9, abs=1e-12)


@QUICK
@given(values=NUMBERS, beta=st.floats(0.01, 2), smoothing=st.floats(0, 0.49))
def test_sigmoid_is_the_formula(values: list[float], beta: float, smoothing: float) -> None:
    chosen, rejected = wide(values), wide(values[::-1]) * 0.7
    found = direct_preference(chosen, rejected, beta=beta, label_smoothing=smoothing)
    for a, b, loss in zip(chosen.tolist(), rejected.tolist(), found.tolist(), strict=True):
        x = beta * (a - b)
        expected = -(1 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x)
        assert loss == pytest.approx(expected, rel=1e-9, abs=1e-12)


@QUICK
@given(values=NUMBERS, beta=st.floats(0.01, 2))
def test_ipo_is_the_formula(values: list[float], beta: float) -> None:
    chosen, rejected = wide(values), wide(values[::-1]) * 0.7
    lengths = (torch.arange(1, len(values) + 1), torch.full((len(values),), 3))
    found = direct_preference(chosen, rejected, beta=beta, loss="ipo", lengths=lengths)
    for i, loss in enumerate(found.tolist()):
        difference = float(chosen[i]) / (i + 1) - float(rejected[i]) / 3
        assert loss == pytest.approx((difference - 1 / (2 * beta)) ** 2, rel=1e-9)


def test_what_is_known() -> None:
    zero = torch.zeros(2)
    assert bradley_terry(zero, zero).tolist() == pytest.approx([math.log(2)] * 2)
    assert direct_preference(zero, zero, beta=0.3).tolist() == pytest.approx([math.log(2)] * 2)
    # At a label smoothing of almost a half, no order is worth learning: the loss is least at 0.
    x = torch.linspace(-3, 3, 13)
    smoothed = direct_preference(x, zero[0].expand_as(x), beta=1.0, label_smoothing=0.499999)
    assert int(smoothed.argmin()) == 6
    # IPO is least where the difference per token is 1/(2β), and rises on both sides.
    ones = torch.ones_like(x)
    ipo = direct_preference(x, 0 * x, beta=0.5, loss="ipo", lengths=(ones, ones))
    assert float(x[ipo.argmin()]) == 1.0 and float(ipo.min()) == 0.0
    with pytest.raises(ValueError, match="lengths"):
        direct_preference(zero, zero, beta=0.1, loss="ipo")


def test_huge_differences_stay_finite() -> None:
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = bradley_terry(far, torch.zeros(2))
    assert loss.tolist() == [1e4, 0.0]
    loss.sum().backward()
    assert far.grad is not None and far.grad.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"prompts": (0.5, 0.5)}, "no range"),
        ({"prompts": (-0.1, 0.5)}, "no range"),
        ({"prompts": (0.1, 1.5)}, "no range"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "ipo has none"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
        ({"beta": 0}, "greater than 0"),
        ({"held_out": 1}, "less than 1"),
        ({"loss": "hinge"}, "sigmoid"),
        ({"betta": 1}, "not permitted"),
    ],
)
def test_settings_refuse(said: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        PreferenceSettings(**said)
