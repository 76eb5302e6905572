"""A tiny policy and prompts: an iteration takes a few hundredths of a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatwright.model import Transformer
from chatwright.model.heads import add_head
from chatwright.progress import Silent
from chatwright.records import Conversation, Message, Preference, content_id
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings
from chatwright.train.numbers import decide
from chatwright.train.objectives import preparation
from chatwright.train.rl.rewards import Sample
from chatwright.train.setup import Opener, Prepared, Setup

from ..conftest import SENTENCES

PROMPTS = 6


def make_prompts(count: int = PROMPTS) -> list[Conversation]:
    return [
        Conversation(
            content_id("test", f"prompt {i}"),
            [Message("user", f"{SENTENCES[i % 4][:12]} {i}?"), Message("assistant", f"#### {i}")],
            f"file:prompt-{i}",
            "test",
        )
        for i in range(count)
    ]


def make_preferences(count: int = PROMPTS) -> list[Preference]:
    return [
        Preference(
            content_id("test", f"pair {i}"),
            [Message("user", f"{SENTENCES[i % 4][:12]} {i}?")],
            f"yes {i}",
            f"no {i}",
            "test",
            f"file:pair-{i}",
            "test",
        )
        for i in range(count)
    ]


def letters(samples: Sequence[Sample]) -> list[float]:
    """The share of an answer's characters that are small Latin letters."""
    return [sum("a" <= c <= "z" for c in s.text) / max(1, len(s.text)) for s in samples]


def settings(objective: str, *, block: dict[str, Any] | None = None, **more: Any) -> TrainSettings:
    """Tiny iterations; `block` goes into the objective's settings, `more` into the loop's."""
    rl = {"prompts": 3, "answers": 2, "max_new_tokens": 6, "engine": "torch", **(block or {})}
    common = {
        "length": 64,
        "precision": "fp32",
        "steps": 2,
        "schedule": "constant",
        "warmup": 0,
        "threads": 1,
        "learning_rate": 1e-2,
        "optimizer": "adamw",
        **more,
    }
    return TrainSettings.model_validate({"objective": objective, objective: rl, **common})


def prepare(
    model: Transformer,
    tokenizer: Tokenizer,
    wanted: TrainSettings,
    folder: Path,
    *,
    data: Any = None,
    models: dict[str, Transformer] | None = None,
    reward: Any = letters,
    validation: Any = None,
) -> Prepared:
    """What `train` prepares, without the loop."""
    if wanted.objective == "ppo":
        add_head(model, "value").requires_grad_(True)
    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        settings=wanted,
        numbers=decide(wanted, model.config, model.device),
        data=[(make_prompts(), 1.0)] if data is None else data,
        validation=validation,
        seed=0,
        stage="rl",
        folder=folder,
        progress=Silent(),
        opener=Opener(folder / "tokens", tokenizer, "rl", Silent()),
        models=models or {},
        reward=reward,
    )
    return preparation(wanted.objective)(setup)
