"""From logits to a token, for one sequence: its penalties, its constraint and its own chance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, Self

import numpy as np

from chatwright.errors import UsageError
from chatwright.generate.logits import (
    Floats,
    Ints,
    guide,
    log_probabilities,
    log_probability,
    penalise_counts,
    penalise_repetition,
    top_log_probabilities,
)
from chatwright.generate.params import SamplingParams
from chatwright.generate.truncation import candidates, draw

__all__ = [
    "Floats",
    "Ints",
    "Matcher",
    "Sampler",
    "draw",
    "guide",
    "log_probabilities",
    "log_probability",
    "new_generator",
    "top_log_probabilities",
]

_FORBIDDEN = np.float32(-np.inf)


class Matcher(Protocol):
    """Where a text stands in a constraint (`constraints.ConstraintMatcher`)."""

    @property
    def accepting(self) -> bool:
        """Whether the text so far is a whole that satisfies the constraint."""
        ...

    @property
    def finished(self) -> bool:
        """Whether it is, and nothing more can be added."""
        ...

    def forbid(self, row: Floats) -> None:
        """Set the logits of tokens that cannot come next to -inf, ends among them."""
        ...

    def accept(self, token: int) -> None: ...

    def fork(self) -> Matcher: ...


class Sampler:
    """Chooses the tokens of one sequence after `prompt`, from rows of logits [V].

    `ends` are the model's own ends of turn. `matcher` stands at the beginning of the constraint and
    belongs to the sampler from now on. Answer `index` of several has its own random numbers,
    derived from the request's seed and the index.

    Ends: with `min_tokens` to go, or while a constraint is not satisfied, neither the model's ends
    nor `stop_tokens` can be chosen, unless nothing else can. With `ignore_end` the model's ends are
    ordinary tokens, which a constraint never allows.

    Raises `UsageError` for a token that the vocabulary of `vocab_size` does not have.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt: Sequence[int],
        vocab_size: int,
        *,
        ends: Collection[int] = (),
        matcher: Matcher | None = None,
        index: int = 0,
    ) -> None:
        self.params = params
        self.vocab_size = vocab_size
        self.made = 0  # tokens of the answer so far
        self.finished = False  # the constraint is complete: nothing but the end may follow
        self._matcher = matcher
        self._own_ends = frozenset(t for t in ends if t < vocab_size)
        # Any integer is a seed; the sign goes in as a number of its own.
        self._entropy: list[int] | None = None
        if params.seed is not None:
            self._entropy = [abs(params.seed), int(params.seed < 0)]
        self._index = index
        self._generator: np.random.Generator | None = None
        own = frozenset() if params.ignore_end else self._own_ends
        self.ends: frozenset[int] = own | _in_vocabulary(
            "stop_tokens", params.stop_tokens, vocab_size
        )
        self._end_ids = _ids(self.ends)
        self._withheld = _ids(self.ends if matcher is None else self.ends | self._own_ends)
        bias: dict[int, float] = dict(params.logit_bias)
        _in_vocabulary("logit_bias", bias, vocab_size)
        self._biased = _ids(bias)
        self._biases = np.array([bias[t] for t in self._biased.tolist()], dtype=np.float32)
        self._seen: _Counts | None = None
        if params.repetition_penalty != 1.0:
            self._seen = _Counts(prompt)
        self._said: _Counts | None = None
        if params.frequency_penalty or params.presence_penalty:
            self._said = _Counts()
        self._ngrams: _NGrams | None = None
        if params.no_repeat_ngram:
            self._ngrams = _NGrams(params.no_repeat_ngram, prompt)

    # -- choosing --------------------------------------------------------------------------------

    @property
    def needs_row(self) -> bool:
        """Whether a row must be looked at: the likeliest token alone does not tell the next."""
        return not self.params.greedy or self.changes_logits

    @property
    def changes_logits(self) -> bool:
        """Whether `process` does anything now."""
        return (
            self._seen is not None
            or self._said is not None
            or self._ngrams is not None
            or self._matcher is not None
            or len(self._biased) > 0
            or (self.made < self.params.min_tokens and len(self._withheld) > 0)
        )

    def process(self, row: Floats) -> Floats:
        """Bias, penalties, n-grams, constraint and `min_tokens`, in place; returns `row`.

        All of it may be -inf then. Raises `UsageError` for a constraint over its budget.
        """
        row[self.vocab_size :] = _FORBIDDEN  # rows may be padded; those tokens stand for nothing
        if not self.changes_logits:
            return row
        if len(self._biased):
            row[self._biased] += self._biases
        if self._seen is not None:
            penalise_repetition(row, self._seen.tokens, self.params.repetition_penalty)
        if self._said is not None and len(self._said):
            penalise_counts(
                row,
                self._said.tokens,
                self._said.counts,
                self.params.frequency_penalty,
                self.params.presence_penalty,
            )
        if self._ngrams is not None:
            row[self._ngrams.banned()] = _FORBIDDEN
        self._hold_back_ends(row)
        return row

    def distribution(self, row: Floats) -> Floats:
        """The probabilities [V] from which `choose` draws; all at one token when greedy.

        `row` is used up: log-probabilities of the model itself are taken from it before. Raises
        `UsageError` where no token is left.
        """
        best = self._likeliest(self.process(row))
        if self.params.greedy:
            row[:] = 0.0
            row[best] = 1.0
            return row
        kept, weights = candidates(row, self.params)
        weights *= np.float32(1.0 / weights.sum(dtype=np.float64))
        if kept is None:
            return weights
        row[:] = 0.0
        row[kept] = weights
        return row

    def choose(self, row: Floats) -> int:
        """The next token; it takes exactly one random number, none when greedy.

        `row` is used up, as in `distribution`. The token is not accepted yet.
        """
        best = self._likeliest(self.process(row))
        if self.params.greedy:
            return best
        kept, weights = candidates(row, self.params)
        place = draw(weights, self.uniform())
        return place if kept is None else int(kept[place])

    def uniform(self) -> float:
        """The sequence's next random number in [0, 1)."""
        if self._generator is None:
            self._generator = new_generator(self._entropy, self._index)
        return self._generator.random()

    # -- going on --------------------------------------------------------------------------------

    def accept(self, token: int) -> None:
        """Count `token` as the next of the answer. One that ends it also ends the constraint."""
        self.made += 1
        if self._seen is not None:
            self._seen.add(token)
        if self._said is not None:
            self._said.add(token)
        if self._ngrams is not None:
            self._ngrams.add(token)
        if self._matcher is not None and not self.finished:
            if token in self.ends:
                self.finished = True
            else:
                self._matcher.accept(token)
                self.finished = self._matcher.finished

    def fork(self, index: int) -> Self:
        """A sampler that stands where this one does, with the random numbers of answer `index`."""
        if self.params.seed is None and self._entropy is None:
            # All answers of a request derive from one source, here first needed.
            self._entropy = _fresh_entropy()
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._index = index
        twin._generator = None
        twin._matcher = None if self._matcher is None else self._matcher.fork()
        twin._seen = None if self._seen is None else self._seen.fork()
        twin._said = None if self._said is None else self._said.fork()
        twin._ngrams = None if self._ngrams is None else self._ngrams.fork()
        return twin

    # -- inside ----------------------------------------------------------------------------------

    def _likeliest(self, row: Floats) -> int:
        best = int(row.argmax())
        if row[best] == _FORBIDDEN:
            raise UsageError(
                f"no token is left to choose from after {self.made} tokens of the answer",
                hint="logit_bias, no_repeat_ngram and the constraint together forbid every one",
            )
        return best

    def _hold_back_ends(self, row: Floats) -> None:
        """The constraint, and the ends where they may not come yet."""
        early = self.made < self.params.min_tokens
        if self._matcher is None:
            if early:
                self._forbid_unless_last(row, self._withheld)
            return
        before = row[self._end_ids]
        self._matcher.forbid(row)
        accepting = self._matcher.accepting
        if accepting:
            row[self._end_ids] = before  # any end will do, whether the text could go on or not
        if early or not accepting:
            self._forbid_unless_last(row, self._withheld)
        elif self.params.ignore_end:
            self._forbid_unless_last(row, _ids(self._own_ends - self.ends))

    @staticmethod
    def _forbid_unless_last(row: Floats, tokens: Ints) -> None:
        before = row[tokens]
        row[tokens] = _FORBIDDEN
        if row.max() == _FORBIDDEN:
            row[tokens] = before


def new_generator(entropy: int | list[int] | None, index: int = 0) -> np.random.Generator:
    """Random numbers of answer `index`, from `entropy` (None: the operating system's)."""
    source = np.random.SeedSequence(entropy, spawn_key=(index,))
    return np.random.Generator(np.random.PCG64(source))


def _fresh_entropy() -> list[int]:
    fresh = np.random.SeedSequence().entropy
    assert isinstance(fresh, int)
    return [fresh]


class _Counts:
    """Distinct tokens and how often each came, in arrays that double when they are full."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        found, counts = np.unique(np.asarray(tokens, dtype=np.int64), return_counts=True)
        self._size = len(found)
        self._tokens: Ints = np.zeros(max(64, 2 * self._size), dtype=np.int64)
        self._counts: Ints = np.zeros_like(self._tokens)
        self._tokens[: self._size] = found
        self._counts[: self._size] = counts
        self._places = {token: place for place, token in enumerate(found.tolist())}

    def __len__(self) -> int:
        return self._size

    @property
    def tokens(self) -> Ints:
        return self._tokens[: self._size]

    @property
    def counts(self) -> Ints:
        return self._counts[: self._size]

    def add(self, token: int) -> None:
        place = self._places.setdefault(token, self._size)
        if place == self._size:
            if self._size == len(self._tokens):
                self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
            self._tokens[place] = token
            self._size += 1
        self._counts[place] += 1

    def fork(self) -> Self:
        twin = object.__new__(type(self))
        twin._size = self._size
        twin._tokens, twin._counts = self._tokens.copy(), self._counts.copy()
        twin._places = dict(self._places)
        return twin


class _NGrams:
    """What has followed each n - 1 tokens of prompt and answer."""

    def __init__(self, size: int, prompt: Sequence[int]) -> None:
        self._size = size
        self._last: tuple[int, ...] = ()
        self._followers: dict[tuple[int, ...], frozenset[int]] = {}
        for token in prompt:
            self.add(token)

    def add(self, token: int) -> None:
        if len(self._last) == self._size - 1:
            before = self._followers.get(self._last, frozenset())
            if token not in before:
                self._followers[self._last] = before | {token}
        self._last = (*self._last, token)[-(self._size - 1) :] if self._size > 1 else ()

    def banned(self) -> Ints:
        """The tokens that would make an n-gram for the second time."""
        if len(self._last) < self._size - 1:
            return _ids(())
        return _ids(self._followers.get(self._last, ()))

    def fork(self) -> Self:
        twin = object.__new__(type(self))
        twin._size, twin._last = self._size, self._last
        twin._followers = dict(self._followers)
        return twin


def _ids(tokens: Iterable[int]) -> Ints:
    return np.array(sorted(tokens), dtype=np.int64)


def _in_vocabulary(name: str, tokens: Collection[int], vocab_size: int) -> frozenset[int]:
    for token in tokens:
        if token >= vocab_size:
            raise UsageError(
                f"token {token} is not in the vocabulary of {vocab_size} tokens", where=name
            )
    return frozenset(tokens)
