"""One answer under way: the engine blocks a thread of its own, the event loop only listens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chatwright.assist import Answer, Assistant, Prepared
from chatwright.generate import Completion, Piece, SamplingParams
from chatwright.records import Message
from chatwright.serve.errors import ApiError

Event = Prepared | Piece | Answer


class Generation:
    """Asks an assistant in a thread of its own; `await next()` gives what happens.

    First the `Prepared` prompt (its passages are known before a word is written), then pieces,
    then the `Answer`. They wait in an unbounded queue (an answer has at most `max_tokens` pieces),
    so a client that reads slowly never holds up the engine. `cancel()` returns at once and frees
    the engine's slot at its next step; `finished` is set when the thread has let go of the engine.
    """

    def __init__(
        self,
        assistant: Assistant,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        tenant: str = "",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._pieces: Any = None
        self.finished = asyncio.Event()
        # A daemon thread: a generation that cannot be stopped must not keep the program alive.
        threading.Thread(
            target=self._walk,
            args=(assistant, messages, params, tenant),
            name="chatwright-answer",
            daemon=True,
        ).start()

    def cancel(self) -> None:
        self._cancelled.set()
        if self._pieces is not None:
            self._pieces.close()

    async def next(self) -> Event:
        """What happens next; the last is the `Answer`. Raises what went wrong in the thread."""
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def answer(self) -> Answer:
        """Wait for the end."""
        while not isinstance(item := await self.next(), Answer):
            pass
        return item

    def _walk(
        self,
        assistant: Assistant,
        messages: Sequence[Message],
        params: SamplingParams,
        tenant: str,
    ) -> None:
        try:
            prepared = assistant.prepare(messages, params)
            self._put(prepared)
            self._pieces = assistant.engine.stream(prepared.messages, params, tenant=tenant)
            if self._cancelled.is_set():  # before there was anything to close
                self._pieces.close()
            completion: Completion | None = None
            for piece in self._pieces:
                completion = piece.completion or completion
                self._put(piece)
            if completion is None:
                raise RuntimeError("the engine ended without a completion")
            self._put(assistant.finish(prepared, completion))
        except BaseException as error:  # whatever it was, the caller must hear of it
            self._put(error)
        finally:
            if self._pieces is not None:
                self._pieces.close()
            self._tell(self.finished.set)

    def _put(self, item: Event | BaseException) -> None:
        self._tell(self._queue.put_nowait, item)

    def _tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run a function on the event loop; when the loop is gone (shutdown), stop instead."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self.cancel()


class Slots:
    """Counts the answers under way, refuses one too many, and can end them all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: set[Generation] = set()
        self._stopping = False
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for a request. Raises `ApiError` 429 where there is none."""
        if self.taken >= self._most:
            raise ApiError(
                429,
                f"{self._most} answers are being written already; try again in a moment",
                code="server_busy",
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    @contextmanager
    def running(self, generation: Generation) -> Iterator[None]:
        """Know a generation while the block runs; it is cancelled at the end of it."""
        self._running.add(generation)
        if self._stopping:
            generation.cancel()
        try:
            yield
        finally:
            self._running.discard(generation)
            generation.cancel()

    def stop(self) -> None:
        """The server goes down: every answer ends with what there is of it."""
        self._stopping = True
        for generation in self._running:
            generation.cancel()
