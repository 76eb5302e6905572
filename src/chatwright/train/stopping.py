"""A signal becomes a request: the loop finishes its step and saves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Stop:
    """Set by SIGINT or SIGTERM."""

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def leave(self) -> None:
        """End as the signal asked: `KeyboardInterrupt`, or `SystemExit` for SIGTERM."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + int(self.signal or 0))


@contextmanager
def stop_on_signal(*, patient: bool = False) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT interrupts at once.

    Not where `patient`: torchrun passes on a Ctrl-C that the terminal has sent to all already, and
    kills those that have not left half a minute later.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT and not patient:
            raise KeyboardInterrupt
        stop.signal = number

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
