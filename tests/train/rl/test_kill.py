"""SIGKILL in the middle of rollouts and updates; the resumed weights are the same to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatwright.tokenizer import Tokenizer

from ..killing import check_resumed
from .test_train import run as run_for

CASES = ("ppo", "grpo")
STEPS = 9
KILLED_AT = range(2, STEPS - 3)
SECONDS = 0.15


def run(case: str, tokenizer: Tokenizer, scratch: Path | None) -> dict[str, torch.Tensor]:
    return dict(run_for(case, tokenizer, scratch, STEPS).model.state_dict())


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case: str, tokenizer: Tokenizer, killed: Path) -> None:
    check_resumed(run, case, tokenizer, killed, STEPS)
