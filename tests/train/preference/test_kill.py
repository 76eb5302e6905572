"""SIGKILL while a reward model or a policy trains; the resumed weights are the same to the bit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train import LoraSettings, TrainSettings, train

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


def start(case: str, folder: Path) -> subprocess.Popen[bytes]:
    # From within `tests`: a package that is installed may bring a `tests` of its own.
    command = [sys.executable, "-m", "train.preference.test_kill", case, str(folder)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def killed(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per case, each left behind by a process that was killed while it trained."""
    root = tmp_path_factory.mktemp("killed")
    tokenizer.save(root / "tokenizer")
    processes = {case: start(case, root) for case in CASES}
    waiting = {case: random.randint(3, STEPS - 8) for case in CASES}
    end = time.monotonic() + 120
    try:
        while waiting:
            for case, step in list(waiting.items()):
                metrics = root / case / "metrics.jsonl"
                lines = metrics.read_text().count("\n") if metrics.exists() else 0
                # Something to resume from must be there: on a busy machine it comes late.
                if lines >= step and any((root / case / "state").glob("step-*")):
                    processes[case].send_signal(signal.SIGKILL)
                    assert processes[case].wait(20) == -signal.SIGKILL, "it was done before"
                    del waiting[case]
                else:
                    assert processes[case].poll() is None and time.monotonic() < end
            time.sleep(0.01)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
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
    from chatwright.train.loop import Trainer

    torch.set_num_threads(1)
    one_step = Trainer._step

    def slowly(self: Trainer, *rest: Any) -> dict[str, float]:
        time.sleep(0.05)  # so that the parent is in time with its signal
        return one_step(self, *rest)

    Trainer._step = slowly  # type: ignore[method-assign]
    root = Path(sys.argv[2])
    run(sys.argv[1], Tokenizer.load(root / "tokenizer"), root / sys.argv[1])
