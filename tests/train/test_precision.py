"""float16 with loss scaling, dropout, activation checkpoints, frozen layers: in the whole loop."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from chatwright.errors import TrainingError
from chatwright.model import Transformer
from chatwright.records import Conversation, Document
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainResult, TrainSettings, train
from chatwright.train import scaling as scaling_module
from chatwright.train.blocks import checkpointed_blocks, dropout_in, training_blocks
from chatwright.train.checkpoint import Checkpoints
from chatwright.train.loop import Trainer
from chatwright.train.numbers import decide
from chatwright.train.objectives import NextToken, cross_entropy_sum
from chatwright.train.packing import make_batch

from .conftest import tiny_model
from .test_packing import pairs


def settings(**values: Any) -> TrainSettings:
    known = {"objective": "pretrain", "length": 64, "batch_tokens": 256, "steps": 6}
    return TrainSettings(**{**known, "precision": "fp32", **values})


def losses(result: TrainResult) -> list[float]:
    return [line["loss"] for line in result.metrics]


# -- float16 ---------------------------------------------------------------------------------------


def test_fp16_learns_like_fp32(tokenizer: Tokenizer, documents: list[Document]) -> None:
    runs = [
        train(
            tiny_model(tokenizer), tokenizer, documents, settings(precision=precision, steps=20)
        )
        for precision in ("fp32", "fp16")
    ]  # fmt: skip
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=0.02)
    assert runs[1].model.dtype == torch.float16
    # 2¹⁶ for a mean is 2⁸ for the sum over the 256 tokens of a step.
    assert [line["loss_scale"] for line in runs[1].metrics] == [256] * 20
    assert "loss_scale" not in runs[0].metrics[0]


def test_fp16_trains_adapters(tokenizer: Tokenizer, conversations: list[Conversation]) -> None:
    wanted = settings(
        objective="sft", precision="fp16", lora=LoraSettings(rank=2), length=128, steps=8,
        learning_rate=0.01,
    )  # fmt: skip
    result = train(tiny_model(tokenizer), tokenizer, conversations, wanted)
    assert losses(result)[-1] < losses(result)[0]


def test_a_step_with_infinite_gradients_is_skipped_and_counted(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(scaling_module, "_START", 2.0**30)
    seen: list[Tensor] = []
    step = Trainer._step

    def watched(self: Trainer) -> dict[str, float]:
        seen.append(self.model.embed_tokens.weight.detach().clone())
        return step(self)

    monkeypatch.setattr(Trainer, "_step", watched)
    wanted = settings(precision="fp16", steps=25)
    result = train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path)
    seen.append(result.model.embed_tokens.weight)
    scale, skipped = 2.0**22, 0
    for number, line in enumerate(result.metrics):
        bad = "gradient_norm" not in line
        scale, skipped = (scale / 2, skipped + 1) if bad else (scale, skipped)
        assert (line["loss_scale"], line["skipped_steps"]) == (scale, skipped)
        assert (line["lr"] == 0.0) == bad == torch.equal(seen[number], seen[number + 1])
    assert 3 <= skipped <= 20 and "gradient_norm" not in result.metrics[0]
    assert losses(result)[-1] < 0.8 * losses(result)[0]
    for text in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=pytest.fail)  # no Infinity, no NaN


def test_infinite_gradients_without_end_are_an_error_that_names_the_rows(
    tokenizer: Tokenizer, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_module, "_START", 2.0**80)
    wanted = settings(precision="fp16", steps=40)
    with pytest.raises(TrainingError, match=r"at step 17: the gradient's norm is (inf|nan)") as got:
        train(tiny_model(tokenizer), tokenizer, documents, wanted)
    assert any(row.id in str(got.value) for row in documents)


def test_infinite_gradients_in_fp32_are_an_error_at_once(
    tokenizer: Tokenizer, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NextToken, "loss", _infinite_gradient(NextToken.loss))
    with pytest.raises(TrainingError, match="at step 1: the gradient's norm is"):
        train(tiny_model(tokenizer), tokenizer, documents, settings())


def _infinite_gradient(loss: Any) -> Any:
    def wrapped(self: NextToken, model: Transformer, batch: Any) -> Any:
        found = loss(self, model, batch)
        found.sum.register_hook(lambda grad: grad * math.inf)
        return found

    return wrapped


def test_the_scale_reaches_the_head_though_float16_cannot_hold_it() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(8, 4), torch.randn(33, 4)
    targets = torch.randint(0, 33, (8,))
    wanted = torch.autograd.grad(
        cross_entropy_sum(hidden.requires_grad_(), head, targets) * 2.0**17, hidden
    )[0]
    half = hidden.detach().half().requires_grad_()
    loss = cross_entropy_sum(half, head.half(), targets) * 2.0**17
    got = torch.autograd.grad(loss * 2.0**-4, half)[0]  # 2¹³ · a gradient of about 1
    torch.testing.assert_close(got.float(), wanted * 2.0**-4, rtol=0.02, atol=50)
    assert torch.isfinite(got).all()
    tiny = (hidden.detach() * 1e-3).half().requires_grad_()
    far = cross_entropy_sum(tiny, head.half() * 1e-3, targets) * 2.0**17  # more than 65,504
    assert torch.isfinite(torch.autograd.grad(far, tiny)[0]).all()


def test_the_scaler_is_in_the_checkpoint(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(scaling_module, "_START", 2.0**27)
    wanted = settings(precision="fp16", steps=9, checkpoint_every=3)
    result = train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path, run="r")
    state = Checkpoints(tmp_path / "state", "r").latest(pytest.fail)
    assert state is not None
    assert state.position.counters["scaler.scale"] == result.metrics[-1]["loss_scale"]
    assert state.position.counters["scaler.skipped"] == result.metrics[-1]["skipped_steps"] > 0
    (tmp_path / "state" / "step-00000009" / "state.json").unlink()  # as if killed before it
    again = train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path, run="r")
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    same = [{k: v for k, v in line.items() if "second" not in k and k != "mfu"}
            for line in again.metrics]  # fmt: skip
    for line, other in zip(same, result.metrics, strict=True):
        assert line.items() <= other.items()


# -- activation checkpoints ------------------------------------------------------------------------


def gradients(model: Transformer) -> dict[str, Tensor]:
    model.train()
    model.zero_grad()
    torch.manual_seed(3)
    batch = make_batch(pairs([9, 20, 20, 5], model.config.vocab_size), ["a"])
    NextToken().loss(model, batch).sum.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointed_blocks_give_the_same_gradients_to_the_bit(
    model: Transformer, dropout: float
) -> None:
    with training_blocks(model, dropout=dropout):
        kept = gradients(model)
    with training_blocks(model, dropout=dropout, checkpoint=True):
        again = gradients(model)
    assert kept.keys() == again.keys() == dict(model.named_parameters()).keys()
    for name, gradient in kept.items():
        assert torch.equal(gradient, again[name]), name
    assert all("forward" not in vars(block) for block in model.layers)
    assert not model.embed_tokens._forward_hooks


def test_a_checkpointed_block_keeps_its_input_only(model: Transformer) -> None:
    def kept(checkpoint: bool) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with (
            training_blocks(model, checkpoint=checkpoint),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            batch = make_batch(pairs([40] * 10, model.config.vocab_size), ["a"])
            hidden = model.hidden(batch.tokens, batch.positions)
            hidden.sum().backward()
        return sum(sizes.values())

    weights = sum(p.numel() * 4 for p in model.parameters())
    assert kept(False) - weights > 3 * max(1, kept(True) - weights)


def test_without_gradients_nothing_is_computed_twice(model: Transformer) -> None:
    tokens = torch.randint(0, model.config.vocab_size, (1, 9))
    with torch.no_grad():
        expected = model(tokens)
        with checkpointed_blocks(model):
            assert torch.equal(model(tokens), expected)


def test_a_run_with_checkpointed_blocks_is_the_same_run(
    tokenizer: Tokenizer, documents: list[Document]
) -> None:
    runs = [
        train(tiny_model(tokenizer), tokenizer, documents, settings(checkpoint_activations=c))
        for c in (False, True)
    ]
    assert losses(runs[0]) == losses(runs[1])
    for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(a, b)


# -- dropout ---------------------------------------------------------------------------------------


def test_dropout_zeroes_a_share_and_keeps_the_mean(model: Transformer) -> None:
    found: list[Tensor] = []
    handle = model.layers[0].register_forward_pre_hook(lambda _, args: found.append(args[0]))
    tokens = torch.randint(0, model.config.vocab_size, (1, 400))
    embedded = model.embed_tokens(tokens)
    with dropout_in(model, 0.25):
        torch.manual_seed(0)
        model.train()
        model.hidden(tokens[:, :128])
        model.hidden(tokens[:, :128])
        model.eval()
        model.hidden(tokens[:, :128])
    handle.remove()
    first, second, evaluated = found
    zero = first == 0
    assert 0.22 < float(zero.float().mean()) < 0.28
    torch.testing.assert_close(first[~zero], (embedded[:, :128] / 0.75)[~zero])
    assert not torch.equal(first, second)  # drawn anew
    assert torch.equal(evaluated, embedded[:, :128])


def test_dropout_is_on_in_training_and_off_in_validation(
    tokenizer: Tokenizer, documents: list[Document]
) -> None:
    plain, dropped = (
        train(
            tiny_model(tokenizer), tokenizer, documents,
            settings(dropout=rate, learning_rate=1e-30, weight_decay=0.0, steps=2),
            validation=documents[:3],
        )
        for rate in (0.0, 0.5)
    )  # fmt: skip
    assert dropped.validation_loss == pytest.approx(plain.validation_loss, rel=1e-6)
    assert losses(dropped)[0] != pytest.approx(losses(plain)[0], rel=1e-4)
    again = train(
        tiny_model(tokenizer), tokenizer, documents,
        settings(dropout=0.5, learning_rate=1e-30, weight_decay=0.0, steps=2),
    )  # fmt: skip
    assert losses(again) == losses(dropped)  # one seed, one run


# -- frozen layers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["auto", "sgd"])
def test_frozen_parameters_stay_to_the_bit_and_have_no_state(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path, precision: str, optimizer: str
) -> None:
    model = tiny_model(tokenizer)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    wanted = settings(
        freeze=("embed_tokens", "layers.0"), precision=precision, optimizer=optimizer,
        weight_decay=0.5, learning_rate=0.01 if optimizer == "auto" else 1.0,
    )  # fmt: skip
    result = train(model, tokenizer, documents, wanted, scratch=tmp_path, run="r")
    state = Checkpoints(tmp_path / "state", "r").latest(pytest.fail)
    assert state is not None
    for name, parameter in result.model.named_parameters():
        frozen = name.startswith(("embed_tokens", "layers.0."))
        start = before[name].to(parameter.dtype)
        assert torch.equal(parameter, start) == frozen, name
        assert (name in state.weights) != frozen
        assert any(f"/{name}/" in key for key in state.optimizer) != frozen


def test_adapters_can_be_frozen_too(
    tokenizer: Tokenizer, conversations: list[Conversation]
) -> None:
    wanted = settings(
        objective="sft", length=128, lora=LoraSettings(rank=2), freeze=("layers.0",),
        learning_rate=0.01,
    )  # fmt: skip
    result = train(tiny_model(tokenizer), tokenizer, conversations, wanted)
    moved = {n for n, p in result.model.named_parameters() if n.endswith("lora_B") and p.any()}
    assert moved and all(name.startswith("layers.1.") for name in moved)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "muon", "lora": {}}, "adapters are trained with adamw"),
        ({"optimizer": "adamw", "momentum": 0.9}, "adamw has no momentum"),
        ({"optimizer": "lamb", "nesterov": True}, "lamb has no nesterov"),
        ({"optimizer": "sgd", "nesterov": True, "momentum": 0}, "a momentum above 0"),
        ({"optimizer": "sgd", "eps": 1e-8}, "sgd has no eps"),
        ({"betas": (0.9, 1.0)}, "betas lie between 0 and 1"),
        ({"objective": "ppo", "dropout": 0.1}, "ppo takes no dropout"),
        ({"objective": "grpo", "lora": {"dropout": 0.1}}, "grpo takes no dropout"),
        ({"objective": "dpo", "packing": "padded"}, "padded is for pretrain, sft and distil"),
        ({"objective": "pretrain", "learn": "last"}, "learn: last is for conversations"),
        ({"dropout": 1.0}, "less than 1"),
        ({"optimizer": "adam"}, "optimizer"),
    ],
)
def test_settings_that_do_not_fit_together(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**values)


def test_numbers_follow_optimizer_and_objective(model: Transformer) -> None:
    def rate(**values: Any) -> float:
        return decide(TrainSettings(**values), model.config, torch.device("cpu")).learning_rate

    adamw = rate(objective="pretrain", optimizer="adamw")
    assert adamw == rate(objective="pretrain") == pytest.approx(5e-3 * (256 / 32) ** 0.5)
    assert rate(objective="pretrain", optimizer="sgd") > adamw > rate(
        objective="pretrain", optimizer="rmsprop"
    )  # fmt: skip
    assert rate(objective="sft") == pytest.approx(adamw / 10)
    assert rate(objective="dpo") < rate(objective="dpo", lora=LoraSettings()) < rate(
        objective="sft", lora=LoraSettings()
    )  # fmt: skip
    assert rate(optimizer="sgd", learning_rate=0.5) == 0.5
    chosen = {
        name: decide(
            TrainSettings(optimizer=name, lora=LoraSettings()), model.config, torch.device("cpu")  # type: ignore[arg-type]
        ).optimizer
        for name in ("auto", "sgd", "lamb")
    }  # fmt: skip
    assert chosen == {"auto": "adamw", "sgd": "sgd", "lamb": "lamb"}
