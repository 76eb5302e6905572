"""What stays in the draw: `transformers` is the oracle of each filter, counting is for the draw."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.generate import SamplingParams
from chatwright.generate.logits import Floats, largest
from chatwright.generate.truncation import (
    candidates,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    scale,
)

seeds = st.integers(0, 2**31)
spreads = st.floats(0.01, 10.0)


def some_logits(seed: int, size: int, spread: float = 3.0) -> Floats:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def weights_of(logits: Floats) -> Floats:
    return np.exp(logits - logits.max())


def kept_by(warper: object, logits: Floats) -> np.ndarray:
    """The positions that one of `transformers`' warpers leaves."""
    left = warper(torch.empty(0), torch.from_numpy(logits.copy())[None])[0]  # type: ignore[operator]
    return left.isfinite().nonzero().flatten().numpy()


def disputed(logits: Floats, ours: np.ndarray, theirs: np.ndarray) -> float:
    """The probability of what only one of two keeps, but for the likeliest such token.

    Sums in float32 taken in opposite orders may disagree about the token at the border, and about
    those too unlikely to change the sum.
    """
    p = torch.softmax(torch.from_numpy(logits).double(), -1).numpy()
    return float(np.sort(p[np.setxor1d(ours, theirs)])[:-1].sum())


@given(seeds, st.integers(1, 3000), st.integers(1, 3500), st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_kth_largest(seed: int, size: int, k: int, ties: bool) -> None:
    row = some_logits(seed, size)
    row = row.round() if ties else row
    assert largest(row, k) == np.sort(row)[::-1][min(k, size) - 1]


@given(seeds, st.integers(2, 3000), st.integers(1, 900), st.booleans())
@settings(max_examples=60, deadline=None)
def test_top_k_equals_transformers(seed: int, size: int, k: int, ties: bool) -> None:
    from transformers import TopKLogitsWarper

    logits = some_logits(seed, size)
    logits = logits.round() if ties else logits
    assert np.array_equal(keep_top_k(logits, k), kept_by(TopKLogitsWarper(k), logits))


# Both the direct sort and that of one bucket are met, and tails longer than what is looked at.
@given(seeds, st.integers(2, 6000), st.floats(0.01, 0.9999), spreads, st.booleans())
@settings(max_examples=150, deadline=None)
def test_top_p_equals_transformers(
    seed: int, size: int, p: float, spread: float, ties: bool
) -> None:
    from transformers import TopPLogitsWarper

    logits = some_logits(seed, size, spread)
    logits = logits.round(1) if ties else logits
    ours = keep_top_p(weights_of(logits), p)
    assert np.array_equal(ours, np.unique(ours))
    exact = torch.softmax(torch.from_numpy(logits).double(), -1).numpy()
    mass = exact[ours]
    assert mass.sum() >= p - 1e-6
    assert mass.sum() - mass.min() <= p + 1e-6  # without its last, it would not reach p
    assert mass.min() >= np.delete(exact, ours).max(initial=0.0) * (1 - 1e-6)  # the largest ones
    if not ties:  # theirs keeps any of equal ones
        assert disputed(logits, ours, kept_by(TopPLogitsWarper(p), logits)) < 1e-5


def test_top_p_takes_equal_tokens_from_the_front() -> None:
    assert keep_top_p(np.ones(10, np.float32), 0.35).tolist() == [0, 1, 2, 3]
    assert keep_top_p(np.ones(8000, np.float32), 0.25).tolist() == list(range(2000))
    assert keep_top_p(np.array([0.5, 1, 0.5, 1, 0.5], np.float32), 0.6).tolist() == [0, 1, 3]


@pytest.mark.parametrize("p", [1e-9, 0.5, 1 - 1e-9])
def test_top_p_keeps_the_certain_token(p: float) -> None:
    weights = np.zeros(50_000, np.float32)
    weights[123] = 1.0
    assert keep_top_p(weights, p).tolist() == [123]


@given(seeds, st.integers(2, 3000), st.floats(0.0, 1.0), spreads)
@settings(max_examples=60, deadline=None)
def test_min_p_equals_transformers(seed: int, size: int, min_p: float, spread: float) -> None:
    from transformers import MinPLogitsWarper

    logits = some_logits(seed, size, spread)
    ours, theirs = keep_min_p(weights_of(logits), min_p), kept_by(MinPLogitsWarper(min_p), logits)
    p = weights_of(logits)[np.setxor1d(ours, theirs)]
    assert np.allclose(p, min_p, rtol=1e-5)  # only what lies on the border is disputed


@given(seeds, st.integers(2, 5000), st.floats(0.01, 0.99), spreads, st.booleans())
@settings(max_examples=100, deadline=None)
def test_typical_equals_transformers(
    seed: int, size: int, mass: float, spread: float, holes: bool
) -> None:
    from transformers import TypicalLogitsWarper

    logits = some_logits(seed, size, spread)
    if holes:
        logits[: size // 3] = -np.inf
    logits -= logits.max()
    ours = keep_typical(logits, np.exp(logits), mass)
    theirs = kept_by(TypicalLogitsWarper(mass), logits)
    assert disputed(logits, ours, theirs) < 1e-4
    assert np.exp(logits[ours]).sum() >= mass * np.exp(logits).sum() - 1e-4


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=50).filter(lambda w: sum(w) > 0),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([1, 3, 200]),  # with 200 times as many, blocks are looked at first
)
def test_draw_is_the_inverse_of_the_running_sum(
    weights: list[float], uniform: float, times: int
) -> None:
    p = np.array(weights * times, dtype=np.float64)
    token = draw(p, uniform)
    assert p[token] > 0
    target = uniform * float(p.sum())
    assert float(p[:token].sum()) <= target * (1 + 1e-9) + 1e-300
    assert float(p[: token + 1].sum()) >= target * (1 - 1e-9)


@pytest.mark.parametrize("zeros", [0, 2, 5000])
def test_draw_at_the_very_end_of_the_range(zeros: int) -> None:
    p = np.concatenate([np.zeros(zeros), [0.3, 0.7], np.zeros(zeros)]).astype(np.float32)
    assert draw(p, math.nextafter(1.0, 0.0)) == zeros + 1
    assert draw(p, 0.0) == zeros
    assert draw(np.array([0.0, 1.0]), 0.0) == 1


def test_draws_from_a_large_vocabulary_follow_the_distribution() -> None:
    weights = weights_of(some_logits(8, 3000, 1.0))
    chance = np.random.default_rng(2)
    n = 20_000
    counts = np.zeros(3000)
    for _ in range(n):
        counts[draw(weights, chance.random())] += 1
    groups = np.arange(3000) % 30  # 30 groups of 100 tokens, from all blocks
    expected = n * np.bincount(groups, weights / weights.sum())
    chi = float(((np.bincount(groups, counts) - expected) ** 2 / expected).sum())
    assert chi < 58.3  # the 0.999 quantile with 29 degrees of freedom


@given(
    seeds,
    st.integers(2, 3000),
    st.floats(0.1, 3.0),
    st.integers(0, 100),
    st.sampled_from([1.0, 0.9, 0.5]),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from([1.0, 0.9]),
)
@settings(max_examples=150, deadline=None)
def test_the_filters_together_equal_transformers(
    seed: int, size: int, temperature: float, k: int, p: float, min_p: float, typical: float
) -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    logits = some_logits(seed, size)
    chain = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    chain += [TopKLogitsWarper(k)] if k else []
    chain += [TopPLogitsWarper(p)] if p < 1 else []
    chain += [MinPLogitsWarper(min_p)] if min_p else []
    chain += [TypicalLogitsWarper(typical)] if typical < 1 else []
    params = SamplingParams(
        temperature=temperature, top_k=k, top_p=p, min_p=min_p, typical_p=typical
    )
    kept, weights = candidates(logits.copy(), params)
    ours = np.zeros(size)
    ours[slice(None) if kept is None else kept] = weights / weights.sum(dtype=np.float64)
    left = chain(torch.empty(0), torch.from_numpy(logits)[None])[0]
    theirs = torch.softmax(left.double(), -1).numpy()
    likely = np.maximum(ours, theirs) > 1e-12  # what float32 can hold at all
    differ = likely & ((ours > 0) != (theirs > 0))
    # Where float32 sums decide about a token at a border, one token more or less stays.
    assert np.count_nonzero(differ) <= 2
    if not differ.any():
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-9)


def test_a_tiny_temperature_leaves_the_likeliest_and_is_not_infinite() -> None:
    logits = some_logits(1, 500) * 1000
    row = logits.copy()
    scale(row, 1e-300)
    assert int(row.argmax()) == int(logits.argmax())
    assert row.max() == 0
    assert not np.isnan(row).any()
    kept, weights = candidates(logits.copy(), SamplingParams(temperature=1e-300))
    assert kept is None
    assert Counter(weights.tolist())[1.0] == 1
    assert weights.sum() == 1.0
