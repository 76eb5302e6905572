"""Likelihoods against the plain definition, one token at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.evaluate.likelihood import (
    Scored,
    batched,
    sequence_likelihoods,
    text_windows,
)
from chatwright.model.config import ModelConfig
from chatwright.model.transformer import Transformer

VOCABULARY = 61


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = ModelConfig.from_depth(2, VOCABULARY, context=64)
    return Transformer.random(config, seed=0)


def plain_nll(model: Transformer, tokens: list[int], counted: list[bool]) -> float:
    """−ln p of each counted token, each from a forward pass over its own prefix."""
    total = 0.0
    with torch.no_grad():
        for i in range(1, len(tokens)):
            if counted[i]:
                row = model(torch.tensor([tokens[:i]]))[0, -1].double()
                total -= float(row.log_softmax(-1)[tokens[i]])
    return total


def test_batched_likelihood_is_the_plain_one(model: Transformer) -> None:
    random = torch.Generator().manual_seed(1)
    sequences = []
    for length in (2, 17, 40, 5, 1):
        tokens = torch.randint(0, VOCABULARY, (length,), generator=random).tolist()
        counted = (torch.rand(length, generator=random) < 0.5).tolist()
        sequences.append(Scored(tokens, counted))
    found = sequence_likelihoods(model, sequences)
    for sequence, likelihood in zip(sequences, found, strict=True):
        assert likelihood.tokens == sum(sequence.counted[1:])
        expected = plain_nll(model, list(sequence.tokens), list(sequence.counted))
        assert likelihood.nll == pytest.approx(expected, rel=1e-5)


def test_a_uniform_model_has_the_vocabulary_as_perplexity(model: Transformer) -> None:
    flat = Transformer.random(model.config, seed=0)
    with torch.no_grad():
        flat.head_weight.zero_()
    (found,) = sequence_likelihoods(flat, [Scored([1, 2, 3, 4], [True] * 4)])
    assert found.tokens == 3
    assert math.exp(found.nll / found.tokens) == pytest.approx(VOCABULARY)


def test_too_long_is_refused_and_the_models_mode_is_left_alone(model: Transformer) -> None:
    with pytest.raises(ValueError, match="65 tokens do not fit in a context of 64"):
        sequence_likelihoods(model, [Scored([1] * 65, [True] * 65)])
    model.train()
    sequence_likelihoods(model, [Scored([1, 2], [True, True])])
    assert model.training
    model.eval()


@given(
    st.integers(0, 60),
    st.integers(2, 20).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 1))),
)
def test_every_token_counts_once_and_windows_fit(length: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    tokens = list(range(1, length + 1))
    counted: list[int] = []
    for part in text_windows(tokens, 0, window=window, overlap=overlap):
        assert len(part.tokens) == len(part.counted) <= window
        assert not part.counted[0]  # it has no prediction
        counted += [t for t, c in zip(part.tokens, part.counted, strict=True) if c]
    assert counted == tokens


def test_one_window_is_the_whole_text_and_full_overlap_is_a_sliding_window(
    model: Transformer,
) -> None:
    tokens = torch.randint(
        1, VOCABULARY, (30,), generator=torch.Generator().manual_seed(3)
    ).tolist()
    (whole,) = text_windows(tokens, 0, window=31)
    assert sequence_likelihoods(model, [whole])[0].nll == pytest.approx(
        plain_nll(model, [0, *tokens], [False] + [True] * 30), rel=1e-5
    )
    sliding = text_windows(tokens, 0, window=8, overlap=7)
    found = sum(x.nll for x in sequence_likelihoods(model, sliding))
    expected = 0.0
    stream = [0, *tokens]
    for i in range(1, len(stream)):
        context = stream[max(0, i - 7) : i + 1]
        expected += plain_nll(model, context, [False] * (len(context) - 1) + [True])
    assert found == pytest.approx(expected, rel=1e-5)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 500), max_size=60))
def test_batches_hold_every_index_once_within_bounds(lengths: list[int]) -> None:
    groups = batched(lengths, tokens=600, rows=4)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= 4
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= 600
