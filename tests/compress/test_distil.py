"""Distilled students: every second layer of the teacher, trained by the loop, resumable.

The loss itself is tested in tests/train/test_distil.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_compress import SENTENCES, random_model, tokenizer

from chatwright.compress.distil import distil, student_of
from chatwright.compress.recover import training_settings
from chatwright.errors import UsageError
from chatwright.records import Conversation, Document, Message
from chatwright.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizer()


def documents() -> list[Document]:
    return [Document(f"d{i}", SENTENCES[i % 4] * 2, f"x{i}", "test") for i in range(8)]


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
