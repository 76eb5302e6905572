"""Reward models: the loss, what is held out, the checkpoint that others open, and the scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chatwright.errors import DataError, ModelError
from chatwright.model import (
    Transformer,
    add_lora,
    load_adapter,
    load_model,
    merge_lora,
    save_adapter,
    save_model,
)
from chatwright.model.gguf_write import write_gguf
from chatwright.progress import Silent
from chatwright.records import Message, Preference
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainResult, TrainSettings, train
from chatwright.train.preference.pairs import encode_pair, place_of, write_pair_file
from chatwright.train.preference.plan import MixedPairs, PairPlan
from chatwright.train.preference.reward import Reward, normalise
from chatwright.train.preference.scoring import (
    score_batch,
    score_conversations,
    score_sequences,
)

from .conftest import make_preferences, reward_model, tiny_model


def plan_of(rows: list[Preference], tokenizer: Tokenizer, path: Path, **more: Any) -> PairPlan:
    file = write_pair_file(path, rows, tokenizer, stage="s", total=None, progress=Silent())
    return PairPlan([MixedPairs(file)], length=128, pairs_per_step=8, seed=0, **more)


def conversations(rows: list[Preference]) -> list[list[Message]]:
    return [
        [*row.prompt, Message("assistant", answer)]
        for row in rows
        for answer in (row.chosen, row.rejected)
    ]


def score_alone(model: Transformer, tokens: list[int]) -> float:
    """By the definition: the last hidden state of the sequence alone, times the head."""
    assert model.score is not None
    with torch.no_grad():
        return float(model.score(model.hidden(torch.tensor([tokens]))[0, -1]))


def quick(**changes: Any) -> TrainSettings:
    wanted: dict[str, Any] = {
        "objective": "reward",
        "steps": 12,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "precision": "fp32",
        "preference": {"held_out": 0.25},
    }
    return TrainSettings(**(wanted | changes))


def run(tokenizer: Tokenizer, rows: list[Preference] | None = None, **changes: Any) -> TrainResult:
    return train(tiny_model(tokenizer), tokenizer, rows or make_preferences(40), quick(**changes))


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("center", [0.0, 0.3])
@pytest.mark.parametrize("margin", [False, True])
def test_the_loss_is_what_each_sequence_alone_gives(
    center: float, margin: bool, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = make_preferences(8)
    model = reward_model(tokenizer)
    expected, right = 0.0, 0
    for row in rows:
        pair = encode_pair(row, tokenizer)
        a, b = (score_alone(model, pair.prompt + t) for t in (pair.chosen, pair.rejected))
        asked = float(row.meta.get("margin", 0)) if margin else 0.0
        expected += math.log(1 + math.exp(-(a - b - asked))) + center * (a + b) ** 2
        right += a > b
    for tokens_at_once in (10**6, 200, 1):  # one large batch, several, a pair at a time
        found, weight, correct = 0.0, 0, 0.0
        for batch in plan_of(rows, tokenizer, tmp_path / "p").step(0, tokens_at_once):
            loss = Reward(center, margin).loss(model, batch)
            found += float(loss.sum.detach())
            weight += int(loss.weight)
            correct += float(loss.metrics["accuracy"])
        assert weight == 8 and correct == right
        assert found == pytest.approx(expected, rel=1e-5)


def test_gradients_of_micro_batches_are_those_of_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    plan = plan_of(make_preferences(8), tokenizer, tmp_path / "p")

    def gradient(tokens_at_once: int) -> torch.Tensor:
        model = reward_model(tokenizer)
        for batch in plan.step(0, tokens_at_once):
            Reward().loss(model, batch).sum.backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(10**6)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(gradient(150), whole, rtol=1e-4, atol=1e-6)


def test_padding_changes_no_score(tokenizer: Tokenizer, tmp_path: Path) -> None:
    batch = plan_of(make_preferences(8), tokenizer, tmp_path / "p").step(0, 10**6)[0]
    model = reward_model(tokenizer).to(torch.bfloat16)
    assert batch.tokens.shape[1] % 128
    with torch.no_grad():
        short = score_batch(model, batch)  # padded inside: bfloat16 on a CPU
        full = score_batch(model.float(), batch)
    assert short.shape == full.shape == (16,)
    torch.testing.assert_close(short, full, rtol=0.05, atol=0.05)


# -- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)])
def test_it_learns_what_is_preferred(lora: LoraSettings | None, tokenizer: Tokenizer) -> None:
    result = run(tokenizer, lora=lora)
    first, last = result.metrics[0], result.metrics[-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)  # the head begins at zero
    assert first["margin"] == 0 and first["accuracy"] == 0.5
    assert last["loss"] < 0.5 and last["accuracy"] > 0.9
    assert last["validation_accuracy"] > 0.7 and last["validation_loss"] < 0.6
    assert last["reward_chosen"] > last["reward_rejected"]


def test_mixed_precision_agrees(tokenizer: Tokenizer) -> None:
    wide, short = (run(tokenizer, precision=p, steps=4) for p in ("fp32", "bf16"))
    assert short.loss == pytest.approx(wide.loss, abs=0.02)


def test_held_out_prompts_are_not_trained_on(tokenizer: Tokenizer) -> None:
    rows = make_preferences(40)
    held = {row.id for row in rows if place_of(row.prompt) >= 0.75}
    assert 2 < len(held) < 20
    twin = make_preferences(40)
    for row in twin:
        if row.id in held:  # other answers there change nothing but the validation
            row.chosen, row.rejected = row.rejected, row.chosen
    one, other = run(tokenizer, rows, steps=3), run(tokenizer, twin, steps=3)
    assert [m["loss"] for m in one.metrics] == [m["loss"] for m in other.metrics]
    last = "validation_accuracy"
    assert one.metrics[-1][last] == pytest.approx(1 - other.metrics[-1][last])
    named = train(
        tiny_model(tokenizer),
        tokenizer,
        rows,
        quick(preference={}, steps=1),
        validation=make_preferences(4),
    )
    assert "validation_accuracy" in named.metrics[-1]
    none = run(tokenizer, preference={"held_out": 0}, steps=1)
    assert "validation_accuracy" not in none.metrics[-1]


def test_steps_from_tokens_and_epochs(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = make_preferences(40)
    plain = {"preference": {"held_out": 0}, "steps": None}
    assert run(tokenizer, rows, epochs=0.5, **plain).steps == 3
    size = plan_of(rows, tokenizer, tmp_path / "p").tokens_per_pair
    result = run(tokenizer, rows, tokens=round(size * 8 * 2), **plain)
    assert result.steps in (2, 3) and result.tokens == pytest.approx(16 * size, rel=0.6)


def test_rewards_are_normalised(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = make_preferences(24)
    wanted = quick(preference={"held_out": 0}, steps=3)
    result = train(tiny_model(tokenizer), tokenizer, rows, wanted)
    scores = score_conversations(result.model, tokenizer, conversations(rows))
    assert abs(scores.mean()) < 1e-4 and scores.std() == pytest.approx(1, abs=1e-4)
    raw = score_conversations(result.model, tokenizer, conversations(rows), normalised=False)
    config = result.model.config
    np.testing.assert_allclose(scores * config.reward_std + config.reward_mean, raw, atol=1e-5)
    normalise(result.model, plan_of(rows, tokenizer, tmp_path / "p"), 0, 1000)
    assert (result.model.config.reward_mean, result.model.config.reward_std) == (0.0, 1.0)


# -- scores ----------------------------------------------------------------------------------------


def test_scores_are_those_of_each_conversation_alone(tokenizer: Tokenizer) -> None:
    model = reward_model(tokenizer)
    model.config = model.config.model_copy(update={"reward_mean": 0.25, "reward_std": 2.0})
    chats = conversations(make_preferences(9))
    expected = []
    for messages in chats:
        tokens, mask = tokenizer.chat_with_mask(messages)
        end = max(i + 1 for i, said in enumerate(mask) if said)
        expected.append((score_alone(model, tokens[:end]) - 0.25) / 2)
    for tokens_at_once in (1, 100, 10**6):
        found = score_conversations(model, tokenizer, chats, tokens_at_once=tokens_at_once)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert score_conversations(model, tokenizer, []).shape == (0,)


def test_scores_of_long_and_impossible_sequences(tokenizer: Tokenizer) -> None:
    model = reward_model(tokenizer)
    long = list(range(5, 5 + 200))  # the context is 128
    found = score_sequences(model, [long, long[-128:]])
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-6)
    with pytest.raises(ModelError, match="empty sequence"):
        score_sequences(model, [[]])
    with pytest.raises(DataError, match="must end with an answer"):
        score_conversations(model, tokenizer, [[Message("user", "hi")]])
    with pytest.raises(ModelError, match="no reward head"):
        score_sequences(tiny_model(tokenizer), [[1, 2]])


# -- checkpoints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_gives_the_same_scores(
    tied: bool, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = reward_model(tokenizer, tied=tied)  # a Llama, and a Qwen3 with a head of its own
    model.config = model.config.model_copy(update={"reward_mean": -0.5, "reward_std": 1.5})
    save_model(model, tokenizer, tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    family = "Llama" if tied else "Qwen3"
    assert config["architectures"] == [f"{family}ForSequenceClassification"]
    assert config["pad_token_id"] not in (None, tokenizer.eos_id)

    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    assert theirs.config.num_labels == 1
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    chats = conversations(make_preferences(5))
    ours = score_conversations(model, tokenizer, chats, normalised=False)
    plain = [[{"role": m.role, "content": m.content} for m in chat] for chat in chats]
    texts = [their_tokenizer.apply_chat_template(c, tokenize=False).rstrip("\n") for c in plain]
    inputs = their_tokenizer(
        texts, return_tensors="pt", padding=True, add_special_tokens=False, padding_side="right"
    )
    with torch.no_grad():
        found = theirs(**inputs).logits[:, 0]
    np.testing.assert_allclose(found.numpy(), ours, atol=1e-5)

    again, _ = load_model(tmp_path / "m", dtype=torch.float32, device="cpu")
    assert again.score is not None and again.config.reward_std == 1.5
    scores = score_conversations(again, tokenizer, chats)
    np.testing.assert_allclose(scores, (ours + 0.5) / 1.5, atol=1e-5)
    save_model(again, tokenizer, tmp_path / "again")
    same = load_model(tmp_path / "again", dtype=torch.float32, device="cpu")[0].state_dict()
    assert same.keys() == again.state_dict().keys()
    assert all(torch.equal(same[name], value) for name, value in again.state_dict().items())


def test_a_classifier_of_transformers_opens_here(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=1,
        pad_token_id=0,
    )
    theirs = LlamaForSequenceClassification(shape).eval()
    theirs.save_pretrained(tmp_path / "m")
    tokenizer.save(tmp_path / "m")
    ours, _ = load_model(tmp_path / "m", dtype=torch.float32, device="cpu")
    tokens = [[7, 9, 11, 30], [5, 40, 41]]
    expected = [float(theirs(torch.tensor([t])).logits) for t in tokens]
    np.testing.assert_allclose(score_sequences(ours, tokens).numpy(), expected, atol=1e-5)


def test_a_head_that_does_not_fit_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_model(reward_model(tokenizer), tokenizer, tmp_path / "m")
    file = tmp_path / "m/model.safetensors"
    weights = load_file(file)
    save_file(weights | {"score.weight": torch.zeros(2, 32)}, file)
    with pytest.raises(ModelError, match="score"):
        load_model(tmp_path / "m", dtype=torch.float32, device="cpu")


def test_ppos_value_head_is_left_off(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from chatwright.model.heads import add_head

    model = tiny_model(tokenizer)
    add_head(model, "value")
    save_model(model, tokenizer, tmp_path / "m")
    again, _ = load_model(tmp_path / "m", dtype=torch.float32, device="cpu")
    assert again.value is None and again.score is None


def test_gguf_has_no_place_for_a_reward_model(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="predicts no tokens"):
        write_gguf(reward_model(tokenizer), tokenizer, tmp_path / "m.gguf", "F32")


def test_adapters_and_head_are_pefts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    base = reward_model(tokenizer, seed=4)
    save_model(base, tokenizer, tmp_path / "base")
    trained = reward_model(tokenizer, seed=4)
    add_lora(trained, rank=3, alpha=6)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in trained.named_parameters():
            if name.endswith("lora_B") or name == "score.weight":
                p.normal_(0, 0.2, generator=generator)
    save_adapter(trained, tmp_path / "adapter", base=str(tmp_path / "base"))
    tokens = [[7, 9, 11, 30, 2], [5, 40, 41, 2]]
    expected = score_sequences(trained.eval(), tokens).numpy()

    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    adapted = PeftModel.from_pretrained(theirs, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        found = [float(adapted(torch.tensor([t])).logits) for t in tokens]
    np.testing.assert_allclose(found, expected, atol=1e-5)

    ours = tiny_model(tokenizer, seed=4)  # without a head: the adapter brings it
    load_adapter(ours, tmp_path / "adapter")
    np.testing.assert_allclose(score_sequences(ours.eval(), tokens), expected, atol=1e-5)
    np.testing.assert_allclose(score_sequences(merge_lora(ours), tokens), expected, atol=1e-5)

    adapted.save_pretrained(tmp_path / "theirs")
    back = tiny_model(tokenizer, seed=4)
    load_adapter(back, tmp_path / "theirs")
    np.testing.assert_allclose(score_sequences(back.eval(), tokens), expected, atol=1e-5)
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    config["modules_to_save"] = ["lm_head"]
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="modules_to_save"):
        load_adapter(tiny_model(tokenizer, seed=4), tmp_path / "adapter")
