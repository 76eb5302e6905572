"""One request on its way through the engine: the caller's end and the scheduler's end."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Protocol, Self

import torch
from torch import Tensor

from chatwright.errors import ChatwrightError
from chatwright.generate.params import Completion, FinishReason, Piece, SamplingParams
from chatwright.generate.sampler import choose, log_probability, new_generator
from chatwright.generate.stops import StopMatcher


class Detokenizer(Protocol):
    """Token ids in, text out, never a part of a character (`Tokenizer.detokenizer()`)."""

    def push(self, token: int) -> str: ...

    def flush(self) -> str: ...


class RequestState:
    """The scheduler's end: what a request has so far. Only the scheduler's thread changes it.

    `cached` counts the positions in the KV cache. `limit` is how many tokens may still be made,
    by `max_tokens` and by the context window.
    """

    def __init__(
        self,
        prompt: list[int],
        params: SamplingParams,
        limit: int,
        detokenizer: Detokenizer,
        ends: frozenset[int],
    ) -> None:
        self.prompt = prompt
        self.params = params
        self.limit = limit
        self.cached = 0
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.events: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        self.cancelled = False  # set by any thread, read by the scheduler's
        self.finished = False
        self._text: list[str] = []
        self._stops = StopMatcher(params.stop)
        self._detokenizer = detokenizer
        self._ends = ends
        self._generator = new_generator(params.seed)
        self._seen = _SeenTokens(prompt, limit) if params.repetition_penalty != 1.0 else None

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.prompt) + len(self.tokens)

    def accept(self, logits: Tensor, greedy: int) -> None:
        """Choose the next token from `logits` [V] and send on what text it completes.

        `greedy` is the likeliest token, which the scheduler found for the whole batch at once.
        """
        seen = self._seen
        if self.params.greedy and seen is None:
            token = greedy
        else:
            seen_ids = None if seen is None else seen.tensor(logits.device)
            token = choose(logits, self.params, seen_ids, self._generator)
        self.tokens.append(token)
        if seen is not None:
            seen.add(token)
        if self.params.logprobs:
            self.logprobs.append(log_probability(logits, token))
        if token in self._ends:
            self._end("stop")
            return
        text = self._stops.push(self._detokenizer.push(token))
        if self._stops.stopped:
            self._finish("stop", text)
        elif len(self.tokens) >= self.limit:
            self._end("length", text)
        elif text:
            self._text.append(text)
            self.events.put(Piece(text))

    def cancel(self) -> None:
        """End now with what there is."""
        if not self.finished:
            self._finish("cancelled", "")

    def fail(self, error: Exception) -> None:
        """End with an error, which the caller's next read raises."""
        if not self.finished:
            self.finished = True
            self.events.put(error)

    def _end(self, reason: FinishReason, text: str = "") -> None:
        """Finish with the text that was held back; in it, a stop string may still be found."""
        text += self._stops.push(self._detokenizer.flush()) + self._stops.flush()
        self._finish("stop" if self._stops.stopped else reason, text)

    def _finish(self, reason: FinishReason, text: str) -> None:
        self.finished = True
        self._text.append(text)
        completion = Completion(
            text="".join(self._text),
            token_ids=self.tokens,
            logprobs=self.logprobs if self.params.logprobs else None,
            finish_reason=reason,
            prompt_tokens=len(self.prompt),
        )
        self.events.put(Piece(text, reason, completion))


class _SeenTokens:
    """The tokens of prompt and answer, in a buffer that does not grow."""

    def __init__(self, prompt: list[int], limit: int) -> None:
        self._size = len(prompt)
        self._ids = torch.empty(len(prompt) + limit, dtype=torch.int64)
        self._ids[: self._size] = torch.tensor(prompt, dtype=torch.int64)

    def add(self, token: int) -> None:
        self._ids[self._size] = token
        self._size += 1

    def tensor(self, device: torch.device) -> Tensor:
        return self._ids[: self._size].to(device)


class Request(Iterator[Piece]):
    """The caller's end: an iterator of pieces, made by `Engine.submit`.

    Reading blocks until the next piece is there and raises what went wrong with the request.
    A request that nobody holds any more is cancelled. One thread reads; any may cancel.
    """

    def __init__(self, state: RequestState, engine: object) -> None:
        self._state = state
        self._engine = engine  # an engine that nobody holds closes; this holds it
        self._completion: Completion | None = None
        self._error: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        if self._error is not None:
            raise self._error
        if self._completion is not None:
            raise StopIteration
        event = self._state.events.get()
        if isinstance(event, Exception):
            self._error = event
            raise event
        self._completion = event.completion
        return event

    def result(self) -> Completion:
        """Wait for the end and return the whole answer, whatever was read before."""
        for _ in self:
            pass
        if self._completion is None:  # the loop ends only with a completion or an exception
            raise ChatwrightError("the request ended without an answer")
        return self._completion

    def cancel(self) -> None:
        """Stop making tokens; the last piece then says "cancelled". Does nothing at the end."""
        self._state.cancelled = True  # the scheduler looks before every step

    close = cancel  # what `contextlib.closing` and users of generators call

    def __del__(self) -> None:
        if hasattr(self, "_state"):
            self.cancel()
