"""How a long task tells a person where it stands, without knowing who is listening."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a stage may tell: a task with a total, its advance, and lines worth keeping.

    `task("extract", total=236)` opens one bar and yields a handle; `advance` and `status` move it.
    Implementations: rich bars on a terminal, plain lines elsewhere (`cli/progress.py`), and
    silence (`Silent`).
    """

    def task(self, name: str, total: int | None = None) -> AbstractContextManager[Task]: ...

    def line(self, text: str) -> None: ...


class Task(Protocol):
    """One bar. `advance` counts done units; `status` sets the short text at its end."""

    def advance(self, count: int = 1) -> None: ...

    def status(self, text: str) -> None: ...


class _SilentTask:
    def advance(self, count: int = 1) -> None:
        pass

    def status(self, text: str) -> None:
        pass


class Silent:
    """A `Progress` that says nothing: the default in the Python API and in tests."""

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Task]:
        yield _SilentTask()

    def line(self, text: str) -> None:
        pass
