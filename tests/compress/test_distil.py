"""Distillation: the loss as plain torch has it, a student from every second layer, resumable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_compress import SENTENCES, random_model, token_rows, tokenizer
from torch import Tensor

from chatwright.compress.distil import Distil, distil, distillation_loss, student_of
from chatwright.compress.recover import training_settings
from chatwright.errors import UsageError
from chatwright.records import Conversation, Document, Message
from chatwright.tokenizer import Tokenizer
from chatwright.train.packing import IGNORED, Batch, make_batch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizer()


def documents() -> list[Document]:
    return [Document(f"d{i}", SENTENCES[i % 4] * 2, f"x{i}", "test") for i in range(8)]


def by_definition(
    student: Tensor, teacher: Tensor, targets: list[int], t: float, share: float
) -> float:
    total = 0.0
    for s, z, target in zip(student.double(), teacher.double(), targets, strict=True):
        p, q = (torch.exp(x / t) / torch.exp(x / t).sum() for x in (z, s))
        divergence = sum(float(a * torch.log(a / b)) for a, b in zip(p, q, strict=True))
        likely = torch.exp(s) / torch.exp(s).sum()
        total += share * t * t * divergence - (1 - share) * float(torch.log(likely[target]))
    return total


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 1.0), (2.0, 0.5), (4.0, 0.3), (2.0, 0.0)])
def test_the_loss_is_what_the_paper_says(temperature: float, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 11, generator=generator) * 2
    targets = [3, 0, 10, 7, 7]
    found = distillation_loss(student, teacher, torch.tensor(targets), temperature, share)
    assert float(found) == pytest.approx(
        by_definition(student, teacher, targets, temperature, share), rel=1e-5
    )


def test_a_student_that_is_its_teacher_diverges_by_nothing() -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    assert float(distillation_loss(logits, logits, torch.zeros(4, dtype=torch.long), 3.0, 1.0)) == (
        pytest.approx(0, abs=1e-6)
    )


def packed(model_vocab: int) -> Batch:
    rows = [np.array([t % model_vocab for t in row]) for row in token_rows(3, 17)]
    pairs = []
    for number, row in enumerate(rows):
        targets = row[1:].copy()
        targets[: 4 * number] = IGNORED
        pairs.append((row[:-1], targets))
    return make_batch(pairs, ["a", "b", "c"])


def test_in_chunks_and_packed_as_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value and every gradient, against whole rows one at a time without the loop's devices."""
    monkeypatch.setattr("chatwright.compress.distil._TOKENS_AT_ONCE", 7)
    teacher = random_model(1)
    student, plain = student_of(teacher, 2), student_of(teacher, 2)
    batch = packed(330)
    loss = Distil(teacher, 2.0, 0.5).loss(student, batch)
    assert float(loss.weight) == batch.supervised == 48 - 12
    loss.sum.backward()
    total = torch.zeros(())
    start = 0
    for length in batch.lengths:
        part = slice(start, start + length)
        start += length
        tokens, targets = batch.tokens[:, part], batch.targets[0, part]
        learnt = targets != IGNORED
        total = total + distillation_loss(
            plain(tokens)[0][learnt], teacher(tokens)[0][learnt].detach(), targets[learnt], 2.0, 0.5
        )
    total.backward()
    assert float(loss.sum) == pytest.approx(float(total), rel=1e-5)
    for (name, one), two in zip(student.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=1e-3, msg=name)
    assert all(p.grad is None for p in teacher.parameters())


def test_the_student_begins_as_every_second_layer() -> None:
    teacher = random_model(2)
    student = student_of(teacher, 2)
    assert student.config.n_layers == 2
    for new, old in ((0, 0), (1, 3)):
        assert torch.equal(
            student.layers[new].mlp.up_proj.weight, teacher.layers[old].mlp.up_proj.weight
        )
    with torch.no_grad():
        student.layers[0].mlp.up_proj.weight.zero_()
    assert teacher.layers[0].mlp.up_proj.weight.any()


def test_it_learns_and_a_cut_off_run_ends_with_the_same_bits(
    words: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatwright.train import read_metrics
    from chatwright.train.loop import Trainer

    def go(folder: Path) -> tuple[torch.nn.Module, float]:
        teacher = random_model(3, vocab_size=words.vocab_size)
        settings = training_settings(teacher, documents(), 8, checkpoint_every=3, threads=1)
        update = {"batch_tokens": 64, "length": 32, "learning_rate": 3e-3}
        return distil(
            teacher,
            words,
            documents(),
            layers=2,
            steps=8,
            settings=settings.model_copy(update=update),
            scratch=folder,
        )

    whole, loss = go(tmp_path / "whole")
    losses = [m["loss"] for m in read_metrics(tmp_path / "whole" / "metrics.jsonl")]
    assert loss == pytest.approx(losses[-1]) and losses[-1] < losses[0] - 0.1
    step = Trainer._step

    def cut(self: Trainer, *args: object) -> object:
        if self.position.step == 7:
            raise KeyboardInterrupt
        return step(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_step", cut)
        go(tmp_path / "cut")
    again, _ = go(tmp_path / "cut")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_conversations_teach_the_assistants_turns(words: Tokenizer, tmp_path: Path) -> None:
    rows = [
        Conversation(
            f"c{i}",
            [Message("user", f"What about {i}?"), Message("assistant", SENTENCES[i % 4])],
            "x",
            "test",
        )
        for i in range(4)
    ]
    teacher = random_model(4, vocab_size=words.vocab_size)
    student, loss = distil(teacher, words, rows, layers=1, steps=1, scratch=tmp_path)
    assert student.config.n_layers == 1 and np.isfinite(loss)


def test_what_cannot_be_is_refused(words: Tokenizer, tmp_path: Path) -> None:
    teacher = random_model(4, vocab_size=words.vocab_size)
    for options in ({"layers": 4}, {"layers": 0}, {"layers": 2, "temperature": 0.0}):
        with pytest.raises(UsageError):
            distil(teacher, words, documents(), steps=1, scratch=tmp_path, **options)  # type: ignore[arg-type]
