"""SIGKILL while a reward model or a policy trains; the resumed weights are the same to the bit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train

from ..killing import kill_while_training, train_slowly
from .conftest import make_preferences, tiny_model

STEPS = 24
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


@pytest.fixture(scope="module")
def killed(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per case, each left behind by a process that was killed while it trained."""
    root = tmp_path_factory.mktemp("killed")
    tokenizer.save(root / "tokenizer")
    kill_while_training("train.preference.test_kill", CASES, root, range(3, STEPS - 7))
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
    train_slowly(0.05)
    folder = Path(sys.argv[2])
    run(sys.argv[1], Tokenizer.load(folder / "tokenizer"), folder / sys.argv[1])
