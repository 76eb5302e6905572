"""Losses against plain Python in double precision: from drawn tokens and rewards to the loss."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.model import Transformer, add_lora
from chatwright.tokenizer import Tokenizer
from chatwright.train.objectives import Loss
from chatwright.train.packing import Batch
from chatwright.train.rl.losses import clipped_policy_loss, clipped_value_loss
from chatwright.train.rl.rollout import Rollouts
from chatwright.train.setup import Prepared

from ..conftest import make_documents, tiny_model
from .conftest import make_prompts, prepare, settings
from .test_advantages import plain_gae

NEAR = {"rel": 2e-5, "abs": 2e-6}


def by_answer(rollouts: Rollouts, values: Any) -> list[list[float]]:
    parts = torch.as_tensor(values).split(rollouts.answer_lengths.tolist())
    return [part.tolist() for part in parts]


@torch.no_grad()
def seen(
    model: Transformer, rollouts: Rollouts, temperature: float = 1.0
) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """Log-probabilities, entropies and values of each answer's tokens, in double precision."""
    log_probs, entropies, values = [], [], []
    wide = model.double().eval()
    for ids, length, answer in zip(
        rollouts.tokens.split(rollouts.lengths.tolist()), rollouts.lengths.tolist(),
        rollouts.answer_lengths.tolist(), strict=True,
    ):  # fmt: skip
        hidden = wide.hidden(ids[None])[0]
        rows = ((hidden @ wide.head_weight.T) / temperature).log_softmax(-1)
        at = range(length - answer, length)
        log_probs.append([float(rows[i - 1, ids[i]]) for i in at])
        entropies.append([-float((rows[i - 1].exp() * rows[i - 1]).sum()) for i in at])
        if wide.value is not None:
            values.append([float(hidden[i - 1] @ wide.value.weight[0]) for i in at])
    model.float()
    return log_probs, entropies, values


def whitened(rows: list[list[float]], keep_mean: bool = False) -> list[list[float]]:
    whole = [x for row in rows for x in row]
    mean, deviation = statistics.fmean(whole), math.sqrt(statistics.variance(whole) + 1e-8)
    return [[(x - mean) / deviation + mean * keep_mean for x in row] for row in rows]


def policy_term(new: float, old: float, advantage: float, low: float, high: float) -> float:
    ratio = math.exp(new - old)
    return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


def value_term(new: float, old: float, target: float, clip: float | None) -> float:
    if clip is None:
        return 0.5 * (new - target) ** 2
    bounded = min(max(new, old - clip), old + clip)
    return 0.5 * max((new - target) ** 2, (bounded - target) ** 2)


def k3_term(new: float, reference: float) -> float:
    return math.exp(reference - new) - 1 - (reference - new)


def moved(model: Transformer, size: float = 0.02) -> None:
    """A step in some direction, so that ratios are not 1 and the reference is left."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def total_loss(ready: Prepared, model: Transformer, batches: list[Batch]) -> tuple[float, float]:
    losses = [ready.objective.loss(model, batch) for batch in batches]
    return sum(float(x.sum.detach()) for x in losses), sum(float(x.weight) for x in losses)


def rollouts_of(ready: Prepared) -> Rollouts:
    found: Rollouts = ready.source.rollouts  # type: ignore[attr-defined]
    return found


# -- terms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [(0.2, 0.2), (0.2, 0.28)])
def test_the_clipped_terms(clip: tuple[float, float]) -> None:
    new, old = torch.randn(2, 200, generator=torch.Generator().manual_seed(0)).double() * 0.3
    advantages = torch.randn(200, generator=torch.Generator().manual_seed(1)).double()
    loss, ratio, clipped = clipped_policy_loss(new, old, advantages, clip)
    for i in range(200):
        n, o, a = (float(x[i]) for x in (new, old, advantages))
        assert float(loss[i]) == pytest.approx(policy_term(n, o, a, *clip))
        r = math.exp(n - o)
        assert bool(clipped[i]) == ((a > 0 and r > 1 + clip[1]) or (a < 0 and r < 1 - clip[0]))
        assert float(ratio[i]) == pytest.approx(r)
    # No gradient where the clipped term counts.
    new.requires_grad_(True)
    clipped_policy_loss(new, old, advantages, clip)[0].sum().backward()
    assert new.grad is not None and ((new.grad == 0) == clipped).all()


@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_value_term(clip: float | None) -> None:
    new, old, target = torch.randn(3, 100, generator=torch.Generator().manual_seed(0)).double()
    loss, _ = clipped_value_loss(new, old, target, clip)
    expected = [
        value_term(float(n), float(o), float(t), clip)
        for n, o, t in zip(new, old, target, strict=True)
    ]
    assert loss.tolist() == pytest.approx(expected)


# -- whole losses ----------------------------------------------------------------------------------

PPO: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "entropy_bonus": 0.3, "gamma": 0.9, "lambda": 0.8, "value_clip": 0.05, "clip_high": 0.3,
        "reward_clip": 0.4, "missing_end_penalty": 0.5, "whiten_rewards": True, "temperature": 0.8,
        "kl": {"coefficient": 0.2},
    },
    "kl in the loss": {"kl_in": "loss", "kl": {"coefficient": 0.3}, "whiten": False},
    "no value clip": {"value_clip": None, "value_gradient": False},
}  # fmt: skip


@pytest.mark.parametrize("case", PPO)
def test_ppo_is_the_formula(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    block = PPO[case]
    model = tiny_model(tokenizer)
    wanted = settings("ppo", block=block)
    ready = prepare(model, tokenizer, wanted, tmp_path)
    with torch.no_grad():  # a head that says something
        assert model.value is not None
        model.value.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    # The reference is the model as it was when the run was prepared.
    reference = tiny_model(tokenizer)
    moved(model)
    s = wanted.ppo
    assert s is not None
    batches = ready.source.step(0, 1024)
    rollouts = rollouts_of(ready)
    old, _, old_values = seen(model, rollouts, s.temperature)
    theirs, _, _ = seen(reference, rollouts, s.temperature)
    moved(model, 0.03)
    new, entropy, values = seen(model, rollouts, s.temperature)

    scores = [
        (max(-s.reward_clip, min(s.reward_clip, r)) if s.reward_clip else r)
        - s.missing_end_penalty * cut
        for r, cut in zip(rollouts.rewards.tolist(), rollouts.cut.tolist(), strict=True)
    ]
    beta = s.kl.coefficient if s.kl_in == "reward" else 0.0
    rewards = []
    for score, own, ref in zip(scores, old, theirs, strict=True):
        row = [-beta * (a - b) for a, b in zip(own, ref, strict=True)]
        row[-1] += score
        rewards.append(row)
    if s.whiten_rewards:
        rewards = whitened(rewards, keep_mean=True)
    estimates = [
        plain_gae(r, v, s.gamma, s.lambda_) for r, v in zip(rewards, old_values, strict=True)
    ]
    advantages, returns = [e[0] for e in estimates], [e[1] for e in estimates]
    if s.whiten:
        advantages = whitened(advantages)
    expected = 0.0
    for row in zip(new, old, advantages, values, old_values, returns, entropy, theirs, strict=True):
        for n, o, a, v, ov, target, h, ref in zip(*row, strict=True):
            expected += policy_term(n, o, a, *s.clip) - s.entropy_bonus * h
            expected += s.value_coefficient * value_term(v, ov, target, s.value_clip)
            if s.kl_in == "loss":
                expected += s.kl.coefficient * k3_term(n, ref)
    found, weight = total_loss(ready, model, batches)
    assert weight == int(rollouts.answer_lengths.sum())
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


GRPO: dict[str, dict[str, Any]] = {
    "tokens": {},
    "sequences": {"normalise": "sequences", "kl": {"coefficient": 0.1}},
    "constant": {"normalise": "constant", "scale": "none", "temperature": 1.3},
    "batch": {"scale": "batch", "clip_high": None, "entropy_bonus": 0.1},
    "masked": {"mask_cut": True, "answers": 8, "max_new_tokens": 24, "kl": {"coefficient": 0.1}},
}


@pytest.mark.parametrize("case", GRPO)
def test_grpo_is_the_formula(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = tiny_model(tokenizer)
    wanted = settings("grpo", block={"answers": 4, "max_new_tokens": 12, "epochs": 2, **GRPO[case]})
    ready = prepare(model, tokenizer, wanted, tmp_path)
    s = wanted.grpo
    assert s is not None
    reference = tiny_model(tokenizer)
    moved(model)
    batches = ready.source.step(0, 1024)
    rollouts = rollouts_of(ready)
    if case == "masked":
        assert 0 < rollouts.cut.sum() < len(rollouts)
    old, _, _ = seen(model, rollouts, s.temperature)
    theirs, _, _ = seen(reference, rollouts, s.temperature)
    moved(model, 0.03)
    new, entropy, _ = seen(model, rollouts, s.temperature)
    rewards = rollouts.rewards.tolist()
    groups = [rewards[i : i + s.answers] for i in range(0, len(rewards), s.answers)]
    expected = divisor = 0.0
    for number, (n_row, o_row, ref_row, h_row) in enumerate(
        zip(new, old, theirs, entropy, strict=True)
    ):
        if s.mask_cut and rollouts.cut[number]:
            continue
        group = groups[number // s.answers]
        advantage = rewards[number] - statistics.fmean(group)
        if s.scale != "none":
            spread = statistics.stdev(group if s.scale == "group" else rewards)
            advantage /= spread + 1e-4
        own = 0.0
        for n, o, ref, h in zip(n_row, o_row, ref_row, h_row, strict=True):
            own += policy_term(n, o, advantage, *s.clip) - s.entropy_bonus * h
            own += s.kl.coefficient * k3_term(n, ref)
        if s.normalise == "tokens":
            expected, divisor = expected + own, divisor + len(n_row)
        elif s.normalise == "sequences":
            expected, divisor = expected + own / len(n_row), divisor + 1
        else:
            expected, divisor = expected + own / s.max_new_tokens, divisor + 1
    found, weight = total_loss(ready, model, batches)
    assert weight == pytest.approx(divisor)
    assert found / weight == pytest.approx(expected / divisor, rel=1e-4, abs=1e-5)


def test_pretraining_is_mixed_in(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = tiny_model(tokenizer)
    data = [(make_prompts(), 1.0), (make_documents(4), 1.0)]
    plain = prepare(model, tokenizer, settings("ppo"), tmp_path)
    block = {"pretrain_mix": 0.5, "pretrain_tokens": 32}
    ready = prepare(model, tokenizer, settings("ppo", block=block), tmp_path, data=data)
    without = plain.source.step(0, 1024)
    batches = ready.source.step(0, 1024)
    documents = [b for b in batches if bool((b.extra["pretrain"] > 0).any())]
    assert sum(b.supervised for b in documents) == 32
    assert all(b.extra.keys() == batches[0].extra.keys() for b in batches)  # ranks may join them
    total = 0.0
    for batch in documents:
        start = 0
        for length in batch.lengths:
            part = slice(start, start := start + length)
            with torch.no_grad():
                rows = model(batch.tokens[:, part])[0].log_softmax(-1)
            total -= float(rows.gather(1, batch.targets[0, part, None]).sum())
    (loss, weight), (before, same) = (
        total_loss(ready, model, batches),
        total_loss(plain, model, without),
    )
    assert weight == same
    assert loss / weight == pytest.approx(before / weight + 0.5 * total / 32, rel=1e-4)


# -- sums ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["ppo", "grpo"])
def test_micro_batches_are_one_large_batch(
    objective: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = tiny_model(tokenizer)
    block = {"normalise": "sequences"} if objective == "grpo" else {"entropy_bonus": 0.1}
    wanted = settings(objective, block={**block, "kl": {"coefficient": 0.1}})
    ready = prepare(model, tokenizer, wanted, tmp_path)
    one = ready.source.step(0, 4096)
    several = ready.source.step(0, 32)
    assert len(one) == 1 and len(several) > 2
    moved(model)
    gradients = []
    for batches in (one, several):
        model.zero_grad()
        losses: list[Loss] = []
        for batch in batches:
            losses.append(ready.objective.loss(model, batch))
            losses[-1].sum.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        gradients[-1].append(sum(x.sum.detach() for x in losses))  # type: ignore[arg-type]
        gradients[-1].append(sum(x.weight for x in losses))  # type: ignore[arg-type]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("objective", ["ppo", "grpo"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lora", [False, True])
def test_the_first_ratio_is_one(
    objective: str, dtype: torch.dtype, lora: bool, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """With gradients on, on every token of the minibatches of the first epoch."""
    model = tiny_model(tokenizer)
    if lora:
        add_lora(model, rank=2, dropout=0.3)
        moved(model)
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.to(dtype)
    precision = "fp32" if dtype == torch.float32 else "bf16"
    wanted = settings(
        objective, block={"minibatches": 2, "epochs": 2, "temperature": 0.9}, precision=precision
    )
    ready = prepare(model, tokenizer, wanted, tmp_path)
    for step in (0, 1):
        batches = ready.source.step(step, 64)
        assert len(batches) > 1
        model.train()
        for batch in batches:
            loss = ready.objective.loss(model, batch)
            total, count = loss.metrics["ratio"].tolist()
            assert total / count == pytest.approx(1, abs=1e-6)
            spread, _ = loss.metrics["update_kl"].tolist()
            assert spread == pytest.approx(0, abs=1e-9)  # no token's ratio is another


def test_an_only_update_needs_no_old_probabilities(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The same gradients as where the probabilities before the update were computed first."""
    model = tiny_model(tokenizer)
    gradients = []
    for epochs in (1, 2):
        wanted = settings("grpo", block={"epochs": epochs, "kl": {"coefficient": 0.1}})
        ready = prepare(model, tokenizer, wanted, tmp_path)
        reference = ready.source._actors.reference  # type: ignore[attr-defined]
        moved(reference.requires_grad_(True))
        model.zero_grad()
        for batch in ready.source.step(0, 64):
            assert ("log_probs" in batch.extra) == (epochs == 2)
            ready.objective.loss(model, batch).sum.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_importance_weighs_advantages(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """As if each token's advantage were so much larger, up to the cap."""
    model = tiny_model(tokenizer)
    losses = []
    for cap in (None, 1.5):
        wanted = settings("grpo", block={"epochs": 2, "importance_cap": cap})
        ready = prepare(model, tokenizer, wanted, tmp_path)
        (batch,) = ready.source.step(0, 4096)
        x = dict(batch.extra)
        x["engine"] = x["log_probs"] - torch.linspace(-1, 1, x["engine"].shape[1])[None]
        if cap is None:
            weights = torch.exp(x["log_probs"] - x["engine"]).clamp(max=1.5)
            x["advantages"] = x["advantages"] * weights
        losses.append(float(ready.objective.loss(model, replace(batch, extra=x)).sum.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_all_answers_masked_is_a_step_that_changes_nothing(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = tiny_model(tokenizer)
    wanted = settings("grpo", block={"mask_cut": True, "max_new_tokens": 1})
    ready = prepare(model, tokenizer, wanted, tmp_path)
    batches = ready.source.step(0, 1024)
    assert rollouts_of(ready).cut.all()
    loss, weight = total_loss(ready, model, batches)
    assert loss == 0 and weight == 6
