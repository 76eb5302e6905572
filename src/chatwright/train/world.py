"""The processes that train one model together: who they are, and what they say to each other.

Started by `torchrun`, every process runs the same program. Rank 0 (the main one) writes, logs and
asks; the others compute their share. Without torchrun there is one process and nothing here costs
anything: `torch.distributed` is imported only where there are several.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from chatwright.errors import TrainingError, UsageError
from chatwright.train.stopping import outlive_sigterm

T = TypeVar("T")

# How long a collective waits for the slowest rank. Waiting for the main process while it works
# alone (a stage of a recipe, tokenising, rollouts) is no collective and may take days.
_TIMEOUT = timedelta(minutes=30)
_LOOK_EVERY = 0.1
_DONE, _FAILED = b"done", b"failed"
_LOST_PEER = re.compile(r"Connection \w+ by peer \[[^\]]*\]:\d+|[Tt]imed out[^.\n]{0,80}")
_LOST = (
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "socket closed",
    "timed out",
    "timeout",
    "nccl",
    "gloo",
    "failed to recv",
    "recvvalue",
    "sendbytes",
)


class MainFailed(SystemExit):
    """The main process failed while the others waited for it; it has said why."""


@dataclass(slots=True, eq=False)
class World:
    """One process among `size`: `rank` counts over all machines, `local_rank` on this one.

    A world of one does nothing and imports nothing. Every method that talks must be called by all
    ranks, in the same order.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    _store: Any = None
    _group: bool = False
    _turns: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, logs and asks."""
        return self.rank == 0

    @property
    def device(self) -> str:
        """Where this process computes: the GPU of its local rank, or the CPU.

        Raises `UsageError` where there are more processes than GPUs.
        """
        import torch

        if not torch.cuda.is_available():
            return "cpu"
        if self.local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"process {self.local_rank + 1} of this machine has no GPU of its own; there are "
                f"{torch.cuda.device_count()}",
                hint="start one process a GPU, or use CPUs: hide the GPUs (CUDA_VISIBLE_DEVICES=)",
            )
        return f"cuda:{self.local_rank}" if self.size > 1 else "cuda"

    # -- waiting for the main process, however long it works alone --------------------------------

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process runs the block, then the others do, at the same time.

        For what is made once on disk and then read. Raises `MainFailed` in the others where it
        failed in the main process.
        """
        if self.size == 1:
            yield
            return
        key = f"turn/{self.next_number()}"
        if not self.is_main:
            self._wait(key)
            yield
            return
        try:
            yield
        except BaseException:
            self.store.set(key, _FAILED)
            raise
        self.store.set(key, _DONE)

    def from_main(self, make: Callable[[], T]) -> T:
        """What `make` gives in the main process, where alone it is called; in every process.

        The value travels pickled, among processes of one program that trust each other.
        """
        if self.size == 1:
            return make()
        import torch.distributed as dist

        self.start()
        value: list[Any] = [None]
        with self.main_first():
            if self.is_main:
                value[0] = make()
        dist.broadcast_object_list(value, src=0)
        return value[0]  # type: ignore[no-any-return]

    def next_number(self) -> int:
        """How often this was called, for keys: the same in all, which call it in the same order."""
        self._turns += 1
        return self._turns

    def publish(self, key: str, value: str) -> None:
        """Leave a word for the others (`read`); returns at once."""
        self.store.set(key, value.encode())

    def read(self, key: str) -> str:
        """What the main process published under `key`, as soon as it has."""
        return self._wait(key, fail=False).decode()

    # -- collectives -------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the process group (NCCL between GPUs, gloo between CPUs); once, when needed."""
        if self.size == 1 or self._group:
            return
        import torch
        import torch.distributed as dist

        if dist.is_initialized():
            self._group = True
            return
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(self.local_rank)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=_prefixed("group", self.store),
            rank=self.rank,
            world_size=self.size,
            timeout=_TIMEOUT,
        )
        self._group = True
        atexit.register(_leave_group)

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in the order of ranks; in every process."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        self.start()
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather(None)

    def agree(self, error: Exception | None) -> None:
        """Raise where a rank failed: its own error there, a `TrainingError` naming it elsewhere."""
        said = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        for rank, text in enumerate(said):
            if text is not None:
                raise TrainingError(f"rank {rank} of {self.size} failed: {text}")

    def check_shared(self, folder: Path) -> None:
        """Raise `TrainingError` where a rank does not see the main process's `folder`.

        Checkpoints and token files lie there; machines of one run need a common file system.
        """
        if self.size == 1:
            return
        mark = self.from_main(lambda: _mark(folder))
        seen = mark.is_file()
        blind = [where for where, ok in self.gather((socket.gethostname(), seen)) if not ok]
        self.barrier()
        if self.is_main:
            mark.unlink(missing_ok=True)
        if blind:
            raise TrainingError(
                f"the machine {blind[0]} does not see this folder of the main process",
                where=str(mark.parent),
                hint="put the workspace on a file system that all machines share",
            )

    # -- inside ------------------------------------------------------------------------------------

    @property
    def store(self) -> Any:
        """The key-value store of the run; torchrun's own where it started us."""
        if self._store is None:
            import torch.distributed as dist
            from torch.distributed.rendezvous import rendezvous

            if dist.is_initialized():
                base = dist.distributed_c10d._get_default_store()
            else:
                try:
                    base, _, _ = next(rendezvous("env://", timeout=_TIMEOUT))
                except (RuntimeError, ValueError) as error:
                    raise UsageError(
                        f"rank {self.rank} of {self.size} does not reach the others: {error}",
                        hint="start with torchrun, and see that MASTER_ADDR can be reached",
                    ) from error
            again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self._store = _prefixed(f"chatwright/{again}", base)
        return self._store

    def _wait(self, key: str, *, fail: bool = True) -> bytes:
        """The value of `key` once it is there. Signals are heard while waiting."""
        while True:
            try:
                if self.store.check([key]):
                    value = bytes(self.store.get(key))
                    break
            except RuntimeError as error:
                raise TrainingError(
                    f"rank {self.rank} of {self.size} lost contact with the main process"
                ) from error
            time.sleep(_LOOK_EVERY)
        if fail and value == _FAILED:
            # Torchrun ends us as soon as the main process has left: its failure is the first one.
            time.sleep(5)
            raise MainFailed(1)
        return value


_ALONE = World()
_current: list[World] = []


def current_world() -> World:
    """The world that torchrun's environment describes (RANK, WORLD_SIZE, …), or one process."""
    if not _current:
        _current.append(_from_environment())
    return _current[-1]


@contextmanager
def alone() -> Iterator[World]:
    """Within, this process is a world of one: what it does, it does without the others."""
    current_world()
    world = World()
    _current.append(world)
    try:
        yield world
    finally:
        _current.remove(world)


@contextmanager
def peers_named(world: World) -> Iterator[None]:
    """Turn what a collective says when another process has ended into a `TrainingError`."""
    if world.size == 1:
        yield
        return
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not any(word in text.lower() for word in _LOST):
            raise
        outlive_sigterm()
        lost = _LOST_PEER.search(text)
        why = lost[0] if lost else text.splitlines()[0][:160]
        raise TrainingError(
            f"rank {world.rank} of {world.size} stopped: another process of this run ended or "
            f"cannot be reached ({why})",
            hint="look for its message above; the same command goes on from the last checkpoint",
        ) from error


def _from_environment() -> World:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or "MASTER_ADDR" not in os.environ:
        return _ALONE
    try:
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the environment speaks of several processes, but not in full ({error})",
            where=", ".join(names),
            hint="start with torchrun, or unset WORLD_SIZE",
        ) from error
    return World(rank, size, local_rank, local_size)


def _mark(folder: Path) -> Path:
    mark = folder.absolute() / f".seen-{uuid.uuid4().hex[:8]}"
    mark.write_bytes(b"")
    return mark


def _prefixed(prefix: str, store: Any) -> Any:
    """A part of a store whose keys are nobody else's."""
    from torch._C._distributed_c10d import PrefixStore

    return PrefixStore(prefix, store)


def _leave_group() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        try:
            dist.destroy_process_group()
        except RuntimeError:  # the others have gone already
            return
