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
    except Exception:
        if patient:
            outlive_sigterm()
        raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:  # what was set since then stays
                signal.signal(number, handler)


def outlive_sigterm() -> None:
    """Hear no SIGTERM any more: this process is ending, and what it says last must be read.

    Torchrun sends one to all others as soon as it sees that a process has died, and kills those
    that have not left after half a minute.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
