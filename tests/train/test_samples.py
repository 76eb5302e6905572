from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from chatwright.errors import ContextError, UsageError
from chatwright.model import save_model
from chatwright.records import Conversation, Document
from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, read_metrics, train
from chatwright.train.samples import SampleSettings

from .conftest import make_conversations, tiny_model
from .test_stage import STAGE, context, dataset, stage
from .test_watch import Heard, Recorder


def settings(**values: Any) -> TrainSettings:
    known = {"length": 128, "batch_tokens": 256, "steps": 6, "precision": "fp32"}
    return TrainSettings(**{**known, **values})


ASK = SampleSettings(prompts=("What about 3?", "再说一遍？"), every=4, max_tokens=5)


@pytest.mark.parametrize("objective", ["pretrain", "sft", "lora"])
def test_samples_are_kept_shown_and_change_no_bit(
    objective: str,
    tokenizer: Tokenizer,
    documents: list[Document],
    conversations: list[Conversation],
    tmp_path: Path,
) -> None:
    values: dict[str, Any] = {"objective": "sft", "dropout": 0.1}
    if objective == "pretrain":
        values["objective"] = "pretrain"
    if objective == "lora":
        values = {"objective": "sft", "lora": LoraSettings(rank=2, dropout=0.3)}
    data: Any = documents if objective == "pretrain" else conversations
    runs = []
    heard = Heard()
    for name, samples in (("with", ASK), ("without", None)):
        runs.append(
            train(
                tiny_model(tokenizer), tokenizer, data, settings(**values, samples=samples),
                scratch=tmp_path / name, run="same", seed=3, progress=heard,
            )
        )  # fmt: skip
    with_samples, without = (run.model.state_dict() for run in runs)
    for name, tensor in without.items():
        assert torch.equal(tensor, with_samples[name]), name
    assert [x["loss"] for x in runs[0].metrics] == [x["loss"] for x in runs[1].metrics]
    lines = read_metrics(tmp_path / "with" / "samples.jsonl")
    assert [line["step"] for line in lines] == [0, 0, 4, 4, 6, 6]
    assert [line["prompt"] for line in lines[:2]] == list(ASK.prompts)
    assert all(line["finish_reason"] in ("stop", "length") for line in lines)
    assert "再说一遍" in (tmp_path / "with" / "samples.jsonl").read_text(encoding="utf-8")
    assert sum(line.startswith("sample at step 4: 再说一遍？ → ") for line in heard.lines) == 1
    assert not (tmp_path / "without" / "samples.jsonl").exists()


def test_they_are_what_the_model_says_at_that_step(
    tokenizer: Tokenizer, conversations: list[Conversation], tmp_path: Path
) -> None:
    from chatwright.generate import Engine, SamplingParams

    result = train(
        tiny_model(tokenizer), tokenizer, conversations, settings(samples=ASK, steps=8),
        scratch=tmp_path,
    )  # fmt: skip
    with Engine(result.model, tokenizer) as engine:
        asked = [[{"role": "user", "content": p}] for p in ASK.prompts]
        found = engine.chat_many(asked, SamplingParams(temperature=0.0, max_tokens=5))
    last = read_metrics(tmp_path / "samples.jsonl")[-2:]
    assert [line["answer"] for line in last] == [answer.text for answer in found]


def test_a_resumed_run_has_each_sample_once(
    tokenizer: Tokenizer, conversations: list[Conversation], tmp_path: Path
) -> None:
    ask = SampleSettings(prompts=("?",), every=2, max_tokens=3)
    whole = train(
        tiny_model(tokenizer), tokenizer, conversations, settings(samples=ask, steps=8),
        scratch=tmp_path / "whole", run="r",
    )  # fmt: skip
    cut = {
        "scratch": tmp_path / "cut", "run": "r",
        "settings": settings(samples=ask, steps=8, checkpoint_every=3),
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="enough"):
        train(tiny_model(tokenizer), tokenizer, conversations, callbacks=[Recorder(5)], **cut)
    assert read_metrics(tmp_path / "cut" / "samples.jsonl")[-1]["step"] == 4
    again = train(tiny_model(tokenizer), tokenizer, conversations, **cut)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert (tmp_path / "cut" / "samples.jsonl").read_bytes() == (
        tmp_path / "whole" / "samples.jsonl"
    ).read_bytes()


def test_what_cannot_be_asked_is_said_before_the_first_step(
    tokenizer: Tokenizer, conversations: list[Conversation], tmp_path: Path
) -> None:
    long = SampleSettings(prompts=("x " * 500,))
    with pytest.raises(ContextError):
        train(
            tiny_model(tokenizer), tokenizer, conversations, settings(samples=long),
            scratch=tmp_path,
        )  # fmt: skip
    assert not read_metrics(tmp_path / "metrics.jsonl")
    for wrong in ({"prompts": []}, {"prompts": ["a"], "every": 0}, {"prompts": ["a"], "n": 1}):
        with pytest.raises(ValidationError):
            SampleSettings(**wrong)


def test_a_reward_model_is_not_asked(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from chatwright.train.samples import Samples

    trainer: Any = SimpleNamespace(settings=SimpleNamespace(objective="reward"))
    with pytest.raises(UsageError, match="reward model writes no text"):
        Samples(ASK, tokenizer).begin(trainer)


def test_samples_enter_no_fingerprint() -> None:
    dumped = settings(samples=ASK).model_dump(mode="json")
    assert dumped == settings().model_dump(mode="json")


def test_a_stage_keeps_its_samples_beside_the_model(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(tiny_model(tokenizer), tokenizer, tmp_path / "base")
    chats = dataset(tmp_path / "chats", make_conversations(12))
    made = context(tmp_path, "sft", base=tmp_path / "base", chats=chats)
    ask = {"prompts": ["再说一遍？"], "every": 2, "max_tokens": 3}
    STAGE.run(stage(model="base", data="chats", epochs=None, steps=3, samples=ask), made)
    lines = read_metrics(made.output / "samples.jsonl")
    assert [line["step"] for line in lines] == [0, 2, 3]
    assert lines[0]["prompt"] == "再说一遍？"
