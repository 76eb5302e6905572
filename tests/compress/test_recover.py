"""Training after pruning: zeros stay zero, loss falls, a cut-off run ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_compress import SENTENCES, random_model, token_rows, tokenizer

from chatwright.compress.prune import Pattern, prune, zero_masks
from chatwright.compress.recover import objective_of, recover, training_settings
from chatwright.errors import UsageError
from chatwright.model import Transformer
from chatwright.records import Conversation, Document, Message
from chatwright.tokenizer import Tokenizer
from chatwright.train import read_metrics


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizer()


def documents(count: int = 12) -> list[Document]:
    return [
        Document(f"d{i}", f"{SENTENCES[i % 4]} {SENTENCES[(i + 1) % 4]}", f"x{i}", "test")
        for i in range(count)
    ]


def conversations() -> list[Conversation]:
    return [
        Conversation(
            f"c{i}",
            [Message("user", f"What about {i}?"), Message("assistant", SENTENCES[i % 4])],
            f"x{i}",
            "test",
        )
        for i in range(8)
    ]


def pruned(words: Tokenizer, seed: int = 1) -> tuple[Transformer, dict[str, torch.Tensor]]:
    model = random_model(seed, vocab_size=words.vocab_size, n_layers=2)
    rows = [[t % words.vocab_size for t in row] for row in token_rows()]
    return model, prune(model, pattern=Pattern(2, 4), calibration=rows)


@pytest.mark.parametrize("rows", [documents(), conversations()])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_zeros_stay_exactly_zero_and_the_loss_falls(
    words: Tokenizer, rows: list[Document], precision: str
) -> None:
    model, masks = pruned(words)
    before = model.layers[0].mlp.up_proj.weight.detach().clone()
    settings = training_settings(model, rows, 12, precision=precision, validation_tokens=64)
    settings = settings.model_copy(update={"batch_tokens": 128, "learning_rate": 3e-3})
    result = recover(model, words, rows, steps=12, masks=masks, settings=settings)
    assert result.metrics[-1]["loss"] < result.metrics[0]["loss"] - 0.1
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        assert not weight[~mask].any(), name
    assert set(zero_masks(model)) == set(masks)
    now = model.layers[0].mlp.up_proj.weight.float()
    assert not torch.equal(now, before)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_without_masks_the_pruned_weights_would_come_back(words: Tokenizer) -> None:
    """The control: it is the masks that keep them zero."""
    model, masks = pruned(words)
    recover(model, words, documents(), steps=1)
    name = "layers.0.mlp.up_proj.weight"
    assert model.get_parameter(name)[~masks[name]].any()


def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    words: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, masks = pruned(words)
    settings = training_settings(whole, documents(), 6, checkpoint_every=2, threads=1)
    settings = settings.model_copy(update={"batch_tokens": 64, "length": 32})
    recover(whole, words, documents(), steps=6, masks=masks, settings=settings)

    from chatwright.train.loop import Trainer

    step = Trainer._step

    def cut(self: Trainer, *args: object) -> object:
        if self.position.step == 5:
            raise KeyboardInterrupt
        return step(self, *args)  # type: ignore[arg-type]

    first, masks = pruned(words)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_step", cut)
        recover(
            first, words, documents(), steps=6, masks=masks, settings=settings, scratch=tmp_path
        )
    again, masks = pruned(words)
    recover(again, words, documents(), steps=6, masks=masks, settings=settings, scratch=tmp_path)
    assert [m["step"] for m in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_what_there_is_to_learn_from() -> None:
    assert objective_of(documents()) == "pretrain" and objective_of(conversations()) == "sft"
    for rows in ([], [*documents(1), *conversations()]):
        with pytest.raises(UsageError, match="--data"):
            objective_of(rows)
