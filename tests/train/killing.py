"""Processes that are killed while they train: what the tests of resuming begin with."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from chatwright.tokenizer import Tokenizer
from chatwright.train.loop import Trainer
from forked import start

# From a case, a tokenizer and where the run's state lies (None: nowhere) to the trained weights.
Run = Callable[[str, Tokenizer, Path | None], dict[str, torch.Tensor]]


def kill_while_training(
    run: Run, cases: Iterable[str], root: Path, steps: range, seconds: float
) -> None:
    """Start `run` for each case, a step in `seconds`; kill it at a random one of `steps`.

    Each leaves its folder `root/CASE` behind, with a checkpoint to resume from.
    """
    processes = {case: start(be_killed, run, case, root, seconds) for case in cases}
    waiting = {case: random.choice(steps) for case in processes}
    end = time.monotonic() + 120
    try:
        while waiting:
            for case, step in list(waiting.items()):
                metrics = root / case / "metrics.jsonl"
                lines = metrics.read_text().count("\n") if metrics.exists() else 0
                # Something to resume from must be there: on a busy machine it comes late.
                if lines >= step and any((root / case / "state").glob("step-*")):
                    processes[case].kill()
                    processes[case].join(20)
                    assert processes[case].exitcode == -signal.SIGKILL, "it was done before"
                    del waiting[case]
                else:
                    assert processes[case].is_alive() and time.monotonic() < end
            time.sleep(0.01)
    finally:
        for process in processes.values():
            process.kill()
            process.join()


def check_resumed(run: Run, case: str, tokenizer: Tokenizer, killed: Path, steps: int) -> None:
    """Going on from what was left behind gives the weights of an undisturbed run of `steps`."""
    kept = [p.name for p in (killed / case / "state").glob("step-*")]
    assert kept and f"step-{steps:08d}" not in kept
    resumed = run(case, tokenizer, killed / case)
    undisturbed = run(case, tokenizer, None)
    assert resumed.keys() == undisturbed.keys()
    for name, weight in undisturbed.items():
        assert torch.equal(resumed[name], weight), name


def be_killed(run: Run, case: str, root: Path, seconds: float) -> None:
    """The process to be killed: gives its parent time before each step, and much at the end."""
    torch.set_num_threads(1)
    one_step = Trainer._step

    def slowly(self: Trainer) -> dict[str, float]:
        time.sleep(60 if self.position.step >= self.total - 2 else seconds)
        return one_step(self)

    Trainer._step = slowly  # type: ignore[method-assign]
    run(case, Tokenizer.load(root / "tokenizer"), root / case)
