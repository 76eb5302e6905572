"""SIGKILL at a random moment, in another process; the resumed weights are the same to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train

from .conftest import make_conversations, make_documents, tiny_model
from .killing import check_resumed

STEPS = 30
KILLED_AT = range(3, STEPS - 7)
SECONDS = 0.1
CASES: dict[str, dict[str, Any]] = {
    "pretrain-full-fp32": {"objective": "pretrain", "precision": "fp32"},
    "pretrain-full-bf16": {"objective": "pretrain", "precision": "bf16"},
    "sft-full": {"precision": "fp32", "optimizer": "adamw"},
    "sft-lora": {"precision": "bf16", "lora": LoraSettings(rank=2, dropout=0.1)},
}


def run(case: str, tokenizer: Tokenizer, scratch: Path | None) -> dict[str, torch.Tensor]:
    wanted = TrainSettings(
        length=128, batch_tokens=256, steps=STEPS, checkpoint_every=3, threads=1, **CASES[case]
    )
    rows: Any = make_documents(24) if wanted.objective == "pretrain" else make_conversations(24)
    model = tiny_model(tokenizer)
    return dict(train(model, tokenizer, rows, wanted, scratch=scratch).model.state_dict())


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case: str, tokenizer: Tokenizer, killed: Path) -> None:
    check_resumed(run, case, tokenizer, killed, STEPS)
