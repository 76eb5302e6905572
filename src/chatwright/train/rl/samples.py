"""`rollouts.jsonl`: a few answers of each iteration with their rewards, for people to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatwright.records import disk_errors
from chatwright.train.metrics import forget_after
from chatwright.train.rl.rewards import Sample

FILE = "rollouts.jsonl"


class SampleLog:
    """Appends to `folder`/rollouts.jsonl; a run that goes on leaves no iteration twice."""

    def __init__(self, folder: Path, count: int) -> None:
        self._path = folder / FILE
        self._count = count
        self._fresh = True

    def write(
        self, step: int, samples: Sequence[Sample], rewards: Sequence[float], *, every: int
    ) -> None:
        """The first answer to each of the first prompts; prompts have `every` answers each.

        `step` is how many steps were done before these answers were made.
        """
        if not self._count:
            return
        if self._fresh:
            forget_after(self._path, step - 1)
            self._fresh = False
        pairs = list(zip(samples, rewards, strict=True))[::every][: self._count]
        lines = [_line(step, sample, reward) for sample, reward in pairs]
        with disk_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _line(step: int, sample: Sample, reward: float) -> dict[str, Any]:
    return {
        "step": step,
        "row_id": sample.row_id,
        "prompt": [{"role": m.role, "content": m.content} for m in sample.prompt],
        "answer": sample.text,
        "finish_reason": sample.finish_reason,
        "reward": reward,
    }
