"""Distillation: the loss as plain torch has it, and texts of the data, the teacher, the student."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from chatwright.errors import TrainingError, UsageError
from chatwright.model import Transformer
from chatwright.records import Conversation, Dataset, Message, Preference
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, Trainer, TrainSettings, distil_texts, read_metrics, train
from chatwright.train.distil import Distil, check_vocabularies, distillation_loss
from chatwright.train.distil_settings import DistilSettings
from chatwright.train.packing import IGNORED, Batch, make_batch
from forked import start

from .conftest import make_conversations, make_documents, tiny_model

STEPS = 8
RUN = {"length": 96, "batch_tokens": 192, "steps": STEPS, "checkpoint_every": 2, "threads": 1}


def by_definition(
    student: Tensor, teacher: Tensor, targets: list[int], s: DistilSettings
) -> tuple[float, float, float]:
    t, divergence, entropy = s.temperature, 0.0, 0.0
    for ours, theirs, target in zip(student.double(), teacher.double(), targets, strict=True):
        p, q = (torch.exp(x / t) / torch.exp(x / t).sum() for x in (theirs, ours))
        if s.divergence == "reverse":
            p, q = q, p
        divergence += sum(float(a * torch.log(a / b)) for a, b in zip(p, q, strict=True))
        entropy -= float(torch.log(torch.exp(ours[target]) / torch.exp(ours).sum()))
    share = s.teacher_share
    return share * t * t * divergence + (1 - share) * entropy, divergence, entropy


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize(("temperature", "share"), [(1.0, 1.0), (2.0, 0.5), (4.0, 0.3), (2.0, 0.0)])
def test_the_loss_is_what_the_papers_say(temperature: float, share: float, divergence: Any) -> None:
    student, teacher = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0)) * 2
    targets = [3, 0, 10, 7, 7]
    s = DistilSettings(temperature=temperature, share=share, divergence=divergence)
    found = distillation_loss(student, teacher, torch.tensor(targets), s)
    assert [float(x) for x in found] == pytest.approx(
        by_definition(student, teacher, targets, s), rel=1e-5
    )


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_a_student_that_is_its_teacher_diverges_by_nothing(divergence: Any) -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    s = DistilSettings(temperature=3.0, share=1.0, divergence=divergence)
    found = distillation_loss(logits, logits, torch.zeros(4, dtype=torch.long), s)
    assert float(found[0]) == pytest.approx(0, abs=1e-6)


def packed(vocab: int) -> Batch:
    random = np.random.default_rng(3)
    pairs = []
    for number, length in enumerate((16, 9, 23)):
        tokens = random.integers(0, vocab, length + 1)
        targets = tokens[1:].copy()
        targets[: 4 * number] = IGNORED
        pairs.append((tokens[:-1], targets))
    return make_batch(pairs, ["a", "b", "c"])


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("tied", [True, False])
def test_in_chunks_and_packed_as_row_by_row(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tied: bool, divergence: Any
) -> None:
    """The value and every gradient, against whole rows one at a time without the loop's devices."""
    for name, value in (("_LOGITS_AT_ONCE", 1), ("_TOKENS_AT_LEAST", 7), ("_CHUNK_MULTIPLE", 7)):
        monkeypatch.setattr(f"chatwright.train.distil.{name}", value)
    teacher = tiny_model(tokenizer, seed=5).requires_grad_(False)
    student, plain = tiny_model(tokenizer, tied=tied), tiny_model(tokenizer, tied=tied)
    batch = packed(tokenizer.vocab_size)
    s = DistilSettings(temperature=2.0, share=0.4, divergence=divergence)
    loss = Distil(teacher, s).loss(student, batch)
    assert float(loss.weight) == batch.supervised == 48 - 12
    (loss.sum * 3).backward()
    total, start = torch.zeros(3), 0
    for length in batch.lengths:
        part = slice(start, start + length)
        start += length
        tokens, targets = batch.tokens[:, part], batch.targets[0, part]
        learnt = targets != IGNORED
        ours, theirs = plain(tokens)[0][learnt], teacher(tokens)[0][learnt]
        total = total + torch.stack(distillation_loss(ours, theirs, targets[learnt], s))
    (total[0] * 3).backward()
    found = [loss.sum, loss.metrics["divergence"], loss.metrics["cross_entropy"]]
    assert [float(x.detach()) for x in found] == pytest.approx(total.tolist(), rel=1e-5)
    for (name, one), two in zip(student.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_on_validation_nothing_is_kept_for_gradients(tokenizer: Tokenizer) -> None:
    teacher, student = tiny_model(tokenizer, seed=5), tiny_model(tokenizer)
    objective, batch = Distil(teacher, DistilSettings()), packed(tokenizer.vocab_size)
    with torch.no_grad():
        quiet = objective.loss(student, batch)
    assert not quiet.sum.requires_grad
    assert float(quiet.sum) == float(objective.loss(student, batch).sum.detach())


def with_vocabulary(tokenizer: Tokenizer, size: int, seed: int = 1) -> Transformer:
    config = tiny_model(tokenizer).config
    return Transformer.random(config.model_copy(update={"vocab_size": size}), seed)


def test_vocabularies_are_the_same_but_for_padding(tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size
    padded = -(-size // 64) * 64
    teacher, student = with_vocabulary(tokenizer, padded, 4), with_vocabulary(tokenizer, size)
    check_vocabularies(student, teacher, size, where="s")
    batch = packed(size)
    s = DistilSettings(share=1.0)
    loss = Distil(teacher, s).loss(student, batch)
    less = with_vocabulary(tokenizer, size)
    state = teacher.state_dict()
    state["embed_tokens.weight"] = state["embed_tokens.weight"][:size]
    less.load_state_dict(state)
    same = Distil(less, s).loss(student, batch)
    assert float(loss.sum.detach()) == pytest.approx(float(same.sum.detach()))
    other = with_vocabulary(tokenizer, size + 1000)
    with pytest.raises(UsageError, match=r"the teacher has 1,4\d\d tokens and the student"):
        check_vocabularies(student, other, size, where="s")


def go(
    on: str, model: Transformer, teacher: Transformer, tokenizer: Tokenizer, **more: Any
) -> dict[str, Tensor]:
    rows: Any = more.pop("rows", None) or make_conversations(12)
    scratch = more.pop("scratch", None)
    how = DistilSettings(on=on, max_tokens=16, **more.pop("distil", {}))  # type: ignore[arg-type]
    settings = TrainSettings(objective="distil", distil=how, **{**RUN, **more})
    result = train(model, tokenizer, rows, settings, models={"teacher": teacher}, scratch=scratch)
    return dict(result.model.state_dict())


@pytest.fixture(scope="module")
def teacher(tokenizer: Tokenizer) -> Transformer:
    """A teacher that knows how an answer ends."""
    torch.set_num_threads(1)
    settings = TrainSettings(
        steps=60, length=128, batch_tokens=512, learning_rate=1e-2, precision="fp32"
    )
    rows = [
        Conversation(f"t{i}", [*row.messages[:1], Message("assistant", "好的。")], row.uri, "t")
        for i, row in enumerate(make_conversations(24))
    ]
    return train(tiny_model(tokenizer, seed=9), tokenizer, rows, settings).model


@pytest.mark.parametrize("on", ["data", "teacher", "student"])
def test_a_student_comes_nearer_to_its_teacher(
    on: str, teacher: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    settings = {"learning_rate": 1e-2, "steps": 30 if on == "student" else 20, "precision": "fp32"}
    rows = [
        Conversation(r.id, r.messages[:2], r.uri, r.source)  # one question, one answer
        for r in make_conversations(24)
    ]
    go(on, tiny_model(tokenizer), teacher, tokenizer, scratch=tmp_path, rows=rows, **settings)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    divergence = [line["divergence"] for line in lines]
    assert np.mean(divergence[-5:]) < 0.7 * np.mean(divergence[:3])
    assert all(line["cross_entropy"] > 0 for line in lines)
    if on == "student":
        assert all(1 <= line["answer_tokens"] <= 16 for line in lines)


def test_documents_are_learnt_whole(teacher: Transformer, tokenizer: Tokenizer) -> None:
    before = tiny_model(tokenizer).state_dict()
    after = go("data", tiny_model(tokenizer), teacher, tokenizer, rows=make_documents(24))
    assert not torch.equal(before["embed_tokens.weight"], after["embed_tokens.weight"])
    adapted = go("data", tiny_model(tokenizer), teacher, tokenizer, lora=LoraSettings(rank=2))
    assert any("lora_A" in name for name in adapted)


def test_the_teachers_texts_are_rows_with_parents(
    teacher: Transformer, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = make_conversations(6)
    asked = [Preference("p", [Message("user", "Q?")], "good", "bad", "human", "file:p", "s")]
    mute = Conversation("mute", [Message("assistant", "Hello.")], "file:m", "s")
    rows = [*talks, *asked, mute]
    go("teacher", tiny_model(tokenizer), teacher, tokenizer, rows=rows, scratch=tmp_path)
    (folder,) = (tmp_path / "teacher").iterdir()
    made = Dataset.open(folder)
    lines = {entry.row_id: entry for entry in made.ledger}
    assert set(lines) == {*(row.id for row in rows)}
    assert (lines["mute"].action, lines["mute"].rule) == ("drop", "no prompt")
    kept = {row.parents[0]: row for row in made.rows}
    assert kept and set(kept) == {i for i, entry in lines.items() if entry.action == "keep"}
    for row in talks:
        if row.id in kept:
            assert kept[row.id].messages[:-1] == row.messages[:-1]
            assert kept[row.id].messages[-1].role == "assistant"
    monkeypatch.setattr(distil_texts, "_draw", None)  # they are made once
    go("teacher", tiny_model(tokenizer), teacher, tokenizer, rows=rows, scratch=tmp_path)


def test_a_teacher_that_never_ends_is_an_error(tokenizer: Tokenizer) -> None:
    endless = tiny_model(tokenizer, seed=3, tied=False)
    assert endless.lm_head is not None
    with torch.no_grad():
        endless.lm_head.weight[list(tokenizer.eos_ids)] = 0
        endless.lm_head.weight *= 20
    with pytest.raises(TrainingError, match=r"ended none of its \d+ answers within 16 tokens"):
        go("teacher", tiny_model(tokenizer), endless, tokenizer)


def test_the_students_own_answers_are_what_it_learns_from(
    teacher: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Batch] = []
    loss = Distil.loss

    def look(self: Distil, model: Transformer, batch: Batch) -> Any:
        seen.append(batch)
        return loss(self, model, batch)

    monkeypatch.setattr(Distil, "loss", look)
    rows = make_conversations(8)
    more = {"steps": 2, "precision": "fp32", "distil": {"prompts": 4, "sampling_temperature": 0.0}}
    go("student", tiny_model(tokenizer), teacher, tokenizer, rows=rows, **more)
    plain = tiny_model(tokenizer)
    by_id = {row.id: row for row in rows}
    first = seen[0]
    start = 0
    for length, row_id in zip(first.lengths, first.row_ids, strict=True):
        tokens, targets = first.tokens[0, start : start + length], first.targets[0][start:][:length]
        start += length
        prompt = tokenizer.chat(by_id[row_id].messages[:-1])
        assert tokens[: len(prompt)].tolist() == prompt
        assert (targets != IGNORED).tolist() == [i >= len(prompt) - 1 for i in range(length)]
        with torch.no_grad():  # greedy: the likeliest token each time
            likeliest = plain(tokens[None])[0].argmax(-1)
        assert targets[len(prompt) - 1 :].tolist() == likeliest[len(prompt) - 1 :].tolist()


@pytest.mark.parametrize("on", ["data", "teacher"])
def test_a_cut_off_run_ends_with_the_same_bits(
    on: str,
    teacher: Transformer,
    tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distil_texts, "_PROMPTS_AT_ONCE", 4)
    whole = go(on, tiny_model(tokenizer), teacher, tokenizer)
    step, draw = Trainer._step, distil_texts._draw
    drawn = 0

    def cut(self: Trainer) -> Any:
        if self.position.step == 5:
            raise KeyboardInterrupt
        return step(self)

    def cut_draw(*arguments: Any, **more: Any) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn == 3:
            raise KeyboardInterrupt
        return draw(*arguments, **more)

    if on == "teacher":
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(distil_texts, "_draw", cut_draw)
            go(on, tiny_model(tokenizer), teacher, tokenizer, scratch=tmp_path)
        (kept,) = (tmp_path / "teacher").glob("*.jsonl")
        assert kept.read_bytes().count(b"\n") == 8
        with kept.open("ab") as file:
            file.write(b'["cut in the mid')
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_step", cut)
        go(on, tiny_model(tokenizer), teacher, tokenizer, scratch=tmp_path)
    again = go(on, tiny_model(tokenizer), teacher, tokenizer, scratch=tmp_path)
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def be_killed(root: Path) -> None:
    torch.set_num_threads(1)
    one_step = Trainer._step

    def slowly(self: Trainer) -> Any:
        time.sleep(0.1)  # so that the parent is in time with its signal
        return one_step(self)

    Trainer._step = slowly  # type: ignore[method-assign]
    of = Tokenizer.load(root / "tokenizer")
    master = tiny_model(of)
    master.load_state_dict(torch.load(root / "teacher.pt"))
    go("student", tiny_model(of), master, of, scratch=root / "run")


def test_killed_and_resumed_is_undisturbed(
    teacher: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """On the student's own texts, which are made anew."""
    tokenizer.save(tmp_path / "tokenizer")
    torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
    process = start(be_killed, tmp_path)
    end = time.monotonic() + 90
    metrics = tmp_path / "run" / "metrics.jsonl"
    try:
        while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
            assert process.is_alive() and time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.kill()
        process.join(20)
    assert process.exitcode == -signal.SIGKILL
    whole = go("student", tiny_model(tokenizer), teacher, tokenizer)
    again = go("student", tiny_model(tokenizer), teacher, tokenizer, scratch=tmp_path / "run")
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name


def test_what_cannot_be_is_refused(teacher: Transformer, tokenizer: Tokenizer) -> None:
    model = tiny_model(tokenizer)
    with pytest.raises(UsageError, match="needs a teacher model"):
        train(model, tokenizer, make_documents(3), TrainSettings(objective="distil", steps=1))
    with pytest.raises(UsageError, match=r"texts of the student takes conversations .* documents"):
        go("student", model, teacher, tokenizer, rows=make_documents(3))
    with pytest.raises(UsageError, match=r"all of one kind, and these are conversations and docu"):
        go("data", model, teacher, tokenizer, rows=[*make_documents(3), *make_conversations(3)])
    with pytest.raises(TrainingError, match="leave no room for a prompt in 16"):
        go("student", model, teacher, tokenizer, length=16)
    with pytest.raises(UsageError, match="measured in steps or epochs"):
        go("student", model, teacher, tokenizer, steps=None, tokens=100)
    with pytest.raises(ValidationError, match="nothing but the teacher to learn from"):
        DistilSettings(on="student", share=0.5)
    assert DistilSettings(on="student").teacher_share == 1.0
    for wrong in ({"temperature": 0}, {"share": 1.5}, {"max_tokens": 0}):
        with pytest.raises(ValidationError):
            DistilSettings(**wrong)
