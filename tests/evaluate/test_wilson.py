"""Wilson's interval against scipy's, published tables and the ends where rounding bites."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.evaluate.statistics import wilson


@settings(deadline=None)  # scipy is imported in the first
@given(
    st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_the_interval_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    theirs = binomtest(*counts).proportion_ci(confidence, method="wilson")
    ours = wilson(*counts, confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert (ours.value, ours.count) == (counts[0] / counts[1], counts[1])
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (5, 5, 0.5655, 1.0),
        (0, 40, 0.0, 0.0876),  # nothing found is not certainty
    ],
)
def test_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    found = wilson(successes, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_a_tie_is_half_a_success() -> None:
    assert wilson(1, 3).value < wilson(1.5, 3).value == 0.5 < wilson(2, 3).value
    assert wilson(1.5, 3).low == pytest.approx(1 - wilson(1.5, 3).high)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2), (1, -1)])
def test_no_share(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="of"):
        wilson(successes, trials)
