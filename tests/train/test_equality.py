"""Whatever way a step is computed, it is the same step: losses over 20 steps agree to 1e-5."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chatwright.model import Transformer
from chatwright.records import Row
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train
from chatwright.train.objectives import NextToken
from chatwright.train.packing import IGNORED, Batch, make_batch
from chatwright.train.padding import padded_batches
from chatwright.train.plan import Plan

from .conftest import make_conversations, make_documents, tiny_model
from .test_packing import pairs

STEPS = 20


def run(tokenizer: Tokenizer, objective: str, **values: Any) -> tuple[list[float], Transformer]:
    wanted = TrainSettings(
        objective=objective,  # type: ignore[arg-type]
        **{
            "steps": STEPS, "length": 96, "batch_tokens": 480, "precision": "fp32",
            "micro_batch_tokens": 480, "optimizer": "adamw", "learning_rate": 3e-3, **values,
        },
    )  # fmt: skip
    rows: list[Row] = (
        [*make_documents(24)] if objective == "pretrain" else [*make_conversations(24)]
    )
    result = train(tiny_model(tokenizer), tokenizer, rows, wanted)
    return [line["loss"] for line in result.metrics], result.model


@pytest.fixture(scope="module")
def whole(tokenizer: Tokenizer) -> dict[str, list[float]]:
    """Each step computed as one batch of packed sequences."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {objective: run(tokenizer, objective)[0] for objective in ("pretrain", "sft")}
    torch.set_num_threads(before)
    return found


@pytest.mark.parametrize("objective", ["pretrain", "sft"])
@pytest.mark.parametrize(
    "way",
    [
        {"micro_batch_tokens": 240},  # two parts
        {"micro_batch_tokens": 1},  # every sequence alone: nothing is packed
        {"packing": "padded"},
        {"packing": "padded", "micro_batch_tokens": 200},
        {"checkpoint_activations": True},
    ],
    ids=lambda way: "-".join(map(str, way.values())),
)
def test_the_way_of_computing_changes_no_loss(
    tokenizer: Tokenizer, whole: dict[str, list[float]], objective: str, way: dict[str, Any]
) -> None:
    found, _ = run(tokenizer, objective, **way)
    assert len(found) == STEPS and found[-1] < 0.8 * found[0]
    assert found == pytest.approx(whole[objective], abs=1e-5)


@pytest.mark.parametrize("objective", ["pretrain", "sft"])
def test_the_steps_that_are_compared_differ_from_each_other(
    whole: dict[str, list[float]], objective: str
) -> None:
    """Else the comparison above would be of one number with itself."""
    assert len({round(loss, 4) for loss in whole[objective]}) == STEPS


def test_so_it_is_for_adapters(tokenizer: Tokenizer) -> None:
    lora = LoraSettings(rank=4)
    one, model = run(tokenizer, "sft", lora=lora, learning_rate=2e-3)
    other, split = run(
        tokenizer, "sft", lora=lora, learning_rate=2e-3, packing="padded", micro_batch_tokens=200
    )
    assert other == pytest.approx(one, abs=1e-5)
    for (name, a), b in zip(model.named_parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


def test_validation_is_the_same_padded(tokenizer: Tokenizer) -> None:
    rows = make_conversations(24)
    found = [
        train(
            tiny_model(tokenizer), tokenizer, rows,
            TrainSettings(steps=1, length=96, precision="fp32", packing=packing),  # type: ignore[arg-type]
            validation=rows[:7],
        )
        for packing in ("packed", "padded")
    ]  # fmt: skip
    assert found[0].validation_loss == pytest.approx(found[1].validation_loss, abs=1e-5)
    assert found[0].tokens == found[1].tokens  # padding is not counted
    assert found[0].supervised_tokens == found[1].supervised_tokens


# -- padded batches --------------------------------------------------------------------------------


def sequences_of(batch: Batch) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Each sequence's tokens and targets without its padding, in the batch's order."""
    found = []
    ends = np.cumsum([0, *batch.lengths])
    for start, end in itertools.pairwise(ends):
        assert batch.positions[0, start:end].tolist() == list(range(end - start))
        targets = batch.targets[0, start:end].tolist()
        last = max(i for i, target in enumerate(targets) if target != IGNORED) + 1
        found.append((tuple(batch.tokens[0, start : start + last].tolist()), tuple(targets[:last])))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=9), min_size=1, max_size=4),
    st.integers(1, 200),
)
def test_padding_keeps_every_sequence_and_the_bound(parts: list[list[int]], at_once: int) -> None:
    batches = [
        make_batch(pairs(lengths, 50, seed=i), [f"row-{i}"]) for i, lengths in enumerate(parts)
    ]
    padded = padded_batches(batches, at_once)
    assert sorted(s for b in padded for s in sequences_of(b)) == sorted(
        s for b in batches for s in sequences_of(b)
    )
    assert {row for b in padded for row in b.row_ids} == {f"row-{i}" for i in range(len(parts))}
    for batch in padded:
        assert len(set(batch.lengths)) == 1
        assert batch.tokens.numel() <= at_once or len(batch.lengths) == 1
    real = sum(map(sum, parts))
    assert sum(b.tokens.numel() - b.padding for b in padded) == real
    assert sum(b.supervised for b in padded) == sum(b.supervised for b in batches)


def test_what_an_objective_adds_goes_along() -> None:
    sequences = pairs([2, 4, 3], 50)
    by_token = torch.arange(9.0)[None]
    batch = make_batch(sequences, ["a"])
    batch = Batch(
        batch.tokens, batch.targets, batch.positions, batch.lengths, batch.row_ids,
        extra={"advantage": by_token + 1, "reward": torch.tensor([0.5, 1.5, 2.5])},
    )  # fmt: skip
    (padded,) = padded_batches([batch], 100)
    advantage, reward = padded.extra["advantage"], padded.extra["reward"]
    assert advantage.view(3, 4).tolist() == [[3, 4, 5, 6], [7, 8, 9, 0], [1, 2, 0, 0]]
    assert reward.tolist() == [1.5, 2.5, 0.5]


def test_pairs_are_not_parted() -> None:
    batch = make_batch(pairs([2, 4], 50), ["a"])
    pair = Batch(batch.tokens, batch.targets, batch.positions, (2, 4), ("a",), together=2)
    with pytest.raises(ValueError, match="belong together"):
        padded_batches([pair], 100)


def test_padding_tokens_reach_no_gradient(model: Transformer, monkeypatch: Any) -> None:
    """Whichever token stands there."""

    def gradient(pad: int) -> Tensor:
        monkeypatch.setattr("chatwright.train.padding._PAD", pad)
        (batch,) = padded_batches([make_batch(pairs([9, 3, 20], 300), ["a"])], 1000)
        assert batch.padding == 28
        model.zero_grad()
        NextToken().loss(model, batch).sum.backward()
        assert model.layers[0].mlp.up_proj.weight.grad is not None
        return model.layers[0].mlp.up_proj.weight.grad.clone()

    assert torch.equal(gradient(0), gradient(299))


def test_the_plan_is_not_asked_for_another_step(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Layout is no part of the data's order: rows of each step are the same either way."""
    seen: dict[str, list[set[str]]] = {"packed": [], "padded": []}
    step = Plan.step

    def watched(self: Plan, number: int, tokens_at_once: int) -> list[Batch]:
        batches = step(self, number, tokens_at_once)
        seen[packing].append({row for batch in batches for row in batch.row_ids})
        return batches

    monkeypatch.setattr(Plan, "step", watched)
    for packing in seen:
        run(tokenizer, "sft", packing=packing, steps=4)
    assert seen["packed"] == seen["padded"] and len(seen["packed"]) == 4
