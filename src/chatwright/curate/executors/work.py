"""What executors are given and what they promise.

A task makes one shard and leaves its result in files that appear whole or not at all, so a shard
can be done again: after a worker died, after the whole program was killed, on another machine.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, TypeVar

from chatwright.errors import ChatwrightError

Result_co = TypeVar("Result_co", covariant=True)

ExecutorName = Literal["local", "ray"]

# What a worker's state says that is not the position of a row.
IDLE, BATCH = -1, -2
_TRACEBACK = 4_000  # characters of it that a note holds


def cores() -> int:
    """How many cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that gave no result: it took too long, or too much memory, or its process died."""

    kind: Literal["timeout", "memory", "died"]
    detail: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one row may take: seconds, and bytes of memory of the process that works on it.

    A batch of rows together may take ten times as long; where it does not get through, its rows
    are done one by one.
    """

    seconds: float = 60.0
    memory: int = 1 << 30


@dataclass(slots=True)
class Guard:
    """Through it a task says what it is doing, so that what hangs or dies can be named.

    `failed`: rows that are not to be tried again. `one_by_one`: a batch has failed before; say
    `row` for each of its rows.
    """

    failed: Mapping[int, Failure] = field(default_factory=dict)
    one_by_one: bool = False
    state: Any = None  # shared with the supervisor: what is being done, and since when
    seconds: float = 0.0

    @contextmanager
    def row(self, position: int) -> Iterator[None]:
        """While one row is worked on."""
        self._say(position, self.seconds)
        try:
            yield
        finally:
            self._say(IDLE, 0)

    def batch(self) -> AbstractContextManager[None]:
        """While several rows are worked on together."""
        return self._batch()

    @contextmanager
    def _batch(self) -> Iterator[None]:
        self._say(BATCH, 10 * self.seconds)
        try:
            yield
        finally:
            self._say(IDLE, 0)

    def _say(self, what: int, seconds: float) -> None:
        if self.state is None:
            return
        self.state[1] = time.monotonic()
        self.state[0] = what
        # The supervisor ends a process that takes too long. Should it be gone, the kernel does:
        # C code that hangs hears nothing else.
        if hasattr(signal, "alarm") and threading.current_thread() is threading.main_thread():
            signal.alarm(math.ceil(seconds) + 30 if seconds else 0)


@dataclass(frozen=True, slots=True)
class Raised:
    """What a task raised, in a form that goes from process to process."""

    error: BaseException | None
    kind: type[ChatwrightError] = ChatwrightError
    message: str = ""
    where: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: Exception, *notes: str) -> Self:
        """An error as it is where it can be pickled; else what it says, and where it was raised."""
        notes = (*getattr(error, "__notes__", ()), *notes)
        if isinstance(error, ChatwrightError):  # its arguments are not those that it is made from
            return cls(None, type(error), error.message, error.where, error.hint, notes)
        notes = (*notes, "".join(traceback.format_exception(error))[-_TRACEBACK:])
        try:
            same = type(pickle.loads(pickle.dumps(error))) is type(error)  # our own, just made
        except Exception:
            same = False
        message = f"{type(error).__name__}: {error}"
        return cls(error if same else None, ChatwrightError, message, notes=notes)

    def again(self) -> BaseException:
        """The exception to raise here."""
        error = self.error or self.kind(self.message, where=self.where, hint=self.hint)
        error.__notes__ = list(self.notes)
        return error


class Task(Protocol[Result_co]):
    """Makes one shard; picklable, without state, and the same wherever it runs."""

    def __call__(self, shard: int, guard: Guard, /) -> Result_co: ...


class Executor(Protocol):
    """Runs a task on shards.

    Results come as they are ready, with their shard's number. A worker that dies is replaced and
    its shard done again; a row that kills it twice, or takes too long, is in `guard.failed` then.
    Raises `ChatwrightError` where a shard cannot be finished; what a task raises goes through.
    """

    def run(self, task: Task[Any], shards: Sequence[int]) -> Iterator[tuple[int, Any]]: ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, *what: object) -> None: ...
