"""Training state on disk: whole or not there, the newest complete one is found, nothing pickled.

A checkpoint is `step-00000120/`: `weights.safetensors` (what is trained, float32),
`optimizer.safetensors`, `rng.safetensors` and `state.json` (step, counters, digests of the files).
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chatwright.errors import DataError
from chatwright.records import atomic_folder, disk_errors, file_digest, read_json

_FORMAT = "chatwright.training.1"
_FILES = ("weights.safetensors", "optimizer.safetensors", "rng.safetensors")


@dataclass(slots=True)
class Position:
    """How far training is. `step` steps are done; counters are sums over them."""

    step: int = 0
    tokens: int = 0
    supervised: int = 0
    seconds: float = 0.0
    threads: int = 0
    counters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a checkpoint holds."""

    position: Position
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    rng: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one run, in `folder`; `run` is the fingerprint of what is trained."""

    def __init__(self, folder: Path, run: str, keep: int = 2) -> None:
        self.folder = folder
        self._run = run
        self._keep = keep

    def save(self, state: TrainingState) -> Path:
        """Write a checkpoint beside and rename it, then remove the oldest.

        Raises `DataError` when the disk is full; the checkpoints before stand as they were.
        """
        path = self.folder / f"step-{state.position.step:08d}"
        with disk_errors(path), atomic_folder(path) as partial:
            for name, tensors in zip(
                _FILES, (state.weights, state.optimizer, state.rng), strict=True
            ):
                _save(tensors, partial / name)
            description = {
                "format": _FORMAT,
                "run": self._run,
                "position": asdict(state.position),
                "digests": {name: file_digest(partial / name) for name in _FILES},
            }
            (partial / "state.json").write_text(json.dumps(description) + "\n", encoding="utf-8")
        for old in self.complete()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def complete(self) -> list[Path]:
        """Checkpoint folders, oldest first (renamed when whole; contents not looked at)."""
        return sorted(p for p in self.folder.glob("step-*") if (p / "state.json").exists())

    def latest(self, warn: Callable[[str], None]) -> TrainingState | None:
        """The newest checkpoint of this run that is whole, or None.

        One that is damaged (its digest does not fit) or of another run is passed over and told to
        `warn`.
        """
        for path in reversed(self.complete()):
            try:
                return self._load(path)
            except (DataError, SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                said = error.message if isinstance(error, DataError) else str(error)
                warn(f"the checkpoint {path} is passed over: {said}")
        return None

    def clear(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, path: Path) -> TrainingState:
        description = read_json(path / "state.json", "training state")
        if description.get("format") != _FORMAT or description.get("run") != self._run:
            raise DataError("it belongs to another run", where=str(path))
        for name, digest in description["digests"].items():
            if file_digest(path / name) != digest:
                raise DataError(f"{name} is damaged", where=str(path))
        weights, optimizer, rng = (load_file(path / name) for name in _FILES)
        return TrainingState(Position(**description["position"]), weights, optimizer, rng)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    try:
        save_file(whole, path)
    except SafetensorError as error:
        # The library tells of a full disk in words only.
        if "os error 28" in str(error) or "No space left" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise


def rng_state() -> dict[str, Tensor]:
    """The state of torch's generators (dropout draws from them)."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return found


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what `rng_state` gave."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state[f"cuda{i}"] for i in range(torch.cuda.device_count())])
