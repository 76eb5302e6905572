from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from chatwright.errors import DataError, TrainingError
from chatwright.model import Transformer
from chatwright.records import Conversation, Document
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainResult, TrainSettings, read_metrics, train
from chatwright.train import checkpoint as checkpoint_module

from .conftest import tiny_model


def settings(**values: Any) -> TrainSettings:
    known = {"length": 64, "batch_tokens": 256, "steps": 6, "precision": "fp32"}
    return TrainSettings(**{**known, **values})


def weights(model: Transformer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def losses(result: TrainResult) -> list[float]:
    return [line["loss"] for line in result.metrics]


def test_training_learns_and_counts(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    result = train(
        tiny_model(tokenizer), tokenizer, documents, settings(objective="pretrain", steps=40),
        validation=documents[:4], scratch=tmp_path,
    )  # fmt: skip
    found = losses(result)
    # Fresh weights know nothing: the loss begins at that of a uniform guess.
    assert found[0] == pytest.approx(math.log(tokenizer.vocab_size), rel=0.05)
    assert found[-1] < 0.6 * found[0]
    assert result.validation_loss is not None
    assert result.validation_loss < 0.7 * found[0]
    assert [line["step"] for line in result.metrics] == list(range(1, 41))
    last = result.metrics[-1]
    assert last["tokens"] == result.tokens
    # Bits per byte are the loss per token, weighed by tokens per byte.
    text = sum(len(row.text.encode()) for row in documents[:4])
    tokens = sum(len(tokenizer.encode(row.text)) + 1 for row in documents[:4])
    expected = last["validation_loss"] / math.log(2) * tokens / text
    assert last["validation_bits_per_byte"] == pytest.approx(expected)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_micro_batches_are_one_large_batch(
    tokenizer: Tokenizer, conversations: list[Conversation], optimizer: str
) -> None:
    runs = [
        train(
            tiny_model(tokenizer), tokenizer, conversations,
            settings(length=128, batch_tokens=1024, micro_batch_tokens=micro, optimizer=optimizer),
        )
        for micro in (128, 384, 1024)
    ]  # fmt: skip
    assert losses(runs[0]) == pytest.approx(losses(runs[2]), abs=1e-5)
    assert losses(runs[1]) == pytest.approx(losses(runs[2]), abs=1e-5)


def test_one_step_is_what_torch_does_with_the_mean_loss(
    tokenizer: Tokenizer, conversations: list[Conversation]
) -> None:
    """The whole path against a few plain lines: mean over supervised tokens, clip, AdamW."""
    ours = tiny_model(tokenizer)
    result = train(
        ours, tokenizer, conversations,
        settings(steps=None, epochs=1, length=128, batch_tokens=1 << 20, micro_batch_tokens=256,
                 optimizer="adamw", learning_rate=1e-3, schedule="constant", warmup=0,
                 weight_decay=0.1),
    )  # fmt: skip
    assert result.steps == 1
    plain = tiny_model(tokenizer)
    total, count = torch.zeros(()), 0
    for row in conversations:
        ids, mask = tokenizer.chat_with_mask(row.messages)
        logits = plain(torch.tensor([ids[:-1]]))[0]
        wanted, targets = torch.tensor(mask[1:]), torch.tensor(ids[1:])
        total = total + torch.nn.functional.cross_entropy(
            logits[wanted], targets[wanted], reduction="sum"
        )
        count += int(wanted.sum())
    assert result.supervised_tokens == count
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in plain.parameters() if p.ndim == 2], "weight_decay": 0.1},
            {"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=1e-3, betas=(0.9, 0.95),
    )  # fmt: skip
    (total / count).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    optimizer.step()
    assert losses(result)[0] == pytest.approx(float(total.detach()) / count, rel=1e-5)
    assert result.metrics[0]["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


def test_lora_changes_adapters_only(
    tokenizer: Tokenizer, conversations: list[Conversation]
) -> None:
    model = tiny_model(tokenizer)
    before = weights(model)
    result = train(
        model, tokenizer, conversations,
        settings(length=128, lora=LoraSettings(rank=2, dropout=0.1), steps=8, learning_rate=0.01),
    )  # fmt: skip
    after = weights(model)
    assert losses(result)[-1] < losses(result)[0]
    changed = {n for n in after if n not in before or not torch.equal(after[n], before[n])}
    assert changed and all("lora_" in n for n in changed)


def test_bf16_learns_like_fp32(tokenizer: Tokenizer, documents: list[Document]) -> None:
    runs = [
        train(
            tiny_model(tokenizer), tokenizer, documents,
            settings(objective="pretrain", precision=precision, steps=25),
        )
        for precision in ("fp32", "bf16")
    ]  # fmt: skip
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=0.05)
    assert runs[1].model.dtype == torch.bfloat16


def test_no_result_depends_on_where_it_stopped(
    tokenizer: Tokenizer, conversations: list[Conversation], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Stopped by SIGINT after each single step; bits, metrics and counters are the same."""
    import signal

    wanted = settings(length=128, lora=LoraSettings(rank=2, dropout=0.2), checkpoint_every=100)
    whole = train(tiny_model(tokenizer), tokenizer, conversations, wanted, scratch=tmp_path / "a")
    stops = 0
    from chatwright.train.loop import Trainer

    step = Trainer._step

    def interrupted(self: Trainer, *rest: Any) -> dict[str, float]:
        values = step(self, *rest)
        signal.raise_signal(signal.SIGINT)
        return values

    monkeypatch.setattr(Trainer, "_step", interrupted)
    while True:
        model = tiny_model(tokenizer)
        try:
            result = train(model, tokenizer, conversations, wanted, scratch=tmp_path / "b")
            break
        except KeyboardInterrupt:
            stops += 1
            # A kill in the middle of a line leaves a torn one; it must not stay.
            with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
                file.write('{"step": 99, "loss": 1.0}\n{"step": 1')
    assert stops == 5
    assert_same(weights(result.model), weights(whole.model))
    assert losses(result) == losses(whole)
    assert (result.tokens, result.steps) == (whole.tokens, whole.steps)
    # Called once more when all is done: nothing is trained again.
    again = train(tiny_model(tokenizer), tokenizer, conversations, wanted, scratch=tmp_path / "b")
    assert_same(weights(again.model), weights(whole.model))
    assert losses(again) == losses(whole)


def test_state_of_another_run_or_a_damaged_one_is_passed_over(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    lines: list[str] = []

    class Listening:
        from chatwright.progress import Silent

        task = Silent.task

        def line(self, text: str) -> None:
            lines.append(text)

    wanted = settings(objective="pretrain", checkpoint_every=1)
    whole = train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path)
    kept = sorted((tmp_path / "state").iterdir())
    assert [p.name for p in kept] == ["step-00000005", "step-00000006"]
    with (kept[1] / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    result = train(
        tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path, progress=Listening()
    )
    assert "step-00000006 is passed over: weights.safetensors is damaged" in lines[0]
    assert "going on after step 5" in lines[1]
    assert_same(weights(result.model), weights(whole.model))
    lines.clear()
    other = settings(objective="pretrain", learning_rate=1e-5)
    changed = train(
        tiny_model(tokenizer), tokenizer, documents, other, scratch=tmp_path, progress=Listening()
    )
    assert "belongs to another run" in lines[0]
    assert [line["step"] for line in changed.metrics] == [1, 2, 3, 4, 5, 6]
    assert losses(changed) != losses(whole)


def test_a_full_disk_leaves_the_old_checkpoint_whole(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    wanted = settings(objective="pretrain", checkpoint_every=2)
    whole = train(tiny_model(tokenizer), tokenizer, documents, wanted)
    save, calls = checkpoint_module.save_file, 0

    def full(tensors: Any, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls > 4:  # in the middle of the second checkpoint
            path.write_bytes(b"half")
            raise checkpoint_module.SafetensorError(
                "I/O error: No space left on device (os error 28)"
            )
        save(tensors, path)

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(DataError, match="No space left") as caught:
        train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path)
    assert "step-00000004" in str(caught.value)
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["step-00000002"]
    monkeypatch.undo()
    result = train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path)
    assert_same(weights(result.model), weights(whole.model))


def test_divergence_names_step_rows_and_last_good_checkpoint(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    wanted = settings(
        objective="pretrain", learning_rate=1e6, optimizer="adamw", checkpoint_every=1, clip=None
    )
    with pytest.raises(TrainingError, match=r"diverged at step \d+: ") as caught:
        train(tiny_model(tokenizer), tokenizer, documents, wanted, scratch=tmp_path)
    said = str(caught.value)
    assert any(row.id in said for row in documents)
    step = int(said.split("at step ")[1].split(":", maxsplit=1)[0])
    assert f"step-{step - 1:08d}" in said
    assert (tmp_path / "state" / f"step-{step - 1:08d}" / "state.json").exists()


def test_nan_weights_stop_at_once(tokenizer: Tokenizer, documents: list[Document]) -> None:
    model = tiny_model(tokenizer)
    with torch.no_grad():
        model.embed_tokens.weight[:, 0] = math.nan
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan.*checkpoint: none"):
        train(model, tokenizer, documents, settings(objective="pretrain"))


def test_it_trains_in_a_thread_too(tokenizer: Tokenizer, documents: list[Document]) -> None:
    """Signals can be handled in the main thread only; elsewhere there is nothing to handle."""
    found: list[TrainResult] = []

    def work() -> None:
        wanted = settings(objective="pretrain", steps=1)
        found.append(train(tiny_model(tokenizer), tokenizer, documents, wanted))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].steps == 1


def test_training_leaves_the_callers_random_state_and_threads_alone(
    tokenizer: Tokenizer, documents: list[Document]
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(tiny_model(tokenizer), tokenizer, documents, settings(objective="pretrain", threads=2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == 1


def test_a_mixture_of_lists_and_the_metrics_of_a_missing_file(
    tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    parts = [(documents[:12], 1.0), (documents[12:], 0.5)]
    result = train(
        tiny_model(tokenizer), tokenizer, parts, settings(objective="pretrain", steps=None)
    )
    assert result.steps >= 2
    assert read_metrics(tmp_path / "none.jsonl") == []
    with pytest.raises(TrainingError, match="do not fit the model's context of 128"):
        train(tiny_model(tokenizer), tokenizer, documents, settings(length=129))
