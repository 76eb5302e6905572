from __future__ import annotations

import json
import random

import pytest
import torch

from chatwright.train.scaling import LossScaler


@pytest.mark.parametrize("seed", range(5))
def test_the_scale_goes_as_torchs_grad_scaler(seed: int) -> None:
    """Side by side over random good and bad steps."""
    ours = LossScaler(True, batch_tokens=1 << 14, grow_after=3)
    oracle = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    draw = random.Random(seed)
    for _ in range(60):
        bad = draw.random() < 0.2
        parameter.grad = torch.tensor([1.0, float("inf") if bad else 1.0])
        oracle.scale(torch.zeros(()))  # it makes its state when first used
        oracle.step(optimizer)
        oracle.update()
        ours.update(bad)
        assert ours.scale == oracle.get_scale()
    assert ours.skipped == ours.metrics()["skipped_steps"] > 0


def test_it_starts_lower_for_a_sum_over_more_tokens() -> None:
    assert LossScaler(True).scale == 2.0**16
    assert LossScaler(True, batch_tokens=4096).scale == 16
    assert LossScaler(True, batch_tokens=5000).scale == 8
    assert LossScaler(True, batch_tokens=1 << 20).scale == 2.0**-4


def test_its_patience_ends_and_a_good_step_renews_it() -> None:
    scaler = LossScaler(True)
    for _ in range(15):
        assert scaler.can_skip
        scaler.update(True)
    scaler.update(False)
    for _ in range(16):
        assert scaler.can_skip
        scaler.update(True)
    assert not scaler.can_skip
    assert scaler.skipped == 31


def test_it_does_not_grow_for_ever() -> None:
    scaler = LossScaler(True, grow_after=1)
    for _ in range(20):
        scaler.update(False)
    assert scaler.scale == 2.0**24


def test_its_state_survives_json() -> None:
    scaler = LossScaler(True, batch_tokens=3, grow_after=4)
    for bad in (False, False, True, True, False, False, False):
        scaler.update(bad)
    other = LossScaler(True, grow_after=4)
    other.load_state(json.loads(json.dumps(scaler.state())))
    for bad in (False, True, False, False, False, False):
        scaler.update(bad)
        other.update(bad)
        assert scaler.metrics() == other.metrics()


def test_without_float16_nothing_is_scaled_or_skipped() -> None:
    scaler = LossScaler(False, batch_tokens=4096)
    scaler.update(True)
    assert scaler.scale == 1.0
    assert not scaler.can_skip
    assert scaler.metrics() == scaler.state() == {}
    scaler.load_state({})
