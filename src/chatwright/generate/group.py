"""One request as the scheduler sees it: a group of sequences that it computes and that decide.

The scheduler owns memory and time: which tokens are computed in a step, in which blocks. A group
owns meaning: what the logits of its sequences become, when an answer forks, and when it is over.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from chatwright.errors import ChatwrightError
from chatwright.generate.params import Completion, FinishReason, Piece, SamplingParams
from chatwright.generate.runner import Floats, Logits
from chatwright.generate.stops import StopMatcher

if TYPE_CHECKING:
    from chatwright.generate.speculation import Proposal, Proposer


class Detokenizer(Protocol):
    """Token ids in, text out, never a part of a character (`Tokenizer.detokenizer()`)."""

    def push(self, token: int) -> str: ...

    def flush(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a group knows of the tokenizer: rows of logits that it sees have `size` numbers.

    `ends` are the tokens that end an answer, without a request's own `stop_tokens`.
    """

    size: int
    ends: frozenset[int]
    detokenizer: Callable[[], Detokenizer]

    def ends_of(self, params: SamplingParams) -> frozenset[int]:
        """The tokens that end an answer to a request with `params`."""
        own = frozenset(params.stop_tokens)
        return own if params.ignore_end else own | self.ends


class Sequence:
    """A row of tokens, and where its keys and values are.

    `tokens` are those of the prompt and what was made since; tokens[:computed] are in the cache, in
    the blocks of the table `blocks`. `proposal` holds the speculated tokens that a step verifies.
    Where the window slides, the tokens that are dropped leave `tokens` too.

    A group appends to `tokens`; the rest is the scheduler's. `digests` names the content of the
    first full blocks (for prefix reuse); `pure` says whether what the cache holds follows from
    `tokens` alone (after a slide it does not).
    """

    __slots__ = (
        "blocks",
        "chain",
        "computed",
        "digests",
        "proposal",
        "pure",
        "registered",
        "tokens",
    )

    def __init__(self, tokens: Items[int]) -> None:
        self.tokens = list(tokens)
        self.computed = 0
        self.blocks: list[int] = []
        self.proposal: Proposal | None = None
        self.chain = b""  # what the first block's digest is chained to
        self.digests: list[bytes] = []
        self.registered = 0  # how many of its blocks the pool knows by content
        self.pure = True

    @property
    def named(self) -> bool:
        """Whether its full blocks have names, by which others find them."""
        return self.pure and self.chain != b""


class Pool(Protocol):
    """What a group may do with its sequences while it advances."""

    def fork(self, sequence: Sequence) -> Sequence:
        """A new sequence with the same tokens that shares all blocks, copied when written to.

        It takes no memory by itself. The caller puts it in its `sequences`.
        """
        ...

    def drop(self, sequence: Sequence) -> None:
        """Give the sequence's blocks back. The caller takes it out of its `sequences`."""
        ...


Rows = tuple[Sequence, Logits, range]


class Group(ABC):
    """A request on its way through the scheduler. Only the scheduler's thread changes it.

    `sequences` are those that want computing: the scheduler computes every token of each, the last
    one with logits, and hands these to `advance`, which appends tokens, forks and drops sequences,
    emits pieces, and in the end sets `finished` (through `finish` or `fail`), after which the
    scheduler drops what is left. `width` is the most sequences there will ever be at once, and
    `limit` how many tokens each may make. Where `together`, `advance` always gets the rows of all
    sequences at once, otherwise of those that have one. Any thread may set `cancelled`, through
    `cancel`.
    """

    together: bool = False
    wants_states: ClassVar[bool] = False  # hidden states instead of logits (`take_states`)

    def __init__(
        self,
        prompt: Items[int],
        params: SamplingParams,
        vocabulary: Vocabulary,
        *,
        limit: int,
        width: int = 1,
        tenant: str = "",
        deadline: float | None = None,
    ) -> None:
        self.prompt = list(prompt)
        self.params = params
        self.vocabulary = vocabulary
        self.limit = limit
        self.width = width
        self.tenant = tenant
        self.deadline = deadline  # in `time.monotonic()` seconds
        self.sequences = [Sequence(self.prompt)]
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()  # Piece, or an exception
        self.number = 0  # of the engine's requests: given by the scheduler, told in errors
        self.cancelled = False
        self.finished = False
        self.cached_tokens = 0  # prompt tokens that prefix reuse saved: set by the scheduler
        self.on_event: Callable[[], None] = _nothing  # called in the scheduler's thread
        self.on_cancel: Callable[[], None] = (
            _nothing  # set by the scheduler: it looks at its next step
        )

    @abstractmethod
    def advance(self, rows: list[Rows], pool: Pool) -> None:
        """Take the logits that follow its sequences' last tokens.

        A row of `rows` is a sequence, the step's logits and which of their rows belong to it: one,
        or with a proposal of k tokens k + 1 (the first follows the token before the proposal).
        All of them are finite. Afterwards each sequence still in `sequences` has at least one
        token more than before. `Logits.row(i)` may be changed; who needs it twice copies it.
        """

    @abstractmethod
    def end(self, reason: FinishReason) -> None:
        """Finish now with what there is ("cancelled" or "timeout")."""

    def guesser(self, sequence: Sequence, most: int) -> tuple[Proposer, int] | None:
        """Who proposes how `sequence` goes on, and how many of `most` tokens are of use."""
        return None

    def take_states(self, sequence: Sequence, states: Floats) -> None:
        """Take the hidden states [n, C] of the `n` tokens just computed; `computed` counts them."""
        raise NotImplementedError

    def release(self) -> None:
        """Let go of what it holds, when it is over and its blocks have been given back."""
        self.sequences.clear()

    def emit(self, piece: Piece) -> None:
        self.events.put(piece)
        self.on_event()

    def finish(self) -> None:
        """Nothing comes after this; every answer's last piece has been emitted."""
        self.finished = True

    def fail(self, error: Exception) -> None:
        """End with an error, which the caller's next read raises."""
        if not self.finished:
            self.finished = True
            self.events.put(error)
            self.on_event()

    def cancel(self) -> None:
        """Ask for the end, from any thread."""
        if not self.finished:
            self.cancelled = True
            self.on_cancel()


class StepLogits:
    """A step's `Logits` without the padding of the vocabulary, which stands for nothing.

    `likeliest` and `finite` are read once; `row(i)` is the runner's own, to be changed at will.
    """

    __slots__ = ("_logits", "_size", "finite", "likeliest")

    def __init__(self, logits: Logits, size: int) -> None:
        self._logits = logits
        self._size = size
        self.likeliest = logits.likeliest
        self.finite = logits.finite
        if len(self.likeliest) and self.likeliest.max() >= size:
            self.likeliest = self.likeliest.copy()
            for i in np.flatnonzero(self.likeliest >= size):
                self.likeliest[i] = self.row(int(i)).argmax()

    def __len__(self) -> int:
        return len(self._logits)

    def row(self, index: int) -> Floats:
        return self._logits.row(index)[: self._size]


class Answer:
    """One answer as it grows: tokens to text, stop strings, log-probabilities.

    >>> # for token in tokens: text = answer.accept(token); if answer.reason: …
    """

    __slots__ = ("_detokenizer", "_ends", "_limit", "_stops", "_text", "index", "logprobs",
                 "reason", "token_ids", "top_logprobs")  # fmt: skip

    def __init__(self, group: Group, index: int = 0) -> None:
        self.index = index
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.top_logprobs: list[list[tuple[int, float]]] = []
        self.reason: FinishReason | None = None
        self._text: list[str] = []
        self._detokenizer = group.vocabulary.detokenizer()
        self._ends = group.vocabulary.ends_of(group.params)
        self._limit = group.limit
        self._stops = StopMatcher(group.params.stop)

    def accept(self, token: int) -> str:
        """Add `token`; return the text that may be shown now. Sets `reason` where it is the last.

        An end token or a stop token (in `ends`) is counted but never shown.
        """
        self.token_ids.append(token)
        if token in self._ends:
            return self.close("stop")
        text = self._stops.push(self._detokenizer.push(token))
        if text:
            self._text.append(text)
        if self._stops.stopped:
            self.reason = "stop"
        elif len(self.token_ids) >= self._limit:
            text += self.close("length")
        return text

    def close(self, reason: FinishReason) -> str:
        """End here; return the text that was held back. In it a stop string may still be found."""
        if self.reason is not None:
            return ""
        # What is held back of a character is no character; a stop string may begin before it.
        rest = self._detokenizer.flush().rstrip("\ufffd") if reason in ("stop", "length") else ""
        text = self._stops.push(rest) + self._stops.flush()
        self.reason = "stop" if self._stops.stopped else reason
        self._text.append(text)
        return text

    def completion(
        self, group: Group, *, index: int | None = None, score: float | None = None
    ) -> Completion:
        """What the caller gets of it. Raises `ChatwrightError` before the end."""
        if self.reason is None:
            raise ChatwrightError("the answer is not finished")
        params = group.params
        return Completion(
            text="".join(self._text),
            token_ids=self.token_ids,
            logprobs=self.logprobs if params.logprobs else None,
            finish_reason=self.reason,
            prompt_tokens=len(group.prompt),
            top_logprobs=self.top_logprobs if params.top_logprobs else None,
            cached_tokens=group.cached_tokens,
            index=self.index if index is None else index,
            score=score,
        )


def _nothing() -> None:
    pass
