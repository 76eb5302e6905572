"""Checkpoints of a run with several ranks: one folder, written together, whole or not there.

With DDP rank 0 writes what one process would write. With FSDP2 every rank writes its shares into
`shards/` of the same folder. Either can be gone on from with another number of ranks, or with one
process; with the same number it is exact.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from chatwright.errors import DataError, TrainingError
from chatwright.records import atomic_folder, disk_errors, file_digest
from chatwright.train.checkpoint import (
    OF_OPTIMIZER,
    OF_WEIGHTS,
    SHARDS,
    Checkpoints,
    TrainingState,
)
from chatwright.train.parallel import Parallel
from chatwright.train.shard_files import load_shards, save_shards, shapes_of
from chatwright.train.sharded import Sharded
from chatwright.train.world import World


class WorldCheckpoints(Checkpoints):
    """`Checkpoints` whose methods all ranks call together."""

    def __init__(self, folder: Path, run: str, keep: int, world: World, parallel: Parallel) -> None:
        super().__init__(folder, run, keep)
        self._world = world
        self._sharded = parallel if isinstance(parallel, Sharded) else None

    def save(self, state: TrainingState) -> Path:
        """Write a checkpoint. Raises `DataError` where a disk is full, on every rank."""
        path = self.path_of(state.position.step)
        error: Exception | None = None
        if self._sharded is None:
            if self._world.is_main:
                try:
                    super().save(state)
                except DataError as failed:
                    error = failed
            self._world.agree(error)
            return path
        shards = self.folder / f".shards-{path.name}.partial"
        if self._world.is_main:
            for leftover in self.folder.glob(".shards-*.partial"):
                shutil.rmtree(leftover, ignore_errors=True)
            shards.mkdir(parents=True, exist_ok=True)
        self._world.barrier()
        try:
            with disk_errors(path):
                save_shards(shards, _named(state))
        except DataError as failed:
            error = failed
        self._world.agree(error)
        digests = self._digests(shards)
        if self._world.is_main:
            try:
                with disk_errors(path), atomic_folder(path) as partial:
                    shards.rename(partial / SHARDS)
                    self._write(partial, state, ("rng.safetensors", "source.safetensors"), digests)
                self._remove_old()
            except DataError as failed:
                error = failed
        self._world.agree(error)
        return path

    def latest(self, warn: Callable[[str], None]) -> TrainingState | None:
        for path in reversed(self._world.from_main(self.complete)):
            said = None
            try:
                self._check_mine(path)
            except (DataError, OSError, KeyError, TypeError, ValueError) as error:
                said = error.message if isinstance(error, DataError) else str(error)
            problems = [text for text in self._world.gather(said) if text is not None]
            if not problems:
                return self._restore(path)
            warn(f"the checkpoint {path} is passed over: {problems[0]}")
        return None

    # -- inside ------------------------------------------------------------------------------------

    def _digests(self, shards: Path) -> dict[str, str]:
        """Digests of the shards' files, each computed by one rank."""
        files = sorted(shards.iterdir())[self._world.rank :: self._world.size]
        own = {f"{SHARDS}/{file.name}": file_digest(file) for file in files}
        found: dict[str, str] = {}
        for digests in self._world.gather(own):
            found |= digests
        return found

    def _check_mine(self, path: Path) -> None:
        """Read this rank's part of the files and hold them to their digests."""
        digests = sorted(self._description(path)["digests"].items())
        for name, digest in digests[self._world.rank :: self._world.size]:
            if file_digest(path / name) != digest:
                raise DataError(f"{name} is damaged", where=str(path))

    def _restore(self, path: Path) -> TrainingState:
        try:
            if self._sharded is None or not (path / SHARDS).is_dir():
                state = self._read(path)
                if self._sharded is None:
                    return state
                return replace(state, optimizer=self._sharded.cut(state.optimizer))
            targets, local = self._targets(self._sharded, path / SHARDS)
            load_shards(path / SHARDS, targets)
            state = self._read(path, weights=False)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"this checkpoint cannot be used: {error}", where=str(path)) from error
        return replace(state, optimizer=local)

    @staticmethod
    def _targets(own: Sharded, folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What to read, by name in the files: this rank's shares of the weights, where they lie,
        and tensors for its optimizer. These come a second time, as they are in this process.
        """
        shapes = shapes_of(folder)
        names = {n.removeprefix(OF_WEIGHTS) for n in shapes if n.startswith(OF_WEIGHTS)}
        if names != set(own.live):
            raise TrainingError("the saved training state is of another model")
        targets: dict[str, Tensor] = {OF_WEIGHTS + n: p.detach() for n, p in own.live.items()}
        optimizer = {}
        for key, (shape, dtype) in shapes.items():
            name = key.split("/")[-2]
            if not key.startswith(OF_OPTIMIZER) or not own.owns(name):
                continue
            like = own.live[name].to_local()
            if own.is_share(name) and shape == own.live[name].shape:
                local = torch.zeros_like(like, dtype=dtype)
            else:
                local = torch.zeros(shape, dtype=dtype, device=like.device)
            optimizer[key.removeprefix(OF_OPTIMIZER)] = local
            targets[key] = own.spread(name, local)
        return targets, optimizer


def _named(state: TrainingState) -> dict[str, Tensor]:
    weights = {OF_WEIGHTS + name: tensor for name, tensor in state.weights.items()}
    return weights | {OF_OPTIMIZER + name: tensor for name, tensor in state.optimizer.items()}
