"""The model at work for a run: the engine writes, the event loop gets batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio

from chatwright.generate.params import Completion, Piece
from chatwright.serve.rounds import can_be_asked, rounds_of

PAUSE_SECONDS = 0.04  # between two batches of a thread: what a reader sees as flowing


class Writing:
    """One answer that an engine writes. `start` makes the engine's stream, in a thread.

    `async for pieces in writing:` gives what has come since the last time, so that 32 answers
    together do not wake the loop for each token: what the loop's rounds collect, or where pieces
    must be waited for, what the thread has read in the last `PAUSE_SECONDS`. It raises what went
    wrong. `cancel()` may be called from anywhere; the rest then comes, and the completion says
    "cancelled".
    """

    def __init__(self, start: Callable[[], Iterator[Piece]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._rounds = rounds_of(self._loop)
        self._fresh = asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: list[Piece] = []
        self._error: BaseException | None = None
        self._over = False
        self._collected = False  # by the loop's rounds
        self._cancelled = threading.Event()
        self._pieces: Any = None
        self.completion: Completion | None = None
        self.finished = asyncio.Event()  # nothing holds the engine any more
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
            if not self._collected:
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
            if can_be_asked(self._pieces):
                self._collected = True
                self._tell(self._rounds.add, self._pieces, self._collect)
                return
            for piece in self._pieces:
                self._put(piece)
        except BaseException as caught:  # whatever it was, the run must hear of it
            error = caught
        if self._pieces is not None:
            with suppress(Exception):
                self._pieces.close()
        with self._lock:
            self._error, self._over = error, True
        self._tell(self._fresh.set)
        self._tell(self.finished.set)

    def _collect(self) -> bool:
        """In the event loop: take what is there. True when nothing more will come."""
        try:
            self._waiting += self._pieces.ready()
            if self._pieces.over:
                self._pieces.ready()  # raises what went wrong
                self._over = True
        except Exception as error:
            self._error, self._over = error, True
        if self._waiting or self._over:
            self._fresh.set()
        if self._over:
            self.finished.set()
        return self._over

    def _put(self, piece: Piece) -> None:
        with self._lock:
            quiet = not self._waiting
            self._waiting.append(piece)
        if quiet:
            self._tell(self._fresh.set)

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function on the event loop; when the loop is gone (shutdown), stop instead."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
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
