"""Progress for people: rich bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from chatwright.progress import Progress as ProgressProtocol
from chatwright.progress import Silent, Task

_SECONDS_BETWEEN_LINES = 10.0


def make_progress(quiet: bool = False) -> AbstractContextManager[ProgressProtocol]:
    """Bars where standard error is a terminal, plain lines where it is not."""
    if quiet:
        return _just(Silent())
    if sys.stderr.isatty():
        return _bars()
    return _just(PlainProgress())


@contextmanager
def _just(progress: ProgressProtocol) -> Iterator[ProgressProtocol]:
    yield progress


class _BarTask:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, count: int = 1) -> None:
        self._bars.advance(self._task, count)

    def status(self, text: str) -> None:
        self._bars.update(self._task, status=text)


class BarProgress:
    """Rich progress bars; finished ones go, lines stay."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Task]:
        task = self._bars.add_task(name, total=total, status="")
        try:
            yield _BarTask(self._bars, task)
        finally:
            self._bars.remove_task(task)

    def line(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)


@contextmanager
def _bars() -> Iterator[ProgressProtocol]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[status]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        yield BarProgress(bars)


class _PlainTask:
    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._status = ""
        self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        self._maybe_print()

    def status(self, text: str) -> None:
        self._status = text

    def _maybe_print(self) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            total = f"/{self._total}" if self._total is not None else ""
            status = f"  {self._status}" if self._status else ""
            print(f"    {self._name}: {self._done}{total}{status}", file=sys.stderr, flush=True)


class PlainProgress:
    """For logs and pipes: a line at most every ten seconds, no control characters."""

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Task]:
        yield _PlainTask(name, total)

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
