"""An engine in front of which a response cache stands."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from chatwright.closing import Closing
from chatwright.errors import UsageError
from chatwright.generate.params import Completion, Piece, SamplingParams
from chatwright.generate.responses import ResponseCache, is_deterministic
from chatwright.records import Message

Messages = Sequence[Message | Mapping[str, str]]

_DEFAULT = SamplingParams()
_PIECE = 24  # characters of a kept answer that are streamed at a time


class _Shared:
    """One answer being made, read by any number of requests; whoever needs more fetches it.

    The engine computes by itself, so nothing here needs a thread, and a second reader that reads
    before the first does not wait for it.
    """

    def __init__(
        self, inner: Iterator[Piece], answers: int, keep: Callable[[list[Completion]], object]
    ) -> None:
        self._inner = inner
        self._answers = answers
        self._keep = keep
        self._pieces: list[Piece] = []
        self._error: Exception | None = None
        self._ended = False
        self._readers = 1
        self._lock = threading.Lock()  # of the counts
        self._turn = threading.Lock()  # of who fetches

    def join(self) -> bool:
        """Whether one more may read: not from one that was cancelled, failed or is over."""
        with self._lock:
            if self._readers == 0 or self._ended:
                return False
            self._readers += 1
            return True

    def leave(self) -> bool:
        """One reads no more; the last ends the request. Returns whether it was the last."""
        with self._lock:
            self._readers -= 1
            last = self._readers == 0
        if last and not self._ended:
            cancel = getattr(self._inner, "cancel", None) or getattr(self._inner, "close", None)
            if cancel is not None:
                cancel()
        return last

    def piece(self, number: int, gone: threading.Event) -> Piece | None:
        """The piece of that number, or None at the end or once `gone` is set."""
        while not self._turn.acquire(timeout=0.05):  # another one fetches
            if number < len(self._pieces):
                return self._pieces[number]
            if gone.is_set() and self._readers > 0:
                return None
        try:
            if number < len(self._pieces):
                return self._pieces[number]
            if self._error is not None:
                raise self._error
            return None if self._ended else self._fetch()
        finally:
            self._turn.release()

    def _fetch(self) -> Piece | None:
        try:
            piece = next(self._inner)
        except StopIteration:
            self._ended = True
            return None
        except Exception as error:
            self._error = error
            self._ended = True
            raise
        self._pieces.append(piece)
        if piece.completion is not None:
            whole = [p.completion for p in self._pieces if p.completion is not None]
            if len(whole) == self._answers:
                self._ended = True
                self._keep(sorted(whole, key=lambda answer: answer.index))
        return piece


class CachedRequest(Iterator[Piece]):
    """The caller's end of an answer that is kept, or made now; as `chatwright.generate.Request`.

    One thread reads, any may cancel. One that nobody holds any more is cancelled.
    """

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._read = 0
        self._texts: dict[int, list[str]] = {}
        self._answers: dict[int, Completion] = {}
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._left = False
        self._last = False
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        if self._ended:
            raise StopIteration
        # Where others go on reading, this one's end is made here; else the engine makes it.
        if self._cancelled.is_set() and not self._last:
            return self._cut()
        piece = self._shared.piece(self._read, self._cancelled)
        if piece is None and self._cancelled.is_set() and not self._last:
            return self._cut()
        if piece is None:
            self._ended = True
            raise StopIteration
        self._read += 1
        self._texts.setdefault(piece.index, []).append(piece.text)
        if piece.completion is not None:
            self._answers[piece.index] = piece.completion
        return piece

    def results(self) -> list[Completion]:
        """Wait for the end and return the n answers, whatever was read before."""
        for _ in self:
            pass
        return [self._answers[index] for index in sorted(self._answers)]

    def result(self) -> Completion:
        """Wait for the end and return the (first) whole answer."""
        return self.results()[0]

    def cancel(self) -> None:
        """End with what there is; the last piece then says "cancelled". Nothing at the end."""
        with self._lock:
            if self._left:
                return
            self._left = True
            self._last = self._shared.leave()
        self._cancelled.set()

    close = cancel  # what `contextlib.closing` and users of generators call

    def __del__(self) -> None:
        if hasattr(self, "_ended"):
            self.cancel()

    def _cut(self) -> Piece:
        """The end of the first answer that has none: others may still read what this one leaves."""
        open_ones = [i for i in self._texts if i not in self._answers] or (
            [] if self._answers else [0]
        )
        if not open_ones:
            self._ended = True
            raise StopIteration
        index = open_ones[0]
        text = "".join(self._texts.get(index, []))
        whole = Completion(text, [], None, "cancelled", 0, index=index)
        self._answers[index] = whole
        return Piece("", "cancelled", whole, index)


def _replayed(kept: list[Completion]) -> Iterator[Piece]:
    for answer in kept:
        text = answer.text
        last = max(0, (len(text) - 1) // _PIECE * _PIECE)
        for start in range(0, last, _PIECE):
            yield Piece(text[start : start + _PIECE], index=answer.index)
        yield Piece(text[last:], answer.finish_reason, answer, answer.index)


class CachedEngine(Closing):
    """An engine whose deterministic answers are kept in `cache`; the same interface.

    `fingerprint` must stand for all that decides an answer beside the request: weights and their
    precision, tokenizer, chat template, what computes. Change the model and it must change. Sampled
    requests without a seed, and those with a `timeout`, go straight to the engine. Equal requests
    of a tenant at the same time (`chat`, `stream`, `submit`) are computed once. All else
    (`tokenizer`, `context`, `load`, …) is the engine's.

    A kept answer says `cached_tokens` = `prompt_tokens`: nothing was computed.
    """

    def __init__(self, engine: Any, cache: ResponseCache, fingerprint: str) -> None:
        if not fingerprint:
            raise UsageError("answers cannot be kept without saying whose", where="fingerprint")
        self.engine = engine
        self.cache = cache
        self.fingerprint = fingerprint
        self._lock = threading.Lock()
        # A request that has ended, and that nobody holds, is no longer found here.
        self._running: weakref.WeakValueDictionary[tuple[int, bytes], _Shared]
        self._running = weakref.WeakValueDictionary()

    @property
    def tokenizer(self) -> Any:
        return self.engine.tokenizer

    @property
    def context(self) -> int:
        return int(self.engine.context)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "engine":
            raise AttributeError(name)
        return getattr(self.engine, name)

    def chat(
        self, messages: Messages, params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Completion:
        """The assistant's next turn."""
        return self.stream(messages, params, tenant=tenant).result()  # type: ignore[no-any-return]

    def chat_many(
        self,
        conversations: Iterable[Messages],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> list[Completion]:
        """The next turn of each conversation, in order; those not kept are made side by side."""
        asked = [(_plain(messages), messages) for messages in conversations]
        return self._many(
            asked, params, tenant, lambda some: self.engine.chat_many(some, params, **_for(tenant))
        )

    def generate(
        self,
        prompts: Sequence[str | list[int]],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> list[Completion]:
        """The continuation of each prompt, in order; those not kept are made side by side."""
        if isinstance(prompts, str):
            raise UsageError("generate takes a list of prompts", hint="write generate([prompt])")
        asked = [(_prompt(prompt), prompt) for prompt in prompts]
        return self._many(
            asked, params, tenant, lambda some: self.engine.generate(some, params, **_for(tenant))
        )

    def stream(
        self, messages: Messages, params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Any:
        """The assistant's next turn, piece by piece."""
        return self._request(
            _plain(messages),
            params,
            tenant,
            lambda: self.engine.stream(messages, params, **_for(tenant)),
        )

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Any:
        """Queue token ids and return at once."""
        return self._request(
            _prompt(prompt_ids),
            params,
            tenant,
            lambda: self.engine.submit(prompt_ids, params, **_for(tenant)),
        )

    def forget(self, tenant: str) -> int:
        """Drop all that was kept for a tenant."""
        return self.cache.forget(tenant)

    def close(self) -> None:
        """Close the engine. The cache is its owner's to close."""
        self.engine.close()

    def _request(self, prompt: object, params: SamplingParams, tenant: str, start: Any) -> Any:
        if not is_deterministic(params):
            return start()
        key = self.cache.key(tenant, self.fingerprint, prompt, params)
        # What was asked before somebody's answers were forgotten is not kept after it.
        era = self.cache.era
        with self._lock:
            shared = self._running.get((era, key))
            if shared is not None and shared.join():
                self.cache.count_shared()
                return CachedRequest(shared)
        kept = self.cache.get(key)
        if kept is not None:
            return CachedRequest(_Shared(_replayed(kept), len(kept), lambda answers: None))
        mine = _Shared(
            start(), params.n, lambda answers: self.cache.put(tenant, key, answers, era=era)
        )
        with self._lock:
            other = self._running.get((era, key))
            if other is not None and other.join():  # another thread was quicker
                self.cache.count_shared()
            else:
                other, self._running[era, key] = mine, mine
        if other is not mine:
            mine.leave()
        return CachedRequest(other)

    def _many(
        self,
        asked: list[tuple[object, Any]],
        params: SamplingParams,
        tenant: str,
        make: Any,
    ) -> list[Completion]:
        era = self.cache.era
        if not is_deterministic(params):
            made: list[Completion] = make([given for _, given in asked])
            return made
        keys = [self.cache.key(tenant, self.fingerprint, prompt, params) for prompt, _ in asked]
        found: dict[bytes, Completion] = {}
        missing: dict[bytes, Any] = {}
        for key, (_, given) in zip(keys, asked, strict=True):
            if key in found or key in missing:
                continue
            kept = self.cache.get(key)
            if kept is None:
                missing[key] = given
            else:
                found[key] = kept[0]
        if missing:
            for key, answer in zip(missing, make(list(missing.values())), strict=True):
                found[key] = answer
                if params.n == 1:  # of several answers these calls give only the first
                    self.cache.put(tenant, key, [answer], era=era)
        return [found[key] for key in keys]


def _for(tenant: str) -> dict[str, str]:
    """Engines that know no tenants need not be told of the one that is nobody."""
    return {"tenant": tenant} if tenant else {}


def _plain(messages: Messages) -> object:
    """Messages as a key's part: everything that they carry."""
    out: list[object] = []
    for message in messages:
        if isinstance(message, Message):
            out.append({"role": message.role, "content": message.content})
        else:
            out.append({str(name): str(value) for name, value in message.items()})
    return ["chat", out]


def _prompt(prompt: str | Sequence[int]) -> object:
    if isinstance(prompt, str):
        return ["text", prompt]
    return ["ids", [int(token) for token in prompt]]
