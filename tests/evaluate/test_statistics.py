"""Bootstrap intervals and paired comparison against theory and against a slow plain version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.evaluate import statistics
from chatwright.evaluate.statistics import bootstrap, paired_bootstrap

values = st.lists(st.floats(-5, 5), min_size=1, max_size=30).map(np.array)


def test_the_interval_of_a_mean_is_the_normal_one_for_many_items() -> None:
    sample = np.random.default_rng(1).normal(3, 2, size=2_000)
    found = bootstrap(sample, seed=0)
    half = 1.96 * sample.std() / np.sqrt(len(sample))
    assert found.value == pytest.approx(sample.mean())
    assert found.low == pytest.approx(sample.mean() - half, abs=0.01)
    assert found.high == pytest.approx(sample.mean() + half, abs=0.01)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    hits = 0
    for trial in range(300):
        found = bootstrap(random.binomial(1, 0.3, 60).astype(float), seed=trial, resamples=500)
        hits += found.low <= 0.3 <= found.high
    assert 0.90 <= hits / 300 <= 0.99


def test_vectorised_is_the_plain_loop() -> None:
    """The same draws, resampled one by one with Python sums."""
    top, bottom = np.array([3.0, 1.0, 4.0, 1.5]), np.array([2.0, 1.0, 5.0, 1.0])
    drawn = np.random.default_rng(5).integers(0, 4, size=(200, 4))
    plain = [np.exp(sum(top[i] for i in row) / sum(bottom[i] for i in row)) for row in drawn]
    found = bootstrap(top, bottom, transform=np.exp, seed=5, resamples=200)
    assert found.low == pytest.approx(np.quantile(plain, 0.025))
    assert found.high == pytest.approx(np.quantile(plain, 0.975))
    assert found.value == pytest.approx(np.exp(9.5 / 9))


def test_chunking_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.arange(50.0)
    whole = bootstrap(sample, seed=3)
    monkeypatch.setattr(statistics, "_CELLS_AT_A_TIME", 999)
    assert bootstrap(sample, seed=3) == whole


@settings(deadline=None)
@given(values, st.integers(0, 2**31))
def test_interval_lies_within_the_data_and_is_repeatable(sample: np.ndarray, seed: int) -> None:
    found = bootstrap(sample, seed=seed, resamples=200)
    assert sample.min() - 1e-9 <= found.low <= found.high <= sample.max() + 1e-9
    assert bootstrap(sample, seed=seed, resamples=200) == found


@settings(deadline=None)
@given(values, st.floats(0.5, 3))
def test_a_constant_gain_is_found_exactly_and_a_swap_changes_the_sign(
    sample: np.ndarray, gain: float
) -> None:
    better = paired_bootstrap((sample, None), (sample + gain, None), resamples=200)
    assert better.value == pytest.approx(gain)
    assert (better.low, better.high) == (pytest.approx(gain), pytest.approx(gain))
    # Each item gained; with fewer than six of them even that may be chance.
    assert better.significant == (len(sample) > 5)
    assert better.p_value >= 2 * 0.5 ** len(sample)
    worse = paired_bootstrap((sample + gain, None), (sample, None), resamples=200)
    assert worse.value == pytest.approx(-gain)


def test_a_difference_that_is_no_number_is_never_significant() -> None:
    ratios = (np.array([1e308, 1.0]), np.array([1e-300, 1.0]))
    with np.errstate(over="ignore", invalid="ignore"):
        found = paired_bootstrap(ratios, (np.ones(2), np.ones(2)), transform=np.exp)
    assert not found.significant and found.p_value == 1


def test_the_same_model_is_never_different() -> None:
    sample = np.random.default_rng(0).random(40)
    same = paired_bootstrap((sample, None), (sample, None))
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert not same.significant


def test_false_alarms_are_as_rare_as_promised() -> None:
    random = np.random.default_rng(4)
    alarms = 0
    for trial in range(300):
        a, b = random.random((2, 50))
        alarms += paired_bootstrap((a, None), (b, None), seed=trial, resamples=400).significant
    assert alarms / 300 <= 0.10


def test_pairing_sees_what_two_intervals_hide() -> None:
    """Items differ much, the models little and always the same way."""
    items = np.random.default_rng(6).random(40)
    better = np.clip(items + 0.02, 0, 1.02)
    assert bootstrap(items).high > bootstrap(better).low  # the intervals overlap
    assert paired_bootstrap((items, None), (better, None)).significant


@pytest.mark.parametrize(
    ("top", "bottom"),
    [([], None), ([1.0, float("nan")], None), ([1.0], [0.0]), ([1.0, 2.0], [1.0])],
)
def test_nonsense_is_refused(top: list[float], bottom: list[float] | None) -> None:
    with pytest.raises(ValueError):
        bootstrap(np.array(top), None if bottom is None else np.array(bottom))
    with pytest.raises(ValueError, match="same items"):
        paired_bootstrap((np.ones(2), None), (np.ones(3), None))
