"""What training says about itself: `metrics.jsonl` and a TensorBoard event file."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatwright.records import disk_errors, write_atomic

# TensorBoard reads the file while it grows; what is younger than this may still be in memory.
_FLUSH_SECONDS = 10
_EVENTS_IN_MEMORY = 1000


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl` or `samples.jsonl`; one that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


def forget_after(path: Path, done: int) -> list[dict[str, Any]]:
    """Leave only the lines of the first `done` steps, and return them: later ones come again."""
    kept = [line for line in read_metrics(path) if line["step"] <= done]
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
    return kept


class MetricsLog:
    """Appends one line per step; opened at a step, it forgets the steps after it.

    So a resumed run leaves no step twice; `losses` are those of the steps that stay. TensorBoard
    gets the numbers too, all of a step in one event: `SummaryWriter.add_scalar` writes an event for
    each and takes 18 times as long (1.3 ms for 12 numbers, a noticeable part of a small model's
    step).
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / "metrics.jsonl"
        kept = forget_after(self.path, done)
        self.losses = [float(x["loss"]) for x in kept if isinstance(x.get("loss"), (int, float))]
        self._file = self.path.open("a", encoding="utf-8")
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._board = EventFileWriter(
            str(folder / "tensorboard"), _EVENTS_IN_MEMORY, flush_secs=_FLUSH_SECONDS
        )
        if done:
            self._purge(done + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line, flushed, for `step` (1-based: the number of steps done).

        What is not a finite number (JSON has no word for it) is null in the file.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with disk_errors(self.path):
            self._file.write(json.dumps({"step": step, **finite}) + "\n")
            self._file.flush()
        points = [
            Summary.Value(tag=f"train/{name}", simple_value=value) for name, value in values.items()
        ]
        self._board.add_event(
            Event(wall_time=time.time(), step=step, summary=Summary(value=points))
        )

    def close(self) -> None:
        self._file.close()
        self._board.close()

    def _purge(self, step: int) -> None:
        """Tell TensorBoard to forget what earlier files say of `step` and later ones."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        started = SessionLog(status=SessionLog.START)
        self._board.add_event(Event(wall_time=time.time(), step=step, session_log=started))
