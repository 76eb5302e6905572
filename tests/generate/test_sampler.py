"""Choosing a token: `transformers` is the oracle for every filter, counting for the draw."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.errors import UsageError
from chatwright.generate import SamplingParams
from chatwright.generate.sampler import (
    choose,
    draw,
    keep_top_k,
    keep_top_p,
    log_probability,
    new_generator,
    penalise,
)

seeds = st.integers(0, 2**31)


def some_logits(seed: int, size: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * spread


@given(seeds, st.integers(2, 700), st.floats(0.05, 5.0))
@settings(max_examples=60, deadline=None)
def test_repetition_penalty_equals_transformers(seed: int, size: int, penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = some_logits(seed, size)
    seen = torch.randint(size, (20,), generator=torch.Generator().manual_seed(seed))  # repeats
    before = logits.clone()
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(seen[None], logits.clone()[None])[0]
    torch.testing.assert_close(penalise(logits, seen, penalty), theirs)
    assert torch.equal(logits, before)  # the batch's logits are not changed under others' hands


@given(seeds, st.integers(2, 700), st.integers(0, 900))
@settings(max_examples=60, deadline=None)
def test_top_k_equals_transformers(seed: int, size: int, k: int) -> None:
    from transformers import TopKLogitsWarper

    logits = some_logits(seed, size).round()  # rounding makes ties
    theirs = TopKLogitsWarper(k)(torch.empty(0), logits[None])[0] if k else logits
    assert torch.equal(keep_top_k(logits, k), theirs)


@given(seeds, st.integers(2, 2000), st.floats(0.01, 1.0), st.floats(0.01, 10.0))
@settings(max_examples=100, deadline=None)
def test_top_p_equals_transformers(seed: int, size: int, p: float, spread: float) -> None:
    from transformers import TopPLogitsWarper

    # Both the short look at the likeliest tokens and the full sort are met: a flat distribution
    # over 2,000 tokens needs far more than the first 256.
    logits = some_logits(seed, size, spread)
    theirs = TopPLogitsWarper(p)(torch.empty(0), logits[None])[0]
    ours = keep_top_p(logits, p)
    differs = (ours.isinf() != theirs.isinf()).nonzero().flatten()
    # Sums in float32 taken in opposite orders may disagree about the token at the border, and about
    # those too unlikely to change the sum.
    disputed = torch.softmax(logits.double(), -1)[differs].sort().values[:-1]
    assert float(disputed.sum()) < 1e-5
    kept = ours.isfinite()
    assert torch.equal(ours[kept], logits[kept])
    mass = torch.softmax(logits.double(), -1)[kept]
    assert float(mass.sum()) >= p - 1e-5
    assert float(mass.sum() - mass.min()) <= p + 1e-5  # without its last, it would not reach p


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=50).filter(lambda w: sum(w) > 0),
    st.floats(0, 1, exclude_max=True),
)
def test_draw_is_the_inverse_of_the_running_sum(weights: list[float], uniform: float) -> None:
    p = torch.tensor(weights, dtype=torch.float64)
    token = draw(p, uniform)
    assert p[token] > 0
    target = uniform * float(p.sum())
    assert float(p[:token].sum()) <= target * (1 + 1e-9) + 1e-300
    assert float(p[: token + 1].sum()) >= target * (1 - 1e-9)


def test_draw_at_the_very_end_of_the_range() -> None:
    p = torch.tensor([0.3, 0.7, 0.0, 0.0])
    assert draw(p, math.nextafter(1.0, 0.0)) == 1
    assert draw(p, 0.0) == 0
    assert draw(torch.tensor([0.0, 1.0]), 0.0) == 1


def test_draws_follow_the_distribution() -> None:
    logits = some_logits(3, 12, spread=1.0)
    params = SamplingParams(temperature=1.7, top_k=9)
    expected = torch.softmax(keep_top_k(logits / 1.7, 9), -1)
    generator = new_generator(5)
    n = 8000
    counts = Counter(choose(logits, params, None, generator) for _ in range(n))
    assert all(expected[token] > 0 for token in counts)
    chi = sum((counts[i] - n * float(p)) ** 2 / (n * float(p)) for i, p in enumerate(expected) if p)
    assert chi < 26.1  # the 0.999 quantile with 8 degrees of freedom


def test_choose_does_penalty_temperature_top_k_top_p_in_that_order() -> None:
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    chain = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.8),
            TemperatureLogitsWarper(0.6),
            TopKLogitsWarper(7),
            TopPLogitsWarper(0.8),
        ]
    )
    params = SamplingParams(temperature=0.6, top_k=7, top_p=0.8, repetition_penalty=1.8)
    for seed in range(40):
        logits = some_logits(seed, 300)
        seen = logits.topk(4).indices
        probabilities = torch.softmax(chain(seen[None], logits.clone()[None])[0], -1)
        uniform = float(torch.rand((), generator=new_generator(seed), dtype=torch.float64))
        assert choose(logits, params, seen, new_generator(seed)) == draw(probabilities, uniform)


def test_a_tiny_temperature_is_greedy_and_not_infinite() -> None:
    logits = some_logits(1, 500) * 1000
    token = choose(logits, SamplingParams(temperature=1e-300), None, new_generator(0))
    assert token == int(logits.argmax())


def test_log_probability() -> None:
    logits = some_logits(9, 300)
    assert log_probability(logits, 17) == pytest.approx(float(logits.log_softmax(-1)[17]), abs=1e-6)


@pytest.mark.parametrize("seed", [0, -1, 7, 2**64 + 7, -(2**70)])
def test_any_integer_is_a_seed(seed: int) -> None:
    one, other = new_generator(seed), new_generator(seed)
    assert torch.rand(3, generator=one).tolist() == torch.rand(3, generator=other).tolist()


def test_without_a_seed_chance_differs() -> None:
    assert new_generator(None).initial_seed() != new_generator(None).initial_seed()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": math.nan},
        {"temperature": -0.1},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"top_p": math.nan},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": math.nan},
        {"repetition_penalty": math.inf},
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"stop": ("fine", "")},
    ],
)
def test_impossible_parameters_are_refused_at_once(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**wrong)  # type: ignore[arg-type]
    assert caught.value.where == next(iter(wrong))


def test_one_stop_string_or_a_list_is_taken_too() -> None:
    assert SamplingParams(stop="END").stop == ("END",)  # type: ignore[arg-type]
    assert SamplingParams(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]
