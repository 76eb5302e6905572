"""What training says about itself: `metrics.jsonl` and a TensorBoard event file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatwright.records import disk_errors, write_atomic


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; a line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


class MetricsLog:
    """Appends one line per step; opened at a step, it forgets the steps after it.

    So a resumed run leaves no step twice. TensorBoard gets the numbers too (`purge_step` does there
    what forgetting does here).
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line["step"] <= done]
        write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(folder / "tensorboard", purge_step=done + 1 if done else None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line, flushed, for `step` (1-based: the number of steps done)."""
        with disk_errors(self.path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()
