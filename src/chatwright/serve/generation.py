"""One answer under way: a thread prepares it, the event loop collects what the engine writes."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from chatwright.assist import Answer, Assistant, Prepared
from chatwright.generate import Completion, Piece, SamplingParams
from chatwright.records import Message
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError
from chatwright.serve.rounds import Asked, can_be_asked, rounds_of

Event = Prepared | Piece | Answer | Completion


class Walk:
    """Reads pieces; `await batch()` gives what has happened since.

    Each walker runs in a thread of its own: it begins, and the event loop collects the pieces
    (`Rounds`); where they must be waited for, the thread reads them to the end. They are kept in an
    unbounded queue (an answer has at most `max_tokens` pieces), so a client that reads slowly never
    holds up the engine. `cancel()` returns at once and frees the engine's slot at its next step;
    `finished` is set when nothing holds the engine any more.
    """

    def __init__(self, walkers: Sequence[Callable[[], _Collecting | None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._rounds = rounds_of(self._loop)
        self._items: deque[Event | BaseException] = deque()
        self._waking = False
        self._waiting: asyncio.Future[None] | None = None
        self._cancelled = False
        self._open: list[Any] = []
        self._left = len(walkers)
        self._lock = threading.Lock()
        self.finished = asyncio.Event()
        for walker in walkers:
            # Daemon threads: one that cannot be stopped must not keep the program alive.
            threading.Thread(
                target=self._walk, args=(walker,), name="chatwright-answer", daemon=True
            ).start()

    def cancel(self) -> None:
        """Stop generating; what there is by then is the answer."""
        with self._lock:
            self._cancelled = True
            pieces = list(self._open)
        for one in pieces:
            one.close()

    async def batch(self, seconds: float | None = None) -> list[Event]:
        """All that happened since the last call, in order; nothing where `seconds` pass without.

        Raises what went wrong in the threads, after what came before it.
        """
        if not self._items:
            waiting = self._waiting = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds, _release, waiting)
            try:
                await waiting
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        found: list[Event] = []
        while self._items:
            if isinstance(item := self._items[0], BaseException):
                if not found:
                    raise item
                break
            found.append(item)
            self._items.popleft()
        return found

    def _walk(self, walker: Callable[[], _Collecting | None]) -> None:
        reading = None
        try:
            reading = walker()
        except BaseException as error:  # whatever it was, the caller must hear of it
            self._put(error)
        if reading is None:
            self._tell(self._end_one)
        else:
            self._tell(self._rounds.add, reading.pieces, reading.go_on)

    def _end_one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.finished.set()

    def _read(self, pieces: Any, take: Callable[[Piece], None], answers: int) -> _Collecting | None:
        """Give `take` each piece: now, or where they can be collected, in what is returned."""
        if can_be_asked(pieces):
            with self._lock:
                self._open.append(pieces)
                cancelled = self._cancelled
            if cancelled:
                pieces.close()
            return _Collecting(self, pieces, take, answers)
        made = 0
        with self._reading(pieces):
            for piece in pieces:
                take(piece)
                made += piece.completion is not None
        if made < answers:
            raise RuntimeError("the engine ended without a completion")
        return None

    @contextmanager
    def _reading(self, pieces: Any) -> Iterator[Any]:
        """Know an iterator of pieces while it is read, so that it can be closed from outside."""
        with self._lock:
            self._open.append(pieces)
            cancelled = self._cancelled
        if cancelled:  # before there was anything to close
            pieces.close()
        try:
            yield pieces
        finally:
            pieces.close()

    def _put(self, item: Event | BaseException) -> None:
        self._items.append(item)
        if not self._waking:  # the loop has seen all that came before the flag went down
            self._waking = True
            self._tell(self._wake)

    @contextmanager
    def _waking_once(self) -> Iterator[None]:
        """In the event loop: wake the reader at the end, if anything was put within."""
        before = len(self._items)
        waking, self._waking = self._waking, True
        try:
            yield
        finally:
            self._waking = waking
            if len(self._items) != before:
                self._wake()

    def _wake(self) -> None:
        self._waking = False
        if self._waiting is not None:
            _release(self._waiting)

    def _tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run a function on the event loop; when the loop is gone (shutdown), stop instead."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self.cancel()


class _Collecting:
    """Pieces that the event loop collects in its rounds."""

    def __init__(
        self, walk: Walk, pieces: Asked, take: Callable[[Piece], None], answers: int
    ) -> None:
        self._walk = walk
        self.pieces = pieces
        self._take = take
        self._left = answers

    def go_on(self) -> bool:
        """Take what is there. True when nothing more will come."""
        over = True
        try:
            with self._walk._waking_once():
                for piece in self.pieces.ready():
                    self._take(piece)
                    self._left -= piece.completion is not None
                over = self.pieces.over
                if over:
                    self.pieces.ready()  # raises what went wrong
                    if self._left > 0:
                        raise RuntimeError("the engine ended without a completion")
        except Exception as error:
            over = True
            self._walk._put(error)
        if over:
            self._walk._end_one()
        return over


class Generation(Walk):
    """Asks an assistant. First the `Prepared` prompt comes (its passages are known before a word is
    written), then pieces, and after the last piece of each answer the `Answer`.
    """

    def __init__(
        self,
        assistant: Assistant,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        tenant: str = "",
    ) -> None:
        self._answers = params.n
        self._early: deque[Event] = deque()
        super().__init__([lambda: self._ask(assistant, messages, params, tenant)])

    async def next(self) -> Event:
        """What happens next. Raises what went wrong in the thread."""
        while not self._early:
            self._early.extend(await self.batch())
        return self._early.popleft()

    async def answer(self) -> Answer:
        """Wait for the (first) answer."""
        while not isinstance(item := await self.next(), Answer):
            pass
        return item

    def _ask(
        self,
        assistant: Assistant,
        messages: Sequence[Message],
        params: SamplingParams,
        tenant: str,
    ) -> _Collecting | None:
        prepared = assistant.prepare(messages, params)
        self._put(prepared)

        def take(piece: Piece) -> None:
            self._put(piece)
            if piece.completion is not None:
                self._put(assistant.finish(prepared, piece.completion))

        pieces = assistant.engine.stream(prepared.messages, params, tenant=tenant)
        return self._read(pieces, take, self._answers)


class TextGeneration(Walk):
    """Continues prompts (text or token ids), side by side: pieces, and after the last piece of each
    answer its `Completion`. Prompt p's n answers have the indices p·n, p·n + 1, ….
    """

    def __init__(
        self,
        assistant: Assistant,
        prompts: Sequence[str | list[int]],
        params: SamplingParams,
        *,
        tenant: str = "",
    ) -> None:
        complete = getattr(assistant.engine, "complete", None)
        if complete is None:
            raise ApiError(400, "this model only answers conversations", param="model")

        def walker(number: int, prompt: str | list[int]) -> Callable[[], _Collecting | None]:
            return lambda: self._continue(
                number * params.n, complete(prompt, params, tenant=tenant), params.n
            )

        super().__init__([walker(number, prompt) for number, prompt in enumerate(prompts)])

    def _continue(self, first: int, pieces: Any, answers: int) -> _Collecting | None:
        def take(piece: Piece) -> None:
            index = first + piece.index
            self._put(replace(piece, index=index))
            if piece.completion is not None:
                self._put(replace(piece.completion, index=index))

        return self._read(pieces, take, answers)


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Slots:
    """Counts the answers under way, refuses one too many, and can end them all.

    `most_of_one` of them may be one person's: whoever asks without end leaves room for others.
    """

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        self._most = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._of: Counter[str] = Counter()
        self._running: set[Walk] = set()
        self._stopping = False
        self.taken = 0

    @contextmanager
    def one(self, who: Identity | None = None) -> Iterator[None]:
        """Take a place for a request of somebody's. Raises `ApiError` 429 where there is none."""
        if self.taken >= self._most:
            raise ApiError(
                429,
                f"{self._most} answers are being written already; try again in a moment",
                code="server_busy",
            )
        # Where there is one person alone there is nobody to leave room for.
        person = "" if who is None or who.via == "local" else who.person_id
        if person and self._of[person] >= self._most_of_one:
            raise ApiError(
                429,
                f"{self._most_of_one} of your answers are being written already",
                code="too_many_of_yours",
            )
        self.taken += 1
        self._of[person] += 1
        try:
            yield
        finally:
            self.taken -= 1
            self._of[person] -= 1
            if not self._of[person]:
                del self._of[person]

    @contextmanager
    def running(self, generation: Walk) -> Iterator[None]:
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
