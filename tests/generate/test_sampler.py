"""Choosing a token: `transformers` is the oracle for every change of logits."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.errors import UsageError
from chatwright.generate import SamplingParams
from chatwright.generate.logits import Floats, penalise_repetition
from chatwright.generate.sampler import (
    Sampler,
    draw,
    guide,
    log_probabilities,
    log_probability,
    new_generator,
    top_log_probabilities,
)

seeds = st.integers(0, 2**31)


def some_logits(seed: int, size: int, spread: float = 3.0) -> Floats:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


def some_tokens(seed: int, size: int, n: int) -> list[int]:
    return np.random.default_rng(seed + 1).integers(0, size, n).tolist()


def sampler_after(params: SamplingParams, prompt: list[int], said: list[int], size: int) -> Sampler:
    sampler = Sampler(params, prompt, size)
    for token in said:
        sampler.accept(token)
    return sampler


def theirs(processor: object, ids: list[int], logits: Floats) -> Floats:
    row = torch.from_numpy(logits.copy())[None]
    return processor(torch.tensor([ids]), row)[0].numpy()  # type: ignore[operator]


# -- changes of logits -------------------------------------------------------------------------


@given(seeds, st.integers(2, 700), st.floats(0.05, 5.0), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_repetition_penalty_equals_transformers(
    seed: int, size: int, penalty: float, split: int
) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = some_logits(seed, size)
    seen = some_tokens(seed, size, 20)  # repeats
    expected = theirs(RepetitionPenaltyLogitsProcessor(penalty), seen, logits)
    params = SamplingParams(repetition_penalty=penalty)
    ours = sampler_after(params, seen[:split], seen[split:], size).process(logits.copy())
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_repetition_penalty_changes_the_row_itself() -> None:
    row = np.array([2.0, -2.0, 1.0, -np.inf], np.float32)
    penalise_repetition(row, np.array([0, 1, 3]), 2.0)
    assert row.tolist() == [1.0, -4.0, 1.0, -math.inf]


@given(seeds, st.integers(2, 500), st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_openai_penalties_count_the_answer_and_not_the_prompt(
    seed: int, size: int, frequency: float, presence: float, n: int
) -> None:
    logits = some_logits(seed, size)
    prompt, said = some_tokens(seed, size, 30), some_tokens(seed + 9, size, n)
    counts = np.bincount(said, minlength=size) if said else np.zeros(size)
    expected = logits - counts * frequency - (counts > 0) * presence
    params = SamplingParams(frequency_penalty=frequency, presence_penalty=presence)
    ours = sampler_after(params, prompt, said, size).process(logits.copy())
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@given(seeds, st.integers(2, 8), st.integers(1, 5), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_no_repeat_ngram_equals_transformers(
    seed: int, size: int, n: int, prompt: int, said: int
) -> None:
    from transformers import NoRepeatNGramLogitsProcessor

    logits = some_logits(seed, size)
    tokens = some_tokens(seed, size, prompt + said)
    params = SamplingParams(no_repeat_ngram=n)
    sampler = sampler_after(params, tokens[:prompt], tokens[prompt:], size)
    if not tokens:
        assert np.array_equal(sampler.process(logits.copy()), logits)
        return
    expected = theirs(NoRepeatNGramLogitsProcessor(n), tokens, logits)
    assert np.array_equal(sampler.process(logits.copy()), expected)


def test_logit_bias_equals_transformers() -> None:
    from transformers import SequenceBiasLogitsProcessor

    logits = some_logits(4, 50)
    bias = {3: 2.5, 17: -4.0, 20: -math.inf}
    expected = theirs(
        SequenceBiasLogitsProcessor({(t,): b for t, b in bias.items()}), [1, 2], logits
    )
    sampler = Sampler(SamplingParams(logit_bias=bias), [1, 2], 50)
    assert np.array_equal(sampler.process(logits.copy()), expected)


def test_min_tokens_equals_transformers() -> None:
    from transformers import MinNewTokensLengthLogitsProcessor

    logits = some_logits(4, 50)
    prompt, ends = [1, 2, 3], [7, 9, 30]
    processor = MinNewTokensLengthLogitsProcessor(3, 2, ends)
    sampler = Sampler(SamplingParams(min_tokens=2, stop_tokens=(30,)), prompt, 50, ends={7, 9, 60})
    for token in (5, 6, 8):
        assert np.array_equal(sampler.process(logits.copy()), theirs(processor, prompt, logits))
        sampler.accept(token)
        prompt = [*prompt, token]
    assert not sampler.changes_logits


def test_ignored_ends_are_ordinary_tokens() -> None:
    params = SamplingParams(min_tokens=2, stop_tokens=(30,), ignore_end=True)
    sampler = Sampler(params, [1], 50, ends={7})
    assert sampler.ends == {30}
    row = sampler.process(np.zeros(50, np.float32))
    assert np.flatnonzero(row == -np.inf).tolist() == [30]


def test_the_order_is_that_of_transformers() -> None:
    from transformers import (
        LogitsProcessorList,
        MinNewTokensLengthLogitsProcessor,
        NoRepeatNGramLogitsProcessor,
        RepetitionPenaltyLogitsProcessor,
        SequenceBiasLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    params = SamplingParams(
        temperature=0.6,
        top_k=7,
        top_p=0.8,
        repetition_penalty=1.8,
        no_repeat_ngram=2,
        min_tokens=99,
        logit_bias={3: 4.0},
    )
    chain = LogitsProcessorList(
        [
            SequenceBiasLogitsProcessor({(3,): 4.0}),
            RepetitionPenaltyLogitsProcessor(1.8),
            NoRepeatNGramLogitsProcessor(2),
            MinNewTokensLengthLogitsProcessor(0, 99, [5]),
            TemperatureLogitsWarper(0.6),
            TopKLogitsWarper(7),
            TopPLogitsWarper(0.8),
        ]
    )
    for seed in range(40):
        logits = some_logits(seed, 300)
        tokens = [*np.argsort(-logits)[:4].tolist(), 3, *some_tokens(seed, 300, 5), 3]
        left = torch.from_numpy(theirs(chain, tokens, logits)).double()
        expected = torch.softmax(left, -1).numpy()
        sampler = Sampler(params, tokens, 300, ends=[5])
        np.testing.assert_allclose(
            sampler.distribution(logits.copy()), expected, rtol=1e-4, atol=1e-7
        )


def test_guidance_equals_transformers() -> None:
    ours, negative = some_logits(1, 400), some_logits(2, 400)
    # What UnbatchedClassifierFreeGuidanceLogitsProcessor does with the logits of its own model.
    cond = torch.log_softmax(torch.from_numpy(ours.copy()), -1)
    uncond = torch.log_softmax(torch.from_numpy(negative.copy()), -1)
    expected = 1.7 * (cond - uncond) + uncond
    before = negative.copy()
    guide(ours, negative, 1.7)
    np.testing.assert_allclose(ours, expected.numpy(), atol=2e-5)
    assert np.array_equal(negative, before)


# -- choosing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.3, seed=3),
        SamplingParams(temperature=0.8, top_p=0.7, seed=3),
        SamplingParams(temperature=0.8, top_k=5, repetition_penalty=1.4, seed=3),
        SamplingParams(temperature=1.0, min_p=0.1, typical_p=0.8, seed=3),
    ],
)
def test_choose_draws_from_the_distribution_with_one_number(params: SamplingParams) -> None:
    chance, sampler = new_generator([3, 0]), Sampler(params, [1, 2, 3], 3000)
    for seed in range(20):
        logits = some_logits(seed, 3000)
        p = Sampler(params, [1, 2, 3], 3000).distribution(logits.copy())
        assert p.dtype == np.float32
        assert float(p.sum(dtype=np.float64)) == pytest.approx(1, abs=1e-6)
        assert sampler.choose(logits) == draw(p, chance.random())


def test_draws_follow_the_distribution() -> None:
    logits = some_logits(3, 12, spread=1.0)
    params = SamplingParams(temperature=1.7, top_k=9, seed=5)
    sampler = Sampler(params, [0], 12)
    expected = sampler.distribution(logits.copy())
    assert np.count_nonzero(expected) == 9
    n = 8000
    counts = Counter(sampler.choose(logits.copy()) for _ in range(n))
    assert all(expected[token] > 0 for token in counts)
    chi = sum((counts[i] - n * float(p)) ** 2 / (n * float(p)) for i, p in enumerate(expected) if p)
    assert chi < 26.1  # the 0.999 quantile with 8 degrees of freedom


def test_greedy_takes_the_first_likeliest_and_no_random_number() -> None:
    row = np.array([0, 3, 3, 1], np.float32)
    sampler = Sampler(SamplingParams(temperature=0, seed=1), [0], 4)
    assert not sampler.needs_row
    assert sampler.choose(row.copy()) == 1
    assert sampler.distribution(row.copy()).tolist() == [0, 1, 0, 0]
    assert sampler.uniform() == Sampler(SamplingParams(seed=1), [0], 4).uniform()


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 1.1},
        {"frequency_penalty": 0.5},
        {"presence_penalty": 0.5},
        {"no_repeat_ngram": 3},
        {"logit_bias": {1: 1.0}},
        {"min_tokens": 1},
    ],
)
def test_greedy_needs_the_row_where_something_changes_it(setting: dict[str, float]) -> None:
    sampler = Sampler(SamplingParams(temperature=0, **setting), [0], 4, ends=[2])  # type: ignore[arg-type]
    assert sampler.needs_row
    sampler.accept(1)
    assert sampler.needs_row == ("min_tokens" not in setting)


def test_padding_of_the_vocabulary_is_never_chosen() -> None:
    row = np.zeros(64, np.float32)
    row[50:] = 9.0
    sampler = Sampler(SamplingParams(temperature=5.0, seed=0), [0], 50)
    assert all(sampler.choose(row.copy()) < 50 for _ in range(50))
    assert not sampler.distribution(row.copy())[50:].any()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_when_every_token_is_forbidden_the_error_says_so(temperature: float) -> None:
    bias = {token: -math.inf for token in range(5)}
    sampler = Sampler(SamplingParams(temperature=temperature, logit_bias=bias), [0], 5)
    with pytest.raises(UsageError, match="no token is left"):
        sampler.choose(np.zeros(5, np.float32))
    with pytest.raises(UsageError, match="no token is left"):
        sampler.distribution(np.zeros(5, np.float32))


@pytest.mark.parametrize("field", ["logit_bias", "stop_tokens"])
def test_tokens_beyond_the_vocabulary_are_refused(field: str) -> None:
    setting = {"logit_bias": {50: 1.0}} if field == "logit_bias" else {"stop_tokens": (50,)}
    with pytest.raises(UsageError, match="token 50") as caught:
        Sampler(SamplingParams(**setting), [0], 50)  # type: ignore[arg-type]
    assert caught.value.where == field


# -- chance and forks ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, -1, 7, 2**64 + 7, -(2**70)])
def test_any_integer_is_a_seed(seed: int) -> None:
    params = SamplingParams(seed=seed)
    one, other = Sampler(params, [0], 4), Sampler(params, [0], 4)
    assert [one.uniform() for _ in range(3)] == [other.uniform() for _ in range(3)]


def test_different_seeds_and_answers_have_different_chance() -> None:
    first = {
        Sampler(SamplingParams(seed=s), [0], 4).uniform() for s in (0, 1, -1, 2**64, 2**64 + 1)
    }
    assert len(first) == 5
    sampler = Sampler(SamplingParams(seed=3), [0], 4)
    forks = [sampler.fork(i).uniform() for i in range(1, 5)]
    assert len({*forks, sampler.uniform()}) == 5
    # The answer of one index is the same however it came to be.
    assert forks[1] == Sampler(SamplingParams(seed=3), [0], 4, index=2).uniform()


def test_without_a_seed_chance_differs() -> None:
    assert (
        Sampler(SamplingParams(), [0], 4).uniform() != Sampler(SamplingParams(), [0], 4).uniform()
    )
    sampler = Sampler(SamplingParams(), [0], 4)
    assert sampler.fork(1).uniform() != sampler.fork(2).uniform()


@given(seeds, st.integers(0, 150), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_fork_goes_its_own_way(seed: int, before: int, after: int) -> None:
    params = SamplingParams(
        repetition_penalty=1.5, frequency_penalty=0.4, no_repeat_ngram=2, min_tokens=120
    )
    size = 200
    tokens = some_tokens(seed, size, before + 2 * after)
    common, one, two = (
        tokens[:before],
        tokens[before : before + after],
        tokens[before + after :],
    )
    sampler = sampler_after(params, [1, 2], common, size)
    fork = sampler.fork(1)
    for token in one:
        sampler.accept(token)
    for token in two:
        fork.accept(token)
    logits = some_logits(seed, size)
    for forked, said in ((sampler, one), (fork, two)):
        alone = sampler_after(params, [1, 2], [*common, *said], size)
        assert np.array_equal(forked.process(logits.copy()), alone.process(logits.copy()))


# -- log-probabilities ---------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.1, 3.0, 200.0])
def test_log_probabilities_equal_torch(spread: float) -> None:
    logits = some_logits(9, 5000, spread)
    logits[7] = -np.inf
    expected = torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()
    before = logits.copy()
    np.testing.assert_allclose(log_probabilities(logits), expected, rtol=1e-6, atol=1e-5)
    for token in (0, 7, 17, 4999):
        assert log_probability(logits, token) == pytest.approx(expected[token], rel=1e-6, abs=1e-5)
    top = top_log_probabilities(logits, 20)
    assert [token for token, _ in top] == np.argsort(-logits, kind="stable")[:20].tolist()
    assert [p for _, p in top] == pytest.approx([expected[token] for token, _ in top], abs=1e-5)
    assert np.array_equal(logits, before)


def test_top_log_probabilities_of_equal_tokens_and_of_few() -> None:
    row = np.array([1, 2, 2, 2, 0], np.float32)
    assert [token for token, _ in top_log_probabilities(row, 2)] == [1, 2]
    assert [token for token, _ in top_log_probabilities(row, 9)] == [1, 2, 3, 0, 4]
    assert top_log_probabilities(row, 0) == []
