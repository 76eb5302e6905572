"""The model at work for a run: the engine blocks a thread, the event loop gets batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio

from chatwright.generate.params import Completion, Piece

PAUSE_SECONDS = 0.04  # between two batches: what a reader sees as flowing


class Writing:
    """One answer that an engine writes. `start` makes the engine's stream, in the thread.

    `async for pieces in writing:` gives what has come since the last time, at most every
    `PAUSE_SECONDS`, so that 32 answers together do not wake the loop for each token. It raises what
    went wrong in the thread. `cancel()` may be called from anywhere; the rest then comes, and the
    completion says "cancelled".
    """

    def __init__(self, start: Callable[[], Iterator[Piece]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fresh = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: list[Piece] = []
        self._error: BaseException | None = None
        self._over = False
        self._cancelled = threading.Event()
        self._pieces: Any = None
        self.completion: Completion | None = None
        self.finished = asyncio.Event()  # the thread has let go of the engine
        # A daemon thread: an answer that cannot be stopped must not keep the program alive.
        threading.Thread(
            target=self._walk, args=(start,), name="chatwright-run", daemon=True
        ).start()

    def cancel(self) -> None:
        self._cancelled.set()
        if self._pieces is not None:
            self._pieces.close()

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            with self._lock:
                batch, self._waiting = self._waiting, []
                over = self._over
            for piece in batch:
                self.completion = piece.completion or self.completion
            if batch:
                yield batch
            if over:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        if self._error is not None:
            raise self._error
        if self.completion is None:
            raise RuntimeError("the engine ended without a completion")

    async def let_go(self) -> None:
        """Stop, and wait until the engine is free again (not for ever)."""
        self.cancel()
        with anyio.move_on_after(10, shield=True):
            await self.finished.wait()

    def _walk(self, start: Callable[[], Iterator[Piece]]) -> None:
        error: BaseException | None = None
        try:
            self._pieces = start()
            if self._cancelled.is_set():  # before there was anything to close
                self._pieces.close()
            for piece in self._pieces:
                self._put(piece)
        except BaseException as caught:  # whatever it was, the run must hear of it
            error = caught
        finally:
            if self._pieces is not None:
                with suppress(Exception):
                    self._pieces.close()
            with self._lock:
                self._error, self._over = error, True
            self._tell(self._fresh.set)
            self._tell(self.finished.set)

    def _put(self, piece: Piece) -> None:
        with self._lock:
            quiet = not self._waiting
            self._waiting.append(piece)
        if quiet:
            self._tell(self._fresh.set)

    def _tell(self, function: Callable[[], object]) -> None:
        """Run a function on the event loop; when the loop is gone (shutdown), stop instead."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            self.cancel()


async def write_whole(start: Callable[[], Iterator[Piece]]) -> Completion:
    """A short text that nobody watches: a title, a summary."""
    writing = Writing(start)
    try:
        async for _ in writing:
            pass
    finally:
        await writing.let_go()
    assert writing.completion is not None
    return writing.completion
