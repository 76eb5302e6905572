"""Options that share their beginning, against the same options scored one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.evaluate import forest
from chatwright.evaluate.forest import (
    OptionScore,
    Pair,
    group,
    make_tree,
    score_options,
    shared_prefix,
)
from chatwright.evaluate.likelihood import Scored, sequence_likelihoods
from chatwright.evaluate.packed import packed_weights
from chatwright.model.config import ModelConfig
from chatwright.model.transformer import Transformer

VOCABULARY = 31
CONTEXT = 96

tokens = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9)
# Few different tokens, so that options often share their first ones.
few = st.lists(st.integers(0, 2), min_size=1, max_size=5)
items = st.lists(
    st.tuples(tokens, st.lists(few, min_size=1, max_size=5)).map(
        lambda drawn: [(drawn[0], option) for option in drawn[1]]
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer.random(ModelConfig.from_depth(2, VOCABULARY, context=CONTEXT), seed=3)


def scores(model: Transformer, rows: Sequence[Sequence[Pair]]) -> list[list[OptionScore]]:
    found: dict[int, list[OptionScore]] = {}
    for batch, options in score_options(model, rows):
        found |= dict(zip(batch, options, strict=True))
    return [found[i] for i in range(len(rows))]


def one_by_one(model: Transformer, row: Sequence[Pair]) -> list[float]:
    whole = [Scored([*c, *o], [False] * len(c) + [True] * len(o)) for c, o in row]
    return [sequence_likelihoods(model, [sequence])[0].nll for sequence in whole]


@settings(deadline=None, max_examples=40)
@given(rows=items)
def test_sharing_changes_nothing(model: Transformer, rows: list[list[Pair]]) -> None:
    for row, found in zip(rows, scores(model, rows), strict=True):
        assert [s.nll for s in found] == pytest.approx(one_by_one(model, row), rel=1e-4, abs=1e-4)
        assert [s.tokens for s in found] == [len(option) for _, option in row]


def test_a_long_shared_beginning_is_computed_once(model: Transformer) -> None:
    shots = [(7 * i) % VOCABULARY for i in range(50)]
    rows: list[list[Pair]] = [
        [([*shots, 1, 2], [3, 4]), ([*shots, 1, 2], [3, 5])],
        [([*shots, 9], [8]), ([*shots, 9], [8, 8, 8])],
        [([*shots, 2, 2], [1]), ([*shots, 4, 4, 4], [1])],  # options that differ in their context
    ]
    assert shared_prefix(rows) == shots
    assert max(len(make_tree(row, 50).tokens) for row in rows) == 7  # not 57
    for row, found in zip(rows, scores(model, rows), strict=True):
        assert [s.nll for s in found] == pytest.approx(one_by_one(model, row), rel=1e-4)


def test_every_context_keeps_a_token_of_its_own() -> None:
    """One context is the beginning of all others: its last token must stand in its tree."""
    shots = list(range(10)) * 4
    rows: list[list[Pair]] = [[(shots, [1])], [([*shots, 5], [1])]]
    assert shared_prefix(rows) == shots[:-1]
    assert shared_prefix([[([1, 2, 3], [1])], [([1, 2, 4], [1])]]) == [1, 2]
    assert shared_prefix([[([1, 2, 3], [1])], [([1, 3, 4], [1])]]) == []  # not worth it


def test_greedy_is_what_the_model_would_say(model: Transformer) -> None:
    context = [4, 8, 15, 16, 23]
    likeliest = []
    with torch.no_grad():
        for _ in range(3):
            row = model(torch.tensor([[*context, *likeliest]]))[0, -1]
            likeliest.append(int(row.argmax()))
    other = [*likeliest[:-1], (likeliest[-1] + 1) % VOCABULARY]
    (found,) = scores(model, [[(context, likeliest), (context, other)]])
    assert [s.greedy for s in found] == [True, False]


def test_bfloat16_folds_heads_and_stays_near_float32(model: Transformer) -> None:
    """The other path through attention: it must differ by rounding only."""
    half = Transformer.random(model.config, seed=3).to(torch.bfloat16)
    rows: list[list[Pair]] = [[([1, 2, 3, i], [4, 5]), ([1, 2, 3, i], [6])] for i in range(8)]
    for found, exact in zip(scores(half, rows), scores(model, rows), strict=True):
        assert [s.nll for s in found] == pytest.approx([s.nll for s in exact], rel=0.05)


def test_packed_weights_give_the_same_bits_and_are_gone_afterwards(model: Transformer) -> None:
    half = Transformer.random(model.config, seed=3).to(torch.bfloat16).eval()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    with torch.inference_mode():
        hidden = half.hidden(tokens)
        logits = half.logits(hidden)
        with packed_weights(half) as head:
            assert torch.equal(half.hidden(tokens), hidden)
            assert torch.equal(head(hidden), logits)
        assert torch.equal(half.hidden(tokens), hidden)
        half.layers[0].mlp.up_proj.weight.zero_()  # nothing packed is left over
        assert not torch.equal(half.hidden(tokens), hidden)
    with packed_weights(model) as head:
        assert head == model.logits  # float32 has no use for it


def test_many_logits_are_made_piece_by_piece(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[list[Pair]] = [
        [([i % 7, i], [(i * j) % 29 for j in range(1, 12)])] for i in range(29)
    ]
    whole = scores(model, rows)
    monkeypatch.setattr(forest, "_LOGITS_AT_A_TIME", 16)
    assert [s[0].nll for s in scores(model, rows)] == pytest.approx([s[0].nll for s in whole])


def test_padding_of_the_vocabulary_has_no_part(model: Transformer) -> None:
    row: list[Pair] = [([1, 2], [3])]
    ((_, ((found,),)),) = score_options(model, [row], vocabulary=10)
    logits = model(torch.tensor([[1, 2]]))[0, -1, :10].detach()
    assert found.nll == pytest.approx(-float(logits.log_softmax(-1)[3]), rel=1e-4)


def test_batches_depend_on_the_items_alone(model: Transformer) -> None:
    rows: list[list[Pair]] = [[([i], [1] * (1 + i % 5))] for i in range(VOCABULARY)]
    all_of_them = [batch for batch, _ in score_options(model, rows)]
    assert sorted(i for batch in all_of_them for i in batch) == list(range(len(rows)))
    later = [batch for batch, _ in score_options(model, rows, wanted=lambda b: 0 in b)]
    assert later == [batch for batch in all_of_them if 0 in batch]
    assert not list(score_options(model, rows, wanted=lambda b: False))


@given(st.lists(st.integers(1, 3000), max_size=60))
def test_groups_hold_every_item_once_and_no_more_than_fits(lengths: list[int]) -> None:
    groups = group(lengths, 1024)
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for one in groups:
        assert len(one) == 1 or sum(lengths[i] for i in one) <= 1024
        assert max(lengths[i] for i in one) - min(lengths[i] for i in one) < 16


def test_what_does_not_fit_the_context_is_refused(model: Transformer) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        list(score_options(model, [[([1] * CONTEXT, [2])]]))


def test_a_model_in_training_is_given_back_so(model: Transformer) -> None:
    model.train()
    list(score_options(model, [[([1], [2])]]))
    assert model.training
    model.eval()
