"""SIGKILL in the middle of rollouts and updates; the resumed weights are the same to the bit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from chatwright.tokenizer import Tokenizer

from ..killing import kill_while_training, train_slowly
from .test_train import run

CASES = ("ppo", "grpo")
STEPS = 9


@pytest.fixture(scope="module")
def killed(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per case, each left behind by a process that was killed while it trained."""
    root = tmp_path_factory.mktemp("killed")
    tokenizer.save(root / "tokenizer")
    kill_while_training("train.rl.test_kill", CASES, root, range(2, STEPS - 3))
    return root


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_undisturbed(case: str, tokenizer: Tokenizer, killed: Path) -> None:
    kept = [p.name for p in (killed / case / "state").glob("step-*")]
    assert kept and f"step-{STEPS:08d}" not in kept
    resumed = run(case, tokenizer, killed / case, STEPS).model.state_dict()
    undisturbed = run(case, tokenizer, None, STEPS).model.state_dict()
    assert resumed.keys() == undisturbed.keys()
    for name, weight in undisturbed.items():
        assert torch.equal(resumed[name], weight), name


if __name__ == "__main__":
    train_slowly(0.15)
    folder = Path(sys.argv[2])
    run(sys.argv[1], Tokenizer.load(folder / "tokenizer"), folder / sys.argv[1], STEPS)
