from __future__ import annotations

import math
from typing import Any

import pytest
import torch
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


@pytest.mark.parametrize("total", [1, 2, 17, 100])
@pytest.mark.parametrize("warmup", [0, 1, 10, 0.25])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_schedules_are_those_of_transformers(total: int, warmup: float, final: float) -> None:
    """Theirs begins at 0 and reaches the end value at the last step; ours leaves out both ends.

    So our step s of T is their step s + 1 of T + 1.
    """
    transformers = pytest.importorskip("transformers")

    def oracle(make: Any, **options: Any) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = make(optimizer, **options)
        return [schedule.lr_lambdas[0](step + 1) for step in range(total)]

    def ours(schedule: Any, decay: float = 0.3) -> list[float]:
        options = {"warmup": warmup, "decay": decay, "final": final}
        return [learning_rate_factor(s, total, schedule, **options) for s in range(total)]

    warm = warmup_steps(warmup, total)
    common = {"num_warmup_steps": warm, "num_training_steps": total + 1}
    cosine = oracle(
        transformers.get_cosine_with_min_lr_schedule_with_warmup, **common, min_lr_rate=final
    )
    assert ours("cosine") == pytest.approx(cosine, abs=1e-12)
    if final == 0:
        linear = oracle(transformers.get_linear_schedule_with_warmup, **common)
        assert ours("linear") == pytest.approx(linear, abs=1e-12)
    constant = oracle(transformers.get_constant_schedule_with_warmup, num_warmup_steps=warm)
    assert ours("constant") == pytest.approx(constant, abs=1e-12)
    start = max(warm, total - round(0.3 * total))
    wsd = oracle(
        transformers.get_wsd_schedule, num_warmup_steps=warm, num_stable_steps=start - warm,
        num_decay_steps=total + 1 - start, min_lr_ratio=final, decay_type="linear",
    )  # fmt: skip
    # With a lowest rate their warmup begins there, while ours begins near 0 in every schedule.
    first = warm if final else 0
    assert ours("wsd")[first:] == pytest.approx(wsd[first:], abs=1e-12)
