"""SIGKILL while a reward model or a policy trains; the resumed weights are the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train

from ..killing import check_resumed
from .conftest import make_preferences, tiny_model

STEPS = 24
KILLED_AT = range(3, STEPS - 7)
SECONDS = 0.05
CASES: dict[str, dict[str, Any]] = {
    "reward": {"objective": "reward", "precision": "bf16", "lora": LoraSettings(rank=2)},
    "dpo": {"objective": "dpo", "precision": "fp32"},
}


def run(case: str, tokenizer: Tokenizer, scratch: Path | None) -> dict[str, torch.Tensor]:
    wanted = TrainSettings(
        batch_size=4,
        micro_batch_tokens=300,
        steps=STEPS,
        checkpoint_every=3,
        threads=1,
        learning_rate=1e-3,
        **CASES[case],
    )
    model = tiny_model(tokenizer)
    result = train(model, tokenizer, make_preferences(30), wanted, scratch=scratch)
    config = result.model.config
    scale = torch.tensor([config.reward_mean, config.reward_std], dtype=torch.float64)
    return dict(result.model.state_dict()) | {"normalisation": scale}


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case: str, tokenizer: Tokenizer, killed: Path) -> None:
    check_resumed(run, case, tokenizer, killed, STEPS)
