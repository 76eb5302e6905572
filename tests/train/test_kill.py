"""SIGKILL at a random moment, in another process; the resumed weights are the same to the bit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train

from .conftest import make_conversations, make_documents, tiny_model
from .killing import kill_while_training, train_slowly

STEPS = 30
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


@pytest.fixture(scope="module")
def killed(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per case, each left behind by a process that was killed while it trained."""
    root = tmp_path_factory.mktemp("killed")
    tokenizer.save(root / "tokenizer")
    kill_while_training("train.test_kill", CASES, root, range(3, STEPS - 7))
    return root


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case: str, tokenizer: Tokenizer, killed: Path) -> None:
    kept = [p.name for p in (killed / case / "state").glob("step-*")]
    assert kept and f"step-{STEPS:08d}" not in kept
    resumed = run(case, tokenizer, killed / case)
    undisturbed = run(case, tokenizer, None)
    assert resumed.keys() == undisturbed.keys()
    for name in undisturbed:
        assert torch.equal(resumed[name], undisturbed[name]), name


if __name__ == "__main__":
    train_slowly(0.1)
    folder = Path(sys.argv[2])
    run(sys.argv[1], Tokenizer.load(folder / "tokenizer"), folder / sys.argv[1])
