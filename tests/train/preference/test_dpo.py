"""Direct preference optimisation against transformers, and its cached reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatwright.errors import UsageError
from chatwright.model import Transformer, add_lora, save_model
from chatwright.progress import Silent
from chatwright.records import Preference
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainResult, TrainSettings, train
from chatwright.train.preference import reference as caching
from chatwright.train.preference.dpo import DirectPreference
from chatwright.train.preference.logps import answer_log_probs
from chatwright.train.preference.pairs import encode_pair, write_pair_file
from chatwright.train.preference.plan import MixedPairs, PairPlan
from chatwright.train.preference.reference import reference_log_probs

from .conftest import make_preferences, tiny_model


@pytest.fixture
def plan(tokenizer: Tokenizer, tmp_path: Path) -> PairPlan:
    file = write_pair_file(
        tmp_path / "p", make_preferences(8), tokenizer, stage="s", total=None, progress=Silent()
    )
    return PairPlan([MixedPairs(file)], length=128, pairs_per_step=8, seed=0)


def quick(**changes: Any) -> TrainSettings:
    wanted: dict[str, Any] = {
        "objective": "dpo",
        "steps": 5,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "precision": "fp32",
        "preference": {"held_out": 0.25},
    }
    return TrainSettings(**(wanted | changes))


def run(
    tokenizer: Tokenizer,
    rows: list[Preference] | None = None,
    *,
    models: dict[str, Transformer] | None = None,
    scratch: Path | None = None,
    **changes: Any,
) -> TrainResult:
    return train(
        tiny_model(tokenizer),
        tokenizer,
        rows or make_preferences(40),
        quick(**changes),
        models=models,
        scratch=scratch,
    )


def reference(model: Transformer, plan: PairPlan, folder: Path) -> np.ndarray:
    return reference_log_probs(
        model,
        plan,
        plan.pairs,
        folder,
        dtype=torch.float32,
        tokens_at_once=300,
        progress=Silent(),
    )


# -- log-probabilities and loss --------------------------------------------------------------------


@pytest.fixture
def by_transformers(tokenizer: Tokenizer, tmp_path: Path) -> dict[str, tuple[float, float]]:
    """log π of both answers by row, each sequence alone through transformers' model."""
    from transformers import AutoModelForCausalLM

    save_model(tiny_model(tokenizer, seed=5), tokenizer, tmp_path / "m")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    found = {}
    for row in make_preferences(8):
        pair = encode_pair(row, tokenizer)
        sums = []
        for answer in (pair.chosen, pair.rejected):
            tokens = torch.tensor([pair.prompt + answer])
            with torch.no_grad():
                log_probs = theirs(tokens).logits[0].double().log_softmax(-1)
            at = range(len(pair.prompt), tokens.shape[1])
            sums.append(sum(float(log_probs[i - 1, tokens[0, i]]) for i in at))
        found[row.id] = (sums[0], sums[1])
    return found


def test_log_probs_are_those_of_transformers(
    plan: PairPlan,
    by_transformers: dict[str, tuple[float, float]],
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    found = reference(tiny_model(tokenizer, seed=5), plan, tmp_path / "r")
    for pair in plan.pairs:
        expected = by_transformers[plan.files[0].row_ids[pair.row]]
        np.testing.assert_allclose(found[pair.number], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta": 0.5, "label_smoothing": 0.2},
        {"kind": "ipo", "beta": 0.3},
        {"sft_weight": 0.7},
    ],
)
def test_the_loss_by_hand(
    options: dict[str, Any],
    plan: PairPlan,
    by_transformers: dict[str, tuple[float, float]],
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    policy, before = tiny_model(tokenizer, seed=5), tiny_model(tokenizer, seed=6)
    plan.known["reference"] = reference(before, plan, tmp_path / "r")
    old = {plan.files[0].row_ids[p.row]: plan.known["reference"][p.number] for p in plan.pairs}
    beta, smoothing = options.get("beta", 0.1), options.get("label_smoothing", 0.0)
    expected, right = 0.0, 0
    for row in make_preferences(8):
        pair = encode_pair(row, tokenizer)
        chosen, rejected = (
            new - float(was) for new, was in zip(by_transformers[row.id], old[row.id], strict=True)
        )
        if options.get("kind") == "ipo":
            difference = chosen / len(pair.chosen) - rejected / len(pair.rejected)
            expected += (difference - 1 / (2 * beta)) ** 2
        else:
            x = beta * (chosen - rejected)
            expected += (1 - smoothing) * math.log1p(math.exp(-x))
            expected += smoothing * math.log1p(math.exp(x))
        expected -= options.get("sft_weight", 0.0) * by_transformers[row.id][0] / len(pair.chosen)
        right += chosen > rejected
    for tokens_at_once in (10**6, 200):  # one large batch, several small ones
        total, weight, correct = 0.0, 0, 0.0
        for batch in plan.step(0, tokens_at_once):
            with torch.no_grad():
                loss = DirectPreference(**options).loss(policy, batch)
            total += float(loss.sum)
            weight += int(loss.weight)
            correct += float(loss.metrics["accuracy"])
        assert weight == 8 and correct == right
        assert total == pytest.approx(expected, rel=2e-5)


def test_gradients_of_micro_batches_are_those_of_one(plan: PairPlan, tokenizer: Tokenizer) -> None:
    plan.known["reference"] = np.full((8, 2), -30.0, np.float32)

    def gradient(tokens_at_once: int) -> torch.Tensor:
        model = tiny_model(tokenizer)
        for batch in plan.step(0, tokens_at_once):
            DirectPreference(sft_weight=0.1).loss(model, batch).sum.backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(10**6)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(gradient(150), whole, rtol=1e-3, atol=1e-5)


def test_short_precision_is_near(plan: PairPlan, tokenizer: Tokenizer) -> None:
    batch = plan.step(0, 10**6)[0]
    with torch.no_grad():
        wide, lengths = answer_log_probs(tiny_model(tokenizer), batch)
        short, _ = answer_log_probs(tiny_model(tokenizer).to(torch.bfloat16), batch)
    assert short.shape == wide.shape == (16,) and short.dtype == torch.float32
    torch.testing.assert_close(short / lengths, wide / lengths, rtol=0.02, atol=0.02)


# -- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4, dropout=0.1)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_first_step_has_ratio_one(
    lora: LoraSettings | None, precision: str, tokenizer: Tokenizer
) -> None:
    if lora is not None:
        lora = LoraSettings(rank=4)
    result = run(tokenizer, lora=lora, precision=precision)
    first, last = result.metrics[0], result.metrics[-1]
    near = 1e-5 if precision == "fp32" else 0.02
    assert first["loss"] == pytest.approx(math.log(2), abs=near)
    assert abs(first["margin"]) < near and abs(first["reward_chosen"]) < near
    assert last["loss"] < first["loss"] and last["margin"] > 0.02
    assert last["validation_margin"] > 0 and last["validation_accuracy"] > 0.6


def test_ipo_starts_at_its_known_value(tokenizer: Tokenizer) -> None:
    result = run(tokenizer, preference={"loss": "ipo", "beta": 0.5, "held_out": 0.25}, steps=3)
    assert result.metrics[0]["loss"] == pytest.approx(1.0, abs=1e-5)  # (0 − 1/(2β))²
    assert result.metrics[-1]["loss"] < 1


# -- the reference ---------------------------------------------------------------------------------


def test_the_reference_is_computed_once(
    plan: PairPlan, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    compute = caching._compute

    def counted(*args: Any, **options: Any) -> np.ndarray:
        calls.append(1)
        return compute(*args, **options)

    monkeypatch.setattr(caching, "_compute", counted)
    folder = tmp_path / "r"
    first = reference(tiny_model(tokenizer), plan, folder)
    assert np.array_equal(reference(tiny_model(tokenizer), plan, folder), first)
    adapted = tiny_model(tokenizer)
    add_lora(adapted, rank=2)  # adds nothing yet
    assert np.array_equal(reference(adapted, plan, folder), first)
    assert len(calls) == 1
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if name.endswith("lora_B"):
                p.fill_(0.1)
    assert not np.array_equal(reference(adapted, plan, folder), first)
    reference(tiny_model(tokenizer, seed=2), plan, folder)
    assert len(calls) == 3
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    assert np.array_equal(reference(tiny_model(tokenizer), plan, folder), first)
    assert len(calls) == 4


def test_the_reference_is_what_is_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    other = tiny_model(tokenizer, seed=9).eval()
    result = run(tokenizer, models={"reference": other}, steps=1)
    assert abs(result.metrics[0]["loss"] - math.log(2)) > 1e-4
    same = run(tokenizer, models={"reference": tiny_model(tokenizer)}, steps=1)
    assert same.metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    config = other.config.model_copy(update={"vocab_size": 77})
    with pytest.raises(UsageError, match="vocabulary of 77"):
        run(tokenizer, models={"reference": Transformer.random(config, 1)})


def test_computing_the_reference_changes_no_model(
    plan: PairPlan, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = tiny_model(tokenizer).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = reference_log_probs(
        model,
        plan,
        plan.pairs[:2],
        tmp_path / "r",
        dtype=torch.bfloat16,
        tokens_at_once=100,
        progress=Silent(),
    )
    assert np.isfinite(found[:2]).all() and np.isnan(found[2:]).all()
    assert model.training and model.dtype == torch.float32
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
