"""One request to a remote server: the caller's end, and the thread that reads what comes."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self

from chatwright.errors import ChatwrightError, UsageError
from chatwright.generate.params import Completion, FinishReason, Piece, SamplingParams
from chatwright.generate.remote_answer import Collected
from chatwright.generate.remote_http import Call, Http, RefusedError, RemoteError

_REASONS: dict[str, FinishReason] = {"length": "length", "max_tokens": "length"}


class Workers:
    """Runs jobs in at most `most` threads, in the order in which they came.

    Threads end when there is nothing to do, and never keep the program alive.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._running = 0

    @property
    def load(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        with self._lock:
            return self._running, len(self._jobs)

    def submit(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._jobs.append(job)
            if self._running == self._most:
                return
            self._running += 1
        threading.Thread(target=self._work, name="chatwright-remote", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running -= 1
                    return
                job = self._jobs.popleft()
            job()


class Job:
    """One answer on its way: sent by a worker, ended by whoever is first."""

    def __init__(
        self,
        http: Http,
        url: str,
        body: dict[str, Any],
        params: SamplingParams,
        index: int,
        *,
        explain: Callable[[RefusedError], ChatwrightError],
        prompt_tokens: Callable[[], int],
        token_of: Callable[[str], int | None] | None = None,
        deadline: float = math.inf,
    ) -> None:
        self.index = index
        self.events: queue.SimpleQueue[tuple[int, Piece | Exception]] = queue.SimpleQueue()
        self._http = http
        self._url = url
        self._body = body
        self._params = params
        self._explain = explain
        self._prompt_tokens = prompt_tokens
        self._deadline = deadline
        self._collected = Collected(token_of)
        self._call = Call()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._wake = threading.Event()  # the watch has to look again
        self._due = math.inf
        self._due_error = ""

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def end(self, reason: FinishReason, text: str = "") -> None:
        """Finish with what there is. Does nothing where it is finished already."""
        with self._lock:
            if self.over:
                return
            self._over.set()
        self._call.abort()
        # A request that was cut off heard nothing of usage; asking now would hold up its caller.
        prompt = (
            self._prompt_tokens()
            if reason in ("stop", "length") and (self._collected.prompt_tokens is None)
            else 0
        )
        completion = self._collected.completion(self._params, reason, self.index, prompt)
        self.events.put((self.index, Piece(text, reason, completion, self.index)))
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """Finish with an error."""
        with self._lock:
            if self.over:
                return
            self._over.set()
        self._call.abort()
        self.events.put((self.index, error))
        self._wake.set()

    def run(self) -> None:
        """Send the request and pass on what comes, in the calling thread."""
        if time.monotonic() >= self._deadline:
            self.end("timeout")
        if self.over:
            return
        self._due_in(self._http.timeouts.first_token, "no token came for {:.0f} seconds")
        threading.Thread(target=self._watch, name="chatwright-remote-clock", daemon=True).start()
        try:
            try:
                self._receive()
            except RefusedError as refused:
                if not self._shortened(refused):
                    raise
                self._receive()
        except RefusedError as refused:
            if self._call.began:
                error = self._broken(f"the server broke off: {refused.message}")
                error.text = "".join(self._collected.text)
                self.fail(error)
            else:
                self.fail(self._explain(refused))
        except RemoteError as error:
            error.text = "".join(self._collected.text)
            self.fail(error)
        except Exception as error:  # whatever it was, the caller must hear of it
            self.fail(error)

    def _receive(self) -> None:
        between = self._http.timeouts.between_tokens
        try:
            for value in self._http.events(self._url, self._body, self._call):
                with self._lock:
                    if self.over:
                        return
                    text, came = self._collected.read(value)
                    if text:
                        self.events.put((self.index, Piece(text, index=self.index)))
                if came:
                    self._call.began = True
                    self._due_in(between, "nothing more came for {:.0f} seconds")
        except ValueError as error:
            raise self._broken(f"the server sent something else than an answer: {error}") from error
        if self.over:
            return
        if self._collected.finish is None and not self._call.began and self._body.get("stream"):
            # Once it streams, a server can no longer say what is wrong: this one may say it now.
            self._body = {k: v for k, v in self._body.items() if k != "stream_options"}
            self._body["stream"] = False
            self._receive()
        else:
            self._finish(self._collected.finish)

    def _finish(self, reason: str | None) -> None:
        if reason is None:
            raise self._broken("the stream ended before the answer did")
        if reason in ("content_filter", "error", "abort"):
            raise self._broken(f"the server ended the answer ({reason})")
        wanted = self._params.logprobs
        if wanted and self._collected.text and not self._collected.logprobs:
            raise UsageError("this server gives no logprobs", where="logprobs")
        self.end(_REASONS.get(reason, "stop"))

    def _broken(self, message: str) -> RemoteError:
        hint = "what had come is kept in the error's `text`" if self._collected.text else None
        return RemoteError(message, where=self._url, hint=hint)

    def _shortened(self, refused: RefusedError) -> bool:
        """Whether less of an answer would fit: some servers refuse what does not fit as a whole."""
        window, prompt = refused.window, refused.prompt
        if not refused.too_long or window is None or prompt is None or prompt >= window:
            return False
        if self._params.window_end != "stop" or self._call.began:
            return False
        field = "max_tokens" if "max_tokens" in self._body else "max_completion_tokens"
        if self._body[field] <= window - prompt:
            return False
        self._body = {**self._body, field: window - prompt}
        return True

    def _due_in(self, seconds: float, error: str) -> None:
        due = time.monotonic() + seconds
        earlier = due < self._due
        self._due_error, self._due = error.format(seconds), due
        if earlier:  # a later one is seen when the one before it has passed
            self._wake.set()

    def _watch(self) -> None:
        """Ends what takes too long. Servers that send comments keep a socket's time-out at bay."""
        while not self.over:
            now = time.monotonic()
            if now >= self._deadline:
                self.end("timeout")
            elif now >= self._due:
                text = "".join(self._collected.text)
                self.fail(RemoteError(self._due_error, where=self._url, text=text))
            else:
                left = min(self._due, self._deadline) - now
                self._wake.wait(min(left, threading.TIMEOUT_MAX))
                self._wake.clear()


class RemoteRequest(Iterator[Piece]):
    """The caller's end: an iterator of pieces, as `chatwright.generate.Request`.

    Reading blocks until the next piece is there and raises what went wrong with the request. One
    that nobody holds any more is cancelled. One thread reads; any may cancel.
    """

    def __init__(
        self, jobs: list[Job], params: SamplingParams, deadline: float, engine: object
    ) -> None:
        self._jobs = jobs
        self._params = params
        self._deadline = deadline
        self._engine = engine  # an engine that nobody holds closes; this holds it
        self._events: queue.SimpleQueue[tuple[int, Piece | Exception]] = queue.SimpleQueue()
        for job in jobs:
            job.events = self._events
        self._done: dict[int, Completion] = {}
        self._ready: deque[Piece] = deque()
        self._answers: list[Completion] = []
        self._error: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        while True:
            if self._ready:
                return self._ready.popleft()
            if self._error is not None:
                raise self._error
            if len(self._done) == len(self._jobs):
                raise StopIteration
            piece = self._next()
            if piece is None:
                continue
            if piece.completion is not None:
                self._done[piece.index] = piece.completion
                if len(self._done) == len(self._jobs):
                    self._conclude()
            if self._params.best_of is None:
                return piece

    def _next(self) -> Piece | None:
        try:
            left = self._deadline - time.monotonic()
            wait = None if left == math.inf else max(0.0, left)
            _, event = self._events.get(timeout=wait)
        except queue.Empty:  # some may not even have been sent yet
            for job in self._jobs:
                job.end("timeout")
            self._deadline = math.inf
            return None
        if isinstance(event, Exception):
            self._error = event
            self.cancel()
            raise event
        return event

    def _conclude(self) -> None:
        """All answers are there: put them in order; of `best_of` the best come out only now."""
        answers = [self._done[i] for i in sorted(self._done)]
        if self._params.best_of is not None:
            scored = [replace(a, score=_mean(a.logprobs)) for a in answers]
            scored.sort(key=lambda a: (-(a.score if a.score is not None else -math.inf), a.index))
            asked = self._params.logprobs
            answers = [
                replace(a, index=i, logprobs=a.logprobs if asked else None)
                for i, a in enumerate(scored[: self._params.n])
            ]
            self._ready.extend(Piece(a.text, a.finish_reason, a, a.index) for a in answers)
        self._answers = answers

    def results(self) -> list[Completion]:
        """Wait for the end and return the n answers, whatever was read before."""
        for _ in self:
            pass
        return self._answers

    def result(self) -> Completion:
        """Wait for the end and return the (first) whole answer."""
        return self.results()[0]

    def cancel(self) -> None:
        """Close the connection; the last piece then says "cancelled". Does nothing at the end."""
        for job in self._jobs:
            job.end("cancelled")

    close = cancel  # what `contextlib.closing` and users of generators call

    def __del__(self) -> None:
        if hasattr(self, "_done"):
            self.cancel()


def _mean(logprobs: list[float] | None) -> float | None:
    return sum(logprobs) / len(logprobs) if logprobs else None
