"""Processes that are killed while they train: what the tests of resuming begin with."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train.loop import Trainer

TESTS = Path(__file__).parents[1]
# From a case, a tokenizer and where the run's state lies (None: nowhere) to the trained weights.
Run = Callable[[str, Tokenizer, Path | None], dict[str, torch.Tensor]]


def kill_while_training(module: str, cases: Iterable[str], root: Path, steps: range) -> None:
    """Run `python -m module CASE root` for each case and kill it at a random one of `steps`.

    Each leaves its folder `root/CASE` behind, with a checkpoint to resume from.
    """
    # From within `tests`: a package that is installed may bring a `tests` of its own.
    processes = {
        case: subprocess.Popen([sys.executable, "-m", module, case, str(root)], cwd=TESTS)
        for case in cases
    }
    waiting = {case: random.choice(steps) for case in processes}
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


def check_resumed(run: Run, case: str, tokenizer: Tokenizer, killed: Path, steps: int) -> None:
    """Going on from what was left behind gives the weights of an undisturbed run of `steps`."""
    kept = [p.name for p in (killed / case / "state").glob("step-*")]
    assert kept and f"step-{steps:08d}" not in kept
    resumed = run(case, tokenizer, killed / case)
    undisturbed = run(case, tokenizer, None)
    assert resumed.keys() == undisturbed.keys()
    for name, weight in undisturbed.items():
        assert torch.equal(resumed[name], weight), name


def be_killed(run: Run, seconds: float) -> None:
    """The process to be killed: gives its parent time before each step, and much at the end."""
    torch.set_num_threads(1)
    one_step = Trainer._step

    def slowly(self: Trainer) -> dict[str, float]:
        time.sleep(60 if self.position.step >= self.total - 2 else seconds)
        return one_step(self)

    Trainer._step = slowly  # type: ignore[method-assign]
    case, root = sys.argv[1], Path(sys.argv[2])
    run(case, Tokenizer.load(root / "tokenizer"), root / case)
