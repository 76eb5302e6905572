"""Reading what an engine writes without a thread for each answer: the event loop makes rounds.

A thread for each answer is woken for each token, and takes the interpreter from the thread that
computes. The engine's own requests can be asked what is there (`Request.ready`): the loop is woken
once for all of them, and what came in between goes out as one. Where many answers are written each
grows in larger pieces, less often, because every piece that is sent costs the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeGuard
from weakref import WeakKeyDictionary, ref

from chatwright.generate.params import Piece

MOMENT_SECONDS = 0.004
PAUSE_SECONDS = 0.1  # between two rounds where `MANY` answers are written: still flowing
MANY = 32


class Asked(Protocol):
    """An engine's request that need not be waited for (`chatwright.generate.Request` is one)."""

    @property
    def over(self) -> bool: ...

    def ready(self) -> list[Piece]: ...

    def when_ready(self, tell: Callable[[], None]) -> None: ...

    def close(self) -> None: ...


def can_be_asked(pieces: Any) -> TypeGuard[Asked]:
    """Whether these pieces can be collected; others (of another server) need a thread."""
    return hasattr(pieces, "ready") and hasattr(pieces, "when_ready")


class Rounds:
    """The rounds of one event loop, which the engines' threads call for. They cost nothing while
    nothing comes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._asked: list[Callable[[], bool]] = []
        self._called = False
        self._last = 0.0  # when the last round began

    def add(self, pieces: Asked, ask: Callable[[], bool]) -> None:
        """Call `ask` in the loop whenever there are `pieces`, until it says True: nothing more will
        come. It must not raise.
        """
        self._asked.append(ask)
        pieces.when_ready(self.call)
        self.call()  # for what was there before

    def call(self) -> None:
        """There is something to read. From any thread."""
        if not self._called:  # a round sees all that came before the flag went down
            self._called = True
            loop = self._loop()
            if loop is not None:
                with suppress(RuntimeError):  # it is closed: nobody reads any more
                    loop.call_soon_threadsafe(self._prepare)

    def _prepare(self) -> None:
        """Not at once: the engine has something for the other answers too in a moment."""
        loop = asyncio.get_running_loop()
        pause = PAUSE_SECONDS * min(1.0, len(self._asked) / MANY)
        wait = max(MOMENT_SECONDS, self._last + pause - loop.time())
        loop.call_later(wait, self._go)

    def _go(self) -> None:
        self._called = False
        self._last = asyncio.get_running_loop().time()
        asked, self._asked = self._asked, []
        self._asked += [ask for ask in asked if not ask()]


_ROUNDS: WeakKeyDictionary[asyncio.AbstractEventLoop, Rounds] = WeakKeyDictionary()


def rounds_of(loop: asyncio.AbstractEventLoop) -> Rounds:
    """The rounds of a loop; to be called in it."""
    if (found := _ROUNDS.get(loop)) is None:
        found = _ROUNDS[loop] = Rounds(loop)
    return found
