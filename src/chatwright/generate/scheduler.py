"""Continuous batching: one thread, one forward pass at a time, whoever is there takes part.

Every step carries one token of each request that is being answered and a share of the prompts that
are being read. Requests join as soon as a slot of the KV cache is free and leave when they end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from chatwright.errors import ChatwrightError, ModelError
from chatwright.generate.cache import KVCache, Segment, StepAttention
from chatwright.generate.request import RequestState
from chatwright.model import Transformer

# Prompt tokens read in one step: many when nobody waits for the next token of an answer, few
# otherwise, so that a long prompt slows the others' streams down but never stalls them.
PREFILL_ALONE = 512
PREFILL_SHARED = 128
# oneDNN compiles code for each new shape of a bfloat16 product (longer than a step takes) and keeps
# it, so on a CPU a step's tokens are rounded up: few shapes are worth a little padding.
_PAD_FROM = 16
_PAD_TO = 32


def share(budget: int, needs: Sequence[int]) -> list[int]:
    """Divide `budget` among `needs` evenly; what one does not need goes to the others.

    >>> share(100, [10, 500, 500])
    [10, 45, 45]
    """
    shares = [0] * len(needs)
    order = sorted(range(len(needs)), key=lambda i: needs[i])
    for place, i in enumerate(order):
        shares[i] = min(needs[i], budget // (len(order) - place))
        budget -= shares[i]
    return shares


class Scheduler:
    """Runs requests through the model. Slot i of the cache belongs to `_active[i]`.

    The first `_answering` of the active ones have read their prompts; the others are reading.
    Slots are kept without gaps, so that attention over the answering ones is one product.
    """

    def __init__(self, model: Transformer, cache: KVCache, vocab_size: int) -> None:
        self._model = model
        self._cache = cache
        self._vocab_size = vocab_size
        self._changed = threading.Condition()
        self._waiting: deque[RequestState] = deque()
        self._active: list[RequestState] = []
        self._answering = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, state: RequestState) -> None:
        """Queue a request. Raises `ChatwrightError` once closed."""
        with self._changed:
            if self._closed:
                raise ChatwrightError("the engine is closed", hint="make a new Engine")
            self._waiting.append(state)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="chatwright-engine", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Cancel everything and wait for the thread. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def load(self) -> tuple[int, int]:
        """How many requests hold a slot, and how many wait for one."""
        return len(self._active), len(self._waiting)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait_for_work():
                    self._drop_cancelled()
                    if self._active:
                        self._guarded_step()
        except BaseException as error:
            # A bug in the scheduler itself. Nobody may be left waiting for it.
            self._end_all(error)
            raise
        self._end_all(None)

    def _wait_for_work(self) -> bool:
        """Block until there is something to do; admit what has a slot. False when closed."""
        with self._changed:
            while not (self._closed or self._active or self._waiting):
                self._changed.wait()
            if self._closed:
                return False
            while self._waiting and len(self._active) < self._cache.slots:
                self._active.append(self._waiting.popleft())
            return True

    def _end_all(self, error: BaseException | None) -> None:
        with self._changed:
            self._closed = True
            left = [*self._active, *self._waiting]
            self._active.clear()
            self._waiting.clear()
            self._answering = 0
        for state in left:
            if error is None:
                state.cancel()
            else:
                state.fail(_engine_error(error))

    def _drop_cancelled(self) -> None:
        with self._changed:
            gone = [s for s in self._waiting if s.cancelled]
            for state in gone:
                self._waiting.remove(state)
        for state in gone:
            state.cancel()
        for slot in reversed(range(len(self._active))):
            if self._active[slot].cancelled:
                self._active[slot].cancel()
                self._release(slot)

    def _guarded_step(self) -> None:
        """One step; when it fails (out of memory, a broken model), its requests fail with it."""
        try:
            self._step()
        except Exception as error:
            for slot, state in enumerate(self._active):
                state.fail(_engine_error(error))
                self._cache.clear(slot, state.length)
            self._active.clear()
            self._answering = 0

    def _step(self) -> None:
        n = self._answering
        answering, reading = self._active[:n], self._active[n:]
        tokens = [s.tokens[-1] for s in answering]
        positions = [s.length - 1 for s in answering]
        budget = PREFILL_SHARED if answering else PREFILL_ALONE
        shares = share(budget, [len(s.prompt) - s.cached for s in reading])
        segments: list[Segment] = []
        rows = list(range(n))  # which of the step's tokens are followed by a new one
        done: list[int] = []  # slots that have read their prompt with this step
        for slot, (state, length) in enumerate(zip(reading, shares, strict=True), start=n):
            if length == 0:
                continue
            start, end = state.cached, state.cached + length
            segments.append(Segment(slot, start, length))
            tokens += state.prompt[start:end]
            positions += range(start, end)
            if end == len(state.prompt):
                rows.append(len(tokens) - 1)
                done.append(slot)
        attention = StepAttention(self._cache, [s.length for s in answering], segments)
        logits = self._logits(tokens, positions, rows, attention)
        for state in answering:
            state.cached = state.length
        for segment in segments:
            self._active[segment.slot].cached += segment.length
        self._accept([*answering, *(self._active[slot] for slot in done)], logits)
        self._promote(done)
        for slot in reversed(range(self._answering)):
            if self._active[slot].finished:
                self._release(slot)

    def _logits(
        self, tokens: list[int], positions: list[int], rows: list[int], attention: StepAttention
    ) -> Tensor:
        """Float32 logits [len(rows), V], of those tokens only that are followed by a new one."""
        device = self._cache.keys.device
        if device.type == "cpu" and self._model.dtype == torch.bfloat16 and len(tokens) > _PAD_FROM:
            padding = [0] * (-len(tokens) % _PAD_TO)
            tokens, positions = tokens + padding, positions + padding
        hidden = self._model.hidden(
            torch.tensor([tokens], device=device),
            torch.tensor([positions], device=device),
            attention,
        )[0]
        if len(rows) != len(tokens):
            hidden = hidden[torch.tensor(rows, dtype=torch.int64, device=device)]
        # A vocabulary is often padded to a round number; those tokens stand for nothing.
        return self._model.logits(hidden)[:, : self._vocab_size]

    def _accept(self, requests: Sequence[RequestState], logits: Tensor) -> None:
        """Give each request its next token. What is wrong with one stays with that one."""
        if not requests:
            return
        likeliest = logits.argmax(-1)
        finite = logits.gather(-1, likeliest[:, None])[:, 0].isfinite().tolist()
        for row, (state, token) in enumerate(zip(requests, likeliest.tolist(), strict=True)):
            try:
                if not finite[row]:
                    raise ModelError(
                        f"the model gave no usable number for the next token (after "
                        f"{state.length} tokens): its output is NaN or infinite",
                        hint="the weights are damaged, or training diverged; load another "
                        "checkpoint, or use float32",
                    )
                state.accept(logits[row], token)
            except Exception as error:
                state.fail(_engine_error(error))
                self._cache.clear(self._active.index(state), state.cached)

    def _promote(self, slots: Sequence[int]) -> None:
        """Move requests that have read their prompts among the answering ones."""
        for slot in slots:  # ascending, so that a swap never moves one that is still to come
            first = self._answering
            if slot != first:
                one, other = self._active[slot], self._active[first]
                self._cache.swap(slot, first, max(one.cached, other.cached))
                self._active[slot], self._active[first] = other, one
            self._answering += 1

    def _release(self, slot: int) -> None:
        """Take a request out and close the gap, keeping the answering ones in front."""
        if slot < self._answering:
            self._answering -= 1
            self._fill(slot, self._answering)
            slot = self._answering
        self._fill(slot, len(self._active) - 1)
        self._active.pop()

    def _fill(self, gap: int, source: int) -> None:
        if gap != source:
            moved = self._active[source]
            self._cache.move(source, gap, moved.cached)
            self._active[gap] = moved


def _engine_error(error: BaseException) -> Exception:
    """An error for one request: exceptions are raised in its reader's thread, so never shared."""
    if isinstance(error, ChatwrightError):
        copy: ChatwrightError = type(error)(error.message, where=error.where, hint=error.hint)
    elif isinstance(error, MemoryError) or "alloc" in str(error):
        copy = ChatwrightError(
            f"out of memory while generating: {error}", hint="use a smaller max_batch or context"
        )
    else:
        copy = ChatwrightError(f"the engine failed: {type(error).__name__}: {error}")
    copy.__cause__ = error
    return copy
