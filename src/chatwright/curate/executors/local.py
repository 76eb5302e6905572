"""Processes of this machine, each under supervision: a row that hangs or kills its process goes.

`concurrent.futures` gives up its whole pool when one process dies, and can end no task that hangs
inside C code.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal, Self

import psutil

from chatwright.curate.executors.work import BATCH, IDLE, Failure, Guard, Limits, Raised, Task
from chatwright.errors import ChatwrightError

_START_SECONDS = 120.0
_LOOK_EVERY = 0.2
_DEATHS_OF_A_ROW, _DEATHS_OF_A_BATCH, _DEATHS_OF_A_SHARD = 2, 2, 3
_FAILED_STARTS = 3
# One process, one core: the libraries' own threads would fight over it.
_ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS")
}


@dataclass(slots=True)
class _Shard:
    """What is known about a shard that is not done yet."""

    number: int
    failed: dict[int, Failure] = field(default_factory=dict)
    one_by_one: bool = False
    deaths: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class _Worker:
    process: Any
    connection: Connection
    state: Any
    ready: bool = False
    task: int = 0  # which one it has
    shard: _Shard | None = None
    since: float = field(default_factory=time.monotonic)


class LocalExecutor:
    """See `Executor`. `workers=0` does everything in this process, without any limit."""

    def __init__(self, workers: int, limits: Limits) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._size = workers
        self._limits = limits
        self._workers: list[_Worker] = []
        self._waiting: deque[_Shard] = deque()
        self._task = 0  # counts runs: a worker is sent a task, which may be large, once
        self._payload = b""
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None:
        self._end(list(self._workers))

    def _end(self, workers: Sequence[_Worker]) -> None:
        for worker in workers:
            worker.process.kill()
            worker.connection.close()
            self._workers.remove(worker)
        for worker in workers:
            worker.process.join()

    def run(self, task: Task[Any], shards: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Results of `task`, as they are ready, each with its shard's number."""
        if self._size == 0:
            for number in shards:
                yield number, task(number, Guard())
            return
        self._waiting = deque(_Shard(number) for number in shards)
        self._task += 1
        self._payload = bytes(ForkingPickler.dumps(task))
        left = len(self._waiting)
        try:
            while left:
                self._assign()
                for number, result in self._collect():
                    left -= 1
                    if isinstance(result, Raised):
                        raise result.again()
                    yield number, result
        finally:  # nobody waits for what these are at
            self._end([worker for worker in self._workers if worker.shard is not None])

    def _assign(self) -> None:
        busy = sum(worker.shard is not None for worker in self._workers)
        while len(self._workers) < min(self._size, len(self._waiting) + busy):
            self._start()
        for worker in list(self._workers):
            if self._waiting and worker.ready and worker.shard is None:
                shard = worker.shard = self._waiting.popleft()
                worker.state[0] = IDLE
                payload = b"" if worker.task == self._task else self._payload
                worker.task = self._task
                try:
                    worker.connection.send((payload, shard.number, shard.failed, shard.one_by_one))
                except OSError:
                    self._died(worker)

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        state = self._context.RawArray("d", 2)
        state[0] = IDLE
        process = self._context.Process(
            target=_serve, args=(theirs, state, self._limits.seconds), daemon=True
        )
        with _environment(_ONE_THREAD), _no_interrupt():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, state))

    def _collect(self) -> list[tuple[int, Any]]:
        """What has come in since; also ends what takes too long or too much."""
        waiting = [w for w in self._workers if w.shard is not None or not w.ready]
        readable = set(wait([w.connection for w in waiting], timeout=_LOOK_EVERY))
        out: list[tuple[int, Any]] = []
        for worker in waiting:
            if worker.connection not in readable:
                self._look_at(worker)
                continue
            try:
                result = worker.connection.recv()
            except (EOFError, OSError):
                self._died(worker)
                continue
            if worker.shard is not None:
                out.append((worker.shard.number, result))
                worker.shard = None
            worker.ready = True
            self._failed_starts = 0
        return out

    def _look_at(self, worker: _Worker) -> None:
        now = time.monotonic()
        if not worker.ready:
            if now - worker.since > _START_SECONDS:
                raise ChatwrightError(
                    f"a worker process did not start in {_START_SECONDS:g} seconds"
                )
            return
        what, since = int(worker.state[0]), worker.state[1]
        bound = self._limits.seconds * (10 if what == BATCH else 1)
        if what != IDLE and now - since > bound:
            self._failed(worker, what, "timeout", f"took longer than {bound:g} seconds")
            return
        try:
            memory = psutil.Process(worker.process.pid).memory_info().rss
        except psutil.Error:
            return  # just gone: its pipe will say so
        if memory > self._limits.memory:
            took = f"{memory / 2**20:,.0f} MiB, and {self._limits.memory / 2**20:,.0f} are allowed"
            self._failed(worker, what, "memory", f"its process took {took}")

    def _died(self, worker: _Worker) -> None:
        worker.process.join(5)  # so that the code is its own and not that of our kill
        code = worker.process.exitcode
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts < _FAILED_STARTS:
                self._end([worker])  # another one takes its place
                return
            raise ChatwrightError(
                f"worker processes could not start (exit code {code})",
                hint='a script that curates needs `if __name__ == "__main__":` around its calls',
            )
        self._failed(worker, int(worker.state[0]), "died", f"its process ended (exit code {code})")

    def _failed(
        self, worker: _Worker, what: int, kind: Literal["timeout", "memory", "died"], why: str
    ) -> None:
        """End the process; note what it was at, and have its shard done again."""
        self._end([worker])
        shard = worker.shard
        if shard is None:
            return  # it was idle: another one takes its place
        shard.deaths[what] += 1
        if what >= 0:
            if kind == "timeout" or shard.deaths[what] >= _DEATHS_OF_A_ROW:
                shard.failed[what] = Failure(kind, why)
        elif what == BATCH and not shard.one_by_one:
            # Who died may have been killed from outside: not the rows' fault.
            shard.one_by_one = kind != "died" or shard.deaths[what] >= _DEATHS_OF_A_BATCH
        elif shard.deaths[what] >= _DEATHS_OF_A_SHARD:
            raise ChatwrightError(
                f"shard {shard.number} could not be finished: {why}, {shard.deaths[what]} times",
                hint="raise `worker_memory`, or run again with fewer workers",
            )
        self._waiting.appendleft(shard)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C waits, and a process started meanwhile never hears it: the parent handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which a first process starts, and unblocks signals then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not write into the shards of the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _serve(connection: Connection, state: Any, seconds: float) -> None:
    """A worker: one shard in, one result out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    task: Task[Any] | None = None
    try:
        connection.send(None)
        while True:
            sent, number, failed, one_by_one = connection.recv()
            try:
                if sent:
                    task = pickle.loads(sent)  # the parent's own
                assert task is not None
                result = task(number, Guard(failed, one_by_one, state, seconds))
                reply = ForkingPickler.dumps(result)
            except Exception as error:
                reply = ForkingPickler.dumps(Raised.of(error, f"in shard {number}"))
            connection.send_bytes(reply)
    except (EOFError, OSError):
        return
