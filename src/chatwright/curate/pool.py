"""A pool of processes for work that may hang, eat memory or die, one item at a time.

`concurrent.futures` gives up its whole pool when one process dies, and can end no task that hangs
inside C code. Here such an item becomes a `Failure` and the rest goes on; results come in the
order of the items whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, TypeVar, cast

from chatwright.errors import ChatwrightError

In = TypeVar("In")
Out = TypeVar("Out")

_START_SECONDS = 120.0
_AHEAD = 4  # items per worker that may wait for an earlier one to finish


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that gave no result: it took too long, its process died twice, or it raised."""

    kind: Literal["timeout", "died", "error"]
    detail: str


@dataclass(slots=True)
class _Worker:
    process: Any
    connection: Connection
    ready: bool = False
    index: int | None = None
    until: float = 0.0


def ordered_map(
    function: Callable[[In], Out], items: Iterable[In], *, workers: int, seconds: float
) -> Iterator[Out | Failure]:
    """`function` of each item, in order; an item is given `seconds` and two tries at dying.

    `function`, items and results are pickled; processes are spawned, so a script that calls this
    needs `if __name__ == "__main__":`. `workers=0` runs in this process, without the time limit.
    """
    if workers == 0:
        for item in items:
            try:
                yield function(item)
            except Exception as error:
                yield _failure(error)
        return
    pool = _Pool(function, workers, seconds)
    try:
        yield from pool.run(items)
    finally:
        pool.close()


def _failure(error: BaseException) -> Failure:
    kind: Literal["timeout", "error"] = "timeout" if isinstance(error, TimeoutError) else "error"
    return Failure(kind, f"{type(error).__name__}: {error}"[:500])


class _Pool:
    def __init__(self, function: Callable[[Any], Any], size: int, seconds: float) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._function = function
        self._size = size
        self._seconds = seconds
        self._workers: list[_Worker] = []
        self._items: dict[int, Any] = {}  # taken and not finished
        self._again: list[int] = []  # to be tried a second time
        self._tried: set[int] = set()
        self._done: dict[int, Any] = {}

    def run(self, items: Iterable[Any]) -> Iterator[Any]:
        source = enumerate(items)
        exhausted = False
        out = 0
        while True:
            while out in self._done:
                yield self._done.pop(out)
                out += 1
            while not exhausted and len(self._items) + len(self._done) < self._size * _AHEAD:
                try:
                    index, item = next(source)
                except StopIteration:
                    exhausted = True
                    break
                self._items[index] = item
                self._again.append(index)
            if exhausted and not self._items and not self._done:
                return
            if out in self._done:
                continue
            self._assign()
            self._collect()

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._function), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, until=time.monotonic() + _START_SECONDS))

    def _assign(self) -> None:
        while len(self._workers) < min(self._size, len(self._items)):
            self._start()
        for worker in list(self._workers):
            if not self._again:
                return
            if worker.ready and worker.index is None:
                worker.index = self._again.pop(0)
                worker.until = time.monotonic() + self._seconds
                try:
                    worker.connection.send(self._items[worker.index])
                except OSError:
                    self._lost(worker)

    def _collect(self) -> None:
        waiting = [w for w in self._workers if w.index is not None or not w.ready]
        if not waiting:
            return
        patience = max(0.0, min(w.until for w in waiting) - time.monotonic())
        readable = set(wait([w.connection for w in waiting], timeout=patience))
        now = time.monotonic()
        for worker in waiting:
            if worker.connection in readable:
                self._receive(worker)
            elif now >= worker.until:
                self._too_late(worker)

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._lost(worker)
            return
        if not worker.ready:
            worker.ready = True
            return
        self._finish(cast(int, worker.index), message)
        worker.index = None

    def _finish(self, index: int, result: Any) -> None:
        del self._items[index]
        self._done[index] = result

    def _end(self, worker: _Worker) -> int | None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)
        return cast("int | None", worker.process.exitcode)

    def _too_late(self, worker: _Worker) -> None:
        index = worker.index
        self._end(worker)
        if index is None:
            raise ChatwrightError(f"a worker process did not start in {_START_SECONDS:g} seconds")
        self._finish(index, Failure("timeout", f"took longer than {self._seconds:g} seconds"))

    def _lost(self, worker: _Worker) -> None:
        index = worker.index
        worker.process.join(5)  # so that the code is its own and not that of our kill
        code = self._end(worker)
        if index is None:
            raise ChatwrightError(
                f"a worker process could not start (exit code {code})",
                hint='a script that curates needs `if __name__ == "__main__":` around its calls',
            )
        if index in self._tried:
            self._finish(index, Failure("died", f"its process ended twice (exit code {code})"))
        else:
            self._tried.add(index)
            self._again.insert(0, index)


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """A worker: one item in, one result out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        connection.send("ready")
        while True:
            item = connection.recv()
            try:
                result = function(item)
            except Exception as error:
                result = _failure(error)
            connection.send(result)
    except (EOFError, OSError):
        return
