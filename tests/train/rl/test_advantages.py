"""Advantages against loops in plain Python, worked cases and what TRL computes."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.train.rl.advantages import (
    explained_variance,
    gae,
    group_advantages,
    token_mask,
    whiten,
)
from chatwright.train.rl.kl import KlController, k1, k3
from chatwright.train.rl.settings import KlSettings


def plain_gae(
    rewards: list[float], values: list[float], gamma: float, lambda_: float
) -> tuple[list[float], list[float]]:
    """The definition: a sum over all later steps."""
    n = len(rewards)
    delta = [
        rewards[t] + (gamma * values[t + 1] if t + 1 < n else 0.0) - values[t] for t in range(n)
    ]
    found = [sum((gamma * lambda_) ** (u - t) * delta[u] for u in range(t, n)) for t in range(n)]
    return found, [a + v for a, v in zip(found, values, strict=True)]


def padded(rows: list[list[float]], fill: float = 0.0) -> torch.Tensor:
    width = max(map(len, rows))
    full = [[*row, *[fill] * (width - len(row))] for row in rows]
    return torch.tensor(full, dtype=torch.float64)


numbers = st.floats(-10, 10)
answers = st.lists(
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=7), min_size=1, max_size=4
)


@settings(deadline=None)
@given(answers, st.floats(0, 1), st.floats(0, 1))
def test_gae_is_the_definition(
    rows: list[list[tuple[float, float]]], gamma: float, lambda_: float
) -> None:
    rewards, values = ([[pair[i] for pair in row] for row in rows] for i in (0, 1))
    lengths = torch.tensor([len(row) for row in rows])
    # What lies in the padding must not matter.
    advantages, returns = gae(
        padded(rewards, 7.0), padded(values, -3.0), lengths, gamma=gamma, lambda_=lambda_
    )
    for s, (r, v) in enumerate(zip(rewards, values, strict=True)):
        expected, targets = plain_gae(r, v, gamma, lambda_)
        assert advantages[s, : len(r)].tolist() == pytest.approx(expected, abs=1e-9)
        assert returns[s, : len(r)].tolist() == pytest.approx(targets, abs=1e-9)
        assert not advantages[s, len(r) :].any() and not returns[s, len(r) :].any()


def test_gae_worked_by_hand() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.4, 0.8]])
    lengths = torch.tensor([3])
    advantages, returns = gae(rewards, values, lengths, gamma=1.0, lambda_=0.5)
    # δ = 0.4 − 0.5, 0.8 − 0.4, 1 − 0.8; Â = −0.1 + 0.5 · 0.5, 0.4 + 0.5 · 0.2, 0.2
    assert advantages[0].tolist() == pytest.approx([0.15, 0.5, 0.2])
    assert returns[0].tolist() == pytest.approx([0.65, 0.9, 1.0])
    # λ = 1: returns are what is still to come, whatever the values.
    _, returns = gae(rewards, values, lengths, gamma=1.0, lambda_=1.0)
    assert returns[0].tolist() == pytest.approx([1.0, 1.0, 1.0])
    # λ = 0: one step ahead.
    advantages, _ = gae(rewards, values, lengths, gamma=0.9, lambda_=0.0)
    assert advantages[0].tolist() == pytest.approx([0.9 * 0.4 - 0.5, 0.9 * 0.8 - 0.4, 0.2])


def test_whitening_respects_the_mask() -> None:
    values = torch.tensor([[1.0, 2.0, 99.0], [4.0, 99.0, 99.0]])
    mask = token_mask(torch.tensor([2, 1]), 3)
    assert mask.tolist() == [[True, True, False], [True, False, False]]
    white = whiten(values, mask)
    deviation = statistics.stdev([1.0, 2.0, 4.0])
    expected = [(x - 7 / 3) / deviation for x in (1.0, 2.0, 4.0)]
    assert white[mask].tolist() == pytest.approx(expected)
    assert not white[~mask].any()
    kept = whiten(values, mask, keep_mean=True)
    assert kept[mask].tolist() == pytest.approx([x + 7 / 3 for x in expected])
    assert not kept[~mask].any()


@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0, 2.0]])
def test_whitening_what_does_not_vary(values: list[float]) -> None:
    row = torch.tensor([values])
    assert whiten(row, torch.ones_like(row, dtype=torch.bool)).tolist() == [[0.0] * len(values)]
    assert whiten(row, torch.zeros_like(row, dtype=torch.bool)).tolist() == [[0.0] * len(values)]


def test_group_advantages() -> None:
    rewards = [1.0, 0.0, 0.0, 1.0, 5.0, 5.0, 5.0, 5.0]
    found = group_advantages(torch.tensor(rewards), 4)
    deviation = statistics.stdev(rewards[:4])
    expected = [x / (deviation + 1e-4) for x in (0.5, -0.5, -0.5, 0.5)]
    assert found.tolist() == pytest.approx([*expected, 0, 0, 0, 0])
    plain = group_advantages(torch.tensor(rewards), 4, "none")
    assert plain.tolist() == pytest.approx([0.5, -0.5, -0.5, 0.5, 0, 0, 0, 0])
    whole = group_advantages(torch.tensor(rewards), 4, "batch")
    by_all = statistics.stdev(rewards) + 1e-4
    assert whole.tolist() == pytest.approx([x / by_all for x in (0.5, -0.5, -0.5, 0.5, 0, 0, 0, 0)])


def test_explained_variance() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0]])
    mask = torch.ones_like(returns, dtype=torch.bool)
    assert explained_variance(returns, returns, mask) == 1
    assert explained_variance(returns, torch.zeros_like(returns), mask) == pytest.approx(0)
    assert math.isnan(explained_variance(torch.zeros(1, 3), returns, mask))


def test_estimates_of_the_divergence_are_unbiased() -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 6, dtype=torch.float64).log_softmax(-1)
    exact = float((policy.exp() * (policy - reference)).sum())
    for estimate in (k1, k3):
        assert float((policy.exp() * estimate(policy, reference)).sum()) == pytest.approx(exact)
    assert (k3(policy, reference) >= 0).all()
    assert torch.isinf(k3(torch.tensor(-1000.0), torch.tensor(0.0)))  # not clamped


def test_the_coefficient_is_steered() -> None:
    controller = KlController.begin(KlSettings(coefficient=0.1, target=6.0, horizon=1000))
    controller.update(6.6, 100)  # 10 % too far
    assert controller.coefficient == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    controller.update(600.0, 100)  # at most 20 % of an error counts
    assert controller.coefficient == pytest.approx(0.101 * (1 + 0.2 * 0.1))
    controller.update(0.0, 100)
    assert controller.coefficient == pytest.approx(0.101 * 1.02 * (1 - 0.2 * 0.1))
    fixed = KlController.begin(KlSettings(coefficient=0.1))
    fixed.update(600.0, 100)
    assert fixed.coefficient == 0.1
