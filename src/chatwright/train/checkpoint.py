"""Training state on disk: whole or not there, the newest complete one is found, nothing pickled.

A checkpoint is `step-00000120/`: `weights.safetensors` (what is trained, float32),
`optimizer.safetensors`, `rng.safetensors`, `source.safetensors` (what the data's source remembers:
rollouts) and `state.json` (step, counters, digests of the files). Of sharded training the first
two are a folder, `shards/` (`train/world_checkpoint.py`).
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from chatwright.errors import DataError
from chatwright.records import atomic_folder, disk_errors, file_digest, read_json

_FORMAT = "chatwright.training.2"
_FILES = ("weights.safetensors", "optimizer.safetensors", "rng.safetensors", "source.safetensors")
SHARDS = "shards"
"""The folder of a checkpoint where several ranks have written weights and optimizer in shares."""
OF_WEIGHTS, OF_OPTIMIZER = "weights/", "optimizer/"


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
    source: dict[str, Tensor] = field(default_factory=dict)


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
        path = self.path_of(state.position.step)
        with disk_errors(path), atomic_folder(path) as partial:
            self._write(partial, state, _FILES)
        self._remove_old()
        return path

    def path_of(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies."""
        return self.folder / f"step-{step:08d}"

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

    def _write(
        self,
        partial: Path,
        state: TrainingState,
        files: Sequence[str],
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Write `files` of a checkpoint and what describes them and those of `digests`."""
        for name in files:
            _save(getattr(state, name.removesuffix(".safetensors")), partial / name)
        description = {
            "format": _FORMAT,
            "run": self._run,
            "position": asdict(state.position),
            "digests": {name: file_digest(partial / name) for name in files} | dict(digests or {}),
        }
        (partial / "state.json").write_text(json.dumps(description) + "\n", encoding="utf-8")

    def _remove_old(self) -> None:
        for old in self.complete()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)

    def _load(self, path: Path) -> TrainingState:
        for name, digest in self._description(path)["digests"].items():
            if file_digest(path / name) != digest:
                raise DataError(f"{name} is damaged", where=str(path))
        return self._read(path)

    def _description(self, path: Path) -> dict[str, Any]:
        """What `state.json` says. Raises `DataError` where it is of another run."""
        description = read_json(path / "state.json", "training state")
        if description.get("format") != _FORMAT or description.get("run") != self._run:
            raise DataError("it belongs to another run", where=str(path))
        return description

    def _read(self, path: Path, *, weights: bool = True) -> TrainingState:
        """The state in `path`, whose files are whole; or all of it but weights and optimizer."""
        position = Position(**self._description(path)["position"])
        rng, source = (load_file(path / name) for name in _FILES[2:])
        if not weights:
            return TrainingState(position, {}, {}, rng, source)
        if (path / SHARDS).is_dir():  # of several processes
            from chatwright.train.shard_files import load_whole

            found = load_whole(path / SHARDS)
            trained, optimizer = (
                {n.removeprefix(of): t for n, t in found.items() if n.startswith(of)}
                for of in (OF_WEIGHTS, OF_OPTIMIZER)
            )
        else:
            trained, optimizer = (load_file(path / name) for name in _FILES[:2])
        return TrainingState(position, trained, optimizer, rng, source)


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
    """The state of this process's generators of torch (dropout draws from them)."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def rng_of_ranks(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The generators of all ranks by name: `cpu` of rank 0, `rank1/cpu` and so on."""
    return {
        f"rank{rank}/{name}" if rank else name: tensor
        for rank, state in enumerate(states)
        for name, tensor in state.items()
    }


def set_rng_state(state: Mapping[str, Tensor], rank: int = 0) -> None:
    """Put back what `rng_state` gave; a rank that there was not before stays as it is seeded."""
    own = f"rank{rank}/" if rank else ""
    if f"{own}cpu" in state:
        torch.set_rng_state(state[f"{own}cpu"])
    if torch.cuda.is_available() and f"{own}cuda" in state:
        torch.cuda.set_rng_state(state[f"{own}cuda"])
