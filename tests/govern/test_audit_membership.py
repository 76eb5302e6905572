"""Membership: figures against scikit-learn, scores against hand-worked cases."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from chatwright.evaluate.likelihood import Scored, sequence_likelihoods, token_losses
from chatwright.govern.audit.losses import losses_of
from chatwright.govern.audit.membership import (
    Observed,
    blind_score,
    judge,
    loss_score,
    membership,
    min_k_score,
    reference_score,
    tpr_at_fpr,
    zlib_score,
)

scores = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=30).map(np.array)


@given(scores, scores)
def test_auc_is_scikit_learns(members: np.ndarray, others: np.ndarray) -> None:
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    found = judge("loss", members, others, resamples=2)
    assert found.auc.value == pytest.approx(roc_auc_score(truth, np.r_[members, others]), abs=1e-12)


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_tpr_is_the_roc_curves(members: np.ndarray, others: np.ndarray, rate: float) -> None:
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    fpr, tpr, _ = roc_curve(truth, np.r_[members, others], drop_intermediate=False)
    expected = max(t for f, t in zip(fpr, tpr, strict=True) if f <= rate + 1e-9)
    assert tpr_at_fpr(members, others, rate) == pytest.approx(expected, abs=1e-12)


def test_scores_by_hand() -> None:
    row = Observed(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "abcabc", reference=27.0)
    assert loss_score(row) == -3.0
    assert min_k_score(row) == -5.0  # a fifth of five tokens: the dearest one
    assert min_k_score(row, 0.4) == -4.5
    assert zlib_score(row) == -15.0 / len(zlib.compress(b"abcabc"))
    assert reference_score(row) == (27.0 - 15.0) / 6
    assert blind_score(row) == len(zlib.compress(b"abcabc")) / 6
    with pytest.raises(ValueError, match="no reference"):
        reference_score(Observed(row.losses, "x"))


def test_intervals_hold_the_value_and_are_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    members, others = random.normal(1, 1, 60), random.normal(0, 1, 80)
    first, again = (judge("x", members, others, seed=3, resamples=400) for _ in range(2))
    assert first == again
    assert first.auc.low < first.auc.value < first.auc.high
    # Hanley & McNeil 1982 give the standard error; the bootstrap is near it.
    a = first.auc.value
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + 59 * (q1 - a * a) + 79 * (q2 - a * a)) / (60 * 80)
    width = 2 * 1.96 * math.sqrt(variance)
    assert (first.auc.high - first.auc.low) == pytest.approx(width, rel=0.25)


def rows(mean: float, seed: int, count: int = 80) -> dict[str, Observed]:
    random = np.random.default_rng(seed)
    return {
        f"{seed}-{n}": Observed(np.abs(random.normal(mean, 0.3, 20)), f"text {n} " * 5, 60.0)
        for n in range(count)
    }


def test_members_that_cost_less_are_told_and_equals_are_not() -> None:
    found = membership(rows(1.0, 1), rows(2.0, 2), kind="document", reference="base")
    assert [a.name for a in found.attacks] == ["loss", "min-20%", "zlib", "reference"]
    assert all(a.auc.low > 0.9 for a in found.attacks)
    assert found.blind.auc.low < 0.5 < found.blind.auc.high
    equal = membership(rows(1.0, 3), rows(1.0, 4), kind="document")
    loss = equal.attacks[0]
    assert loss.auc.low < 0.5 < loss.auc.high


def test_without_a_reference_on_every_row_there_is_none() -> None:
    members = rows(1.0, 1)
    members["1-0"] = Observed(members["1-0"].losses, "x")
    found = membership(members, rows(2.0, 2), kind="document", reference="base")
    assert found.reference is None
    assert "reference" not in [a.name for a in found.attacks]
    with pytest.raises(ValueError, match="at least two"):
        membership(rows(1.0, 1, count=1), rows(1.0, 2), kind="document")


def test_token_losses_add_up_to_the_likelihoods() -> None:
    import torch

    from chatwright.model import ModelConfig, Transformer

    model = Transformer.random(ModelConfig.from_depth(1, 50, context=32), seed=0)
    random = np.random.default_rng(0)
    sequences = []
    for length in (2, 9, 32, 5):
        counted = [False, *(bool(b) for b in random.integers(0, 2, length - 1))]
        sequences.append(Scored([int(t) for t in random.integers(0, 50, length)], counted))
    sequences.append(Scored([3, 4], [False, False]))
    losses = token_losses(model, sequences)
    for part, whole, sequence in zip(
        losses, sequence_likelihoods(model, sequences), sequences, strict=True
    ):
        assert len(part) == whole.tokens == sum(sequence.counted)
        assert part.sum() == pytest.approx(whole.nll, abs=1e-5)
    with torch.inference_mode():
        row = sequences[2]
        logits = model(torch.tensor([row.tokens]))[0].log_softmax(-1)
    by_hand = [-float(logits[i - 1, row.tokens[i]]) for i in range(1, 32) if row.counted[i]]
    assert losses[2] == pytest.approx(by_hand, abs=1e-4)
    with pytest.raises(ValueError, match="do not fit"):
        token_losses(model, [Scored(list(range(33)), [True] * 33)])
    assert token_losses(model, [Scored([1], [False])])[0].size == 0
    named = {str(i): s for i, s in enumerate(sequences)}
    heard: list[str] = []
    known = {"2": losses[2]}
    again = losses_of(model, named, heard.extend, known)
    assert sorted([*heard, "2"]) == sorted(named)
    assert all(np.array_equal(again[n], losses[int(n)]) for n in named)
