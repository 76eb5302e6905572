"""PPO and GRPO as a user runs them: they learn, go on after a kill, and say what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.errors import ChatwrightError, TrainingError, UsageError
from chatwright.model.heads import add_head
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train
from chatwright.train.loop import Trainer
from chatwright.train.metrics import read_metrics
from chatwright.train.rl.rewards import Sample
from chatwright.train.watch import Watcher

from ..conftest import make_documents, tiny_model
from .conftest import letters, make_preferences, make_prompts, settings

CASES: dict[str, dict[str, Any]] = {
    "ppo": {
        "objective": "ppo",
        "block": {
            "epochs": 2,
            "minibatches": 2,
            "kl": {"coefficient": 0.1, "target": 0.5, "horizon": 20},
            "pretrain_mix": 0.1,
            "pretrain_tokens": 16,
        },
    },
    "ppo-lora-bf16": {
        "objective": "ppo",
        "block": {"epochs": 2},
        "precision": "bf16",
        "lora": LoraSettings(rank=2),
    },
    "grpo": {"objective": "grpo", "block": {"minibatches": 3, "kl": {"coefficient": 0.05}}},
}
STEPS = 5


def data_for(case: str) -> Any:
    rows = [(make_prompts(), 1.0)]
    return [*rows, (make_documents(4), 1.0)] if case == "ppo" else rows


def run(
    case: str, tokenizer: Tokenizer, scratch: Path | None, steps: int = STEPS, **more: Any
) -> Any:
    wanted = settings(**CASES[case], steps=steps, checkpoint_every=1)
    return train(
        tiny_model(tokenizer),
        tokenizer,
        data_for(case),
        wanted,
        reward=letters,
        scratch=scratch,
        **more,
    )


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["ppo", "grpo"])
def test_it_learns_what_is_rewarded(objective: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Random weights write few Latin letters; twenty updates later they write mostly these."""
    blocks: dict[str, dict[str, Any]] = {
        "ppo": {"prompts": 6, "answers": 4, "epochs": 2, "kl": {"coefficient": 0.01}},
        "grpo": {"prompts": 4, "answers": 6},
    }
    wanted = settings(objective, block=blocks[objective], steps=24, micro_batch_tokens=2048)
    result = train(
        tiny_model(tokenizer), tokenizer, make_prompts(), wanted, reward=letters, scratch=tmp_path
    )
    rewards = [line["reward"] for line in result.metrics]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.15, rewards
    lines = [json.loads(x) for x in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    per_iteration = 2 if objective == "ppo" else 1
    assert [x["step"] for x in lines][::4] == list(range(0, 24, per_iteration))
    for line in lines:
        sample = Sample([], line["answer"], line["finish_reason"], line["row_id"])
        assert letters([sample]) == [line["reward"]]
    first = result.metrics[0]
    wanted_names = {"reward", "reward_std", "ended", "answer_tokens", "entropy", "ratio",
                    "clip_fraction", "engine_mismatch", "rollout_seconds"}  # fmt: skip
    if objective == "ppo":
        wanted_names |= {"kl", "kl_coefficient", "value_loss"}
    assert wanted_names <= first.keys()
    assert first["ratio"] == pytest.approx(1, abs=1e-5)
    assert first["engine_mismatch"] < 1e-4


def test_the_value_head_learns_to_foretell(tokenizer: Tokenizer) -> None:
    block = {
        "prompts": 6,
        "answers": 4,
        "epochs": 4,
        "value_coefficient": 1.0,
        "value_clip": None,
        "value_gradient": False,
        "lambda": 1.0,
        "kl": {"coefficient": 0.0},
    }
    wanted = settings("ppo", block=block, steps=16, micro_batch_tokens=2048, learning_rate=1e-2)

    def always(samples: Sequence[Sample]) -> list[float]:
        return [0.7] * len(samples)

    result = train(tiny_model(tokenizer), tokenizer, make_prompts(), wanted, reward=always)
    losses = [line["value_loss"] for line in result.metrics]
    assert losses[0] == pytest.approx(0.5 * 0.7**2, rel=1e-3)  # it begins at zero
    assert losses[-1] < 0.5 * losses[0]
    assert "kl" not in result.metrics[0]  # no penalty, and so no reference


# -- going on --------------------------------------------------------------------------------------


class StopAfter(Watcher):
    """Ends a run in the middle of things."""

    def __init__(self, step: int) -> None:
        self._step = step

    def begin(self, trainer: Trainer) -> None:
        self._last = trainer.position.step + self._step

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        if step == self._last:
            raise KeyboardInterrupt


@pytest.mark.parametrize("case", CASES)
def test_going_on_is_exact_at_every_step(case: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Interrupted after every second step, before that one is saved: half of them come again."""
    undisturbed = run(case, tokenizer, tmp_path / "whole")
    for _ in range(3 * STEPS):
        try:
            resumed = run(case, tokenizer, tmp_path / "parts", callbacks=[StopAfter(2)])
            break
        except KeyboardInterrupt:
            continue
    else:
        pytest.fail("it never came to the end")
    for name, weight in undisturbed.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight), name

    # In the loop, with its own kinds of blocks: the first ratio of every iteration is 1.
    first = [x["ratio"] for x in undisturbed.metrics if "rollout_seconds" in x]
    assert len(first) >= 2 and first == pytest.approx([1.0] * len(first), abs=1e-5)

    def lines(folder: str) -> list[dict[str, Any]]:
        clock = ("second", "mfu", "loss_per")
        return [
            {k: v for k, v in line.items() if not any(word in k for word in clock)}
            for line in read_metrics(tmp_path / folder / "metrics.jsonl")
        ]

    assert lines("parts") == lines("whole")
    kept = [(tmp_path / f / "rollouts.jsonl").read_text() for f in ("whole", "parts")]
    assert kept[0] == kept[1]


def test_the_same_seed_gives_the_same_bits(tokenizer: Tokenizer) -> None:
    one, two = (run("grpo", tokenizer, None, steps=2).model.state_dict() for _ in range(2))
    other = run("grpo", tokenizer, None, steps=2, seed=1).model.state_dict()
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert not all(torch.equal(one[n], other[n]) for n in one)


# -- who judges, who refers ------------------------------------------------------------------------


def test_a_reward_model_judges(tokenizer: Tokenizer) -> None:
    from chatwright.train.preference.scoring import score_conversations
    from chatwright.train.rl.preparing import model_reward

    judge = tiny_model(tokenizer, seed=9)
    with torch.no_grad():
        add_head(judge, "score").weight.normal_(generator=torch.Generator().manual_seed(3))
    policy = tiny_model(tokenizer)
    wanted = settings("grpo", steps=1)
    result = train(policy, tokenizer, make_preferences(), wanted, models={"reward": judge})
    assert math.isfinite(result.metrics[0]["reward"]) and result.metrics[0]["reward_std"] > 0
    row = make_preferences(1)[0]
    sample = Sample(row.prompt, "yes", "stop", row.id)
    from chatwright.records import Message

    expected = score_conversations(judge, tokenizer, [[*row.prompt, Message("assistant", "yes")]])
    assert model_reward(judge, tokenizer)([sample]) == pytest.approx(expected.tolist())


def test_another_reference_and_full_training(tokenizer: Tokenizer) -> None:
    """With the policy itself as reference the divergence begins at 0; with another it does not."""
    own = train(
        tiny_model(tokenizer), tokenizer, make_prompts(), settings("ppo", steps=1), reward=letters
    )
    assert own.metrics[0]["kl"] == pytest.approx(0, abs=1e-5)
    other = train(
        tiny_model(tokenizer),
        tokenizer,
        make_prompts(),
        settings("ppo", steps=1),
        reward=letters,
        models={"reference": tiny_model(tokenizer, seed=5)},
    )
    assert abs(other.metrics[0]["kl"]) > 0.1


def test_held_out_prompts(tokenizer: Tokenizer) -> None:
    wanted = settings("grpo", steps=2, validate_every=1)
    result = train(
        tiny_model(tokenizer),
        tokenizer,
        make_prompts(),
        wanted,
        reward=letters,
        validation=make_preferences(3),
    )
    for line in result.metrics:
        assert line["validation_loss"] == pytest.approx(-line["validation_reward"])
        assert 0 <= line["validation_reward"] <= 1


def test_truncated_importance(tokenizer: Tokenizer) -> None:
    """Engine and trainer agree here, so weighing changes next to nothing."""
    losses = []
    for cap in (None, 2.0):
        wanted = settings("grpo", block={"importance_cap": cap}, steps=2)
        losses.append(
            train(tiny_model(tokenizer), tokenizer, make_prompts(), wanted, reward=letters).metrics
        )
    assert losses[0][1]["gradient_norm"] == pytest.approx(losses[1][1]["gradient_norm"], rel=1e-3)


# -- what is wrong ---------------------------------------------------------------------------------


def test_nobody_to_judge(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="reward model"):
        train(tiny_model(tokenizer), tokenizer, make_prompts(), settings("ppo"))


@pytest.mark.parametrize(
    ("case", "data", "more"),
    [
        ("pretrain_mix is 0", [(make_prompts(), 1.0), (make_documents(2), 1.0)], {}),
        ("there are none", make_prompts(), {"block": {"pretrain_mix": 1.0}}),
        ("not in tokens", make_prompts(), {"steps": None, "tokens": 100}),
        ("leave no room", make_prompts(), {"block": {"max_new_tokens": 64}}),
    ],
)
def test_settings_that_do_not_fit(
    case: str, data: Any, more: dict[str, Any], tokenizer: Tokenizer
) -> None:
    with pytest.raises(ChatwrightError, match=case) as caught:
        train(tiny_model(tokenizer), tokenizer, data, settings("ppo", **more), reward=letters)
    assert caught.value.where is not None and caught.value.hint is not None


@pytest.mark.parametrize(
    "block",
    [
        {"minibatches": 7},
        {"importance_cap": 2.0, "temperature": 0.5},
        {"pretrain_mix": 1.0, "temperature": 0.5},
        {"kl": {"coefficient": 0, "target": 3.0}},
        {"answers": 0},
        {"nonsense": 1},
    ],
)
def test_settings_that_contradict_themselves(block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        settings("ppo", block=block)


def test_a_reward_that_is_no_number_names_the_row(tokenizer: Tokenizer) -> None:
    def odd(samples: Sequence[Sample]) -> list[float]:
        return [math.nan if i == 1 else 0.0 for i, _ in enumerate(samples)]

    with pytest.raises(TrainingError) as caught:
        train(tiny_model(tokenizer), tokenizer, make_prompts(), settings("grpo"), reward=odd)
    assert any(row.id in str(caught.value.where) for row in make_prompts())


def test_recipes_write_lambda() -> None:
    wanted = TrainSettings.model_validate({"objective": "ppo", "ppo": {"lambda": 0.9}})
    assert wanted.ppo is not None and wanted.ppo.lambda_ == 0.9
    again = TrainSettings.model_validate(wanted.model_dump(mode="json"))
    assert again == wanted
