from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.train.schedule import learning_rate_factor, warmup_steps


def curve(schedule: str, total: int, **options: float) -> list[float]:
    return [learning_rate_factor(s, total, schedule, **options) for s in range(total)]  # type: ignore[arg-type]


def test_wsd_warms_up_stays_and_falls() -> None:
    rates = curve("wsd", 10, warmup=2, decay=0.3)
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_cosine_and_linear_fall_from_the_end_of_warmup() -> None:
    assert curve("linear", 5, warmup=1) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    expected = [1] + [0.5 * (1 + math.cos(math.pi * k / 5)) for k in range(1, 5)]
    assert curve("cosine", 5, warmup=1) == pytest.approx(expected)


def test_constant_stays_after_a_warmup_given_as_a_share() -> None:
    assert curve("constant", 8, warmup=0.25) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1])


def test_final_is_what_a_fall_would_reach_after_the_last_step() -> None:
    rates = curve("linear", 9, final=0.1)
    assert rates[-1] - (rates[-2] - rates[-1]) == pytest.approx(0.1)


@given(
    schedule=st.sampled_from(["wsd", "cosine", "linear", "constant"]),
    total=st.integers(1, 300),
    warmup=st.floats(0, 50),
    decay=st.floats(0, 1),
    final=st.floats(0, 1),
)
def test_every_step_moves_and_none_exceeds_the_peak(
    schedule: str, total: int, warmup: float, decay: float, final: float
) -> None:
    rates = curve(schedule, total, warmup=warmup, decay=decay, final=final)
    assert all(0 < rate <= 1 for rate in rates)
    warm = warmup_steps(warmup, total)
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
