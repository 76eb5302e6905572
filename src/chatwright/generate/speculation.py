"""Speculation: guess the next tokens cheaply, then verify the guesses in one step of the model.

The answers are those of plain decoding. A guess that was not drawn is right where the token that
the sampler chooses anyway is the guessed one: greedy and sampled answers are then, token for token
and with the same random numbers, what they would have been without guesses. A guess that was drawn
from a distribution is accepted or replaced so that the result has exactly the model's distribution
(Leviathan et al. 2023, Chen et al. 2023).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chatwright.generate.runner import Logits

Probabilities = NDArray[np.float64] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tokens that may come next, and the distribution [V] that each was drawn from.

    `distributions` None: they were not drawn; the same tokens would be proposed again.
    """

    tokens: list[int]
    distributions: list[Probabilities] | None = None


class Proposer(Protocol):
    """Guesses how one sequence goes on."""

    def propose(self, tokens: Sequence[int], most: int) -> Proposal:
        """At most `most` tokens that may follow `tokens` (prompt and answer so far); often none."""
        ...

    def close(self) -> None:
        """Give back what it holds, when the sequence ends. May be called again."""
        ...


class Chooser(Protocol):
    """What verification needs of a `Sampler`."""

    @property
    def needs_row(self) -> bool: ...

    @property
    def finished(self) -> bool: ...

    def choose(self, row: NDArray[np.float32]) -> int: ...

    def distribution(self, row: NDArray[np.float32]) -> Probabilities: ...

    def accept(self, token: int) -> None: ...

    def uniform(self) -> float: ...


def verify(logits: Logits, rows: range, proposal: Proposal, sampler: Chooser) -> Iterator[int]:
    """The proposed tokens that are right, and one more: the one after them, or instead.

    `rows` are k + 1 rows of `logits` for k proposed tokens; the first follows the last token before
    the proposal. The sampler has accepted each token when it comes, so that penalties and
    constraints see what they would have seen. Where the sampler is then finished (its constraint is
    complete), nothing more is chosen.

    Each token is chosen when it is asked for: who finds that the answer ends with one (an end
    token, a stop string, `max_tokens`) asks for no more. What was proposed after it is dropped with
    what the cache holds of it, the sampler and its random numbers are as in plain decoding, and a
    choice that could not be made after the end does no harm.
    """
    drawn = proposal.distributions
    for at, index in enumerate(rows):
        guess = proposal.tokens[at] if at < len(proposal.tokens) else None
        if not sampler.needs_row:
            token = int(logits.likeliest[index])
        elif guess is None or drawn is None:
            token = sampler.choose(logits.row(index))
        else:
            wanted = sampler.distribution(logits.row(index))
            token = accept_or_replace(wanted, drawn[at], guess, sampler.uniform)
        sampler.accept(token)
        yield token
        if token != guess or sampler.finished:
            return


def accept_or_replace(
    wanted: Probabilities, drawn: Probabilities, guess: int, uniform: Callable[[], float]
) -> int:
    """`guess`, which came from the distribution `drawn`, or another token: distributed as `wanted`.

    It is accepted with the probability wanted/drawn, at most 1, and otherwise replaced by a token
    from what `wanted` has more than `drawn` (Leviathan et al. 2023, section 2.3 and appendix A.1).
    Takes one number from `uniform`, in [0, 1), and a second where the guess is replaced.
    """
    if uniform() * float(drawn[guess]) < float(wanted[guess]):
        return guess
    rest = np.array(wanted, np.float64)
    rest[: len(drawn)] -= drawn[: len(rest)]
    np.maximum(rest, 0.0, out=rest)
    running = np.cumsum(rest)
    if running[-1] <= 0.0:  # the two differ by rounding only
        running = np.cumsum(wanted, dtype=np.float64)
    at = int(np.searchsorted(running, uniform() * running[-1], side="right"))
    # uniform · total can round up to total: then the last token that can be had
    return min(at, int(np.searchsorted(running, running[-1])))


class Pace:
    """How many tokens to guess, learnt from which guesses came true.

    `hopes` are, for each kind of guess, how probably a guessed token is right before anything is
    known, if those before it are. The estimate follows what comes true, and a guess is as long as
    its last token comes true with probability `worth` at least: what it costs to verify one token
    more, in plain steps. Where that leaves none, the estimate goes slowly back to what was hoped,
    so that guessing is tried again after a while: each time a longer one, until it comes true.

    It depends on the tokens alone, so that an answer does not depend on time or company.
    """

    WEIGHT = 8.0  # so many tokens is the hope worth
    MEMORY = 0.95  # of what was seen, after each guess
    FORGIVENESS = (0.03, 0.001)  # for each time that nothing was guessed: at first, and at least

    def __init__(self, hopes: Sequence[float], worth: float) -> None:
        self._hopes = hopes
        self._worth = worth
        self._right = [hope * self.WEIGHT for hope in hopes]
        self._tried = [self.WEIGHT] * len(hopes)
        self._forgiveness = [self.FORGIVENESS[0]] * len(hopes)
        self._guess: list[int] = []
        self._at = 0  # length of the sequence when the last guess was made
        self._kind = 0

    def judge(self, tokens: Sequence[int]) -> None:
        """Learn from `tokens` what became of the last guess."""
        size = len(self._guess)
        if size == 0:
            return
        right = common_prefix(self._guess, tokens[self._at : self._at + size])
        kind = self._kind
        self._right[kind] = self.MEMORY * self._right[kind] + right
        self._tried[kind] = self.MEMORY * self._tried[kind] + min(right + 1, size)
        first, least = self.FORGIVENESS
        self._forgiveness[kind] = first if right else max(least, self._forgiveness[kind] / 2)
        self._guess = []

    def reach(self, kind: int, most: int) -> int:
        """How many tokens to guess, if it is a guess of that kind."""
        chance = self._right[kind] / self._tried[kind]
        if chance < self._worth:
            hoped = self._hopes[kind] * self._tried[kind]
            self._right[kind] += self._forgiveness[kind] * (hoped - self._right[kind])
            return 0
        return most if chance > 0.999 else min(most, int(math.log(self._worth, chance)))

    def guessed(self, kind: int, tokens: Sequence[int], guess: list[int]) -> None:
        """Remember what was guessed to follow `tokens`."""
        self._kind, self._at, self._guess = kind, len(tokens), guess


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens the two have in common at the beginning."""
    size = min(len(one), len(other))
    for start in range(0, size, 256):  # slices are compared at C's speed
        stop = min(start + 256, size)
        if one[start:stop] != other[start:stop]:
            return next(i for i in range(start, stop) if one[i] != other[i])
    return size


class NGramProposer:
    """Guesses that what followed the same tokens earlier follows again (prompt lookup decoding).

    Of the longest suffix of `longest` … 1 tokens that was there before, in the prompt or in the
    answer, the occurrence whose past agrees furthest back counts, of equals the latest; what
    followed it is proposed, beyond the end of the text as if it went round in a circle. Answers
    that quote their prompt (summaries, code, retrieved passages) gain most (Saxena 2023; Yang et
    al. 2023). How many tokens are proposed depends on how far back the pasts agree, and on what
    came true so far.

    An index grows with the text: a step costs a few look-ups, however long the text is. It is made
    anew where the text has become shorter (the window slid). Nothing is proposed after a token of
    `ends`.
    """

    _OCCURRENCES = 4  # so many are compared
    # Up to so many tokens in common, a guess is of the first, second, … kind: what to hope of it.
    # As measured on instructions with texts, tool calls and code, in English and Chinese.
    _KINDS = (1, 2, 4, 8, 16)
    _HOPES = (0.25, 0.35, 0.5, 0.7, 0.85)
    _WORTH = 0.2

    def __init__(self, *, longest: int = 3, ends: Collection[int] = ()) -> None:
        self._sizes = range(longest, 0, -1)
        self._ends = frozenset(ends)
        self._pace = Pace(self._HOPES, self._WORTH)
        self._forget()

    def propose(self, tokens: Sequence[int], most: int) -> Proposal:
        """At most `most` tokens. `tokens` begins with those of the call before, or is shorter."""
        if len(tokens) <= self._indexed:
            self._forget()
        self._index(tokens)
        self._pace.judge(tokens)
        found = self._find(tokens) if most > 0 else None
        if found is None:
            return Proposal([])
        start, common = found
        kind = bisect_left(self._KINDS, common)
        guess: list[int] = []
        size = len(tokens)
        for at in range(start, start + self._pace.reach(kind, most)):
            token = tokens[at] if at < size else guess[at - size]
            guess.append(token)
            if token in self._ends:
                break
        self._pace.guessed(kind, tokens, guess)
        return Proposal(guess)

    def close(self) -> None:
        """Nothing to give back."""

    def _forget(self) -> None:
        self._indexed = 0
        # For each size: n-gram → where its latest occurrence ends, and for each such place the
        # place before (-1: none).
        self._latest: dict[int, dict[Hashable, int]] = {n: {} for n in self._sizes}
        self._earlier = {n: array("i") for n in self._sizes}

    def _index(self, tokens: Sequence[int]) -> None:
        """Note the n-grams that end before the last token: something followed them."""
        for end in range(self._indexed, len(tokens) - 1):
            for n in self._sizes:
                earlier = self._earlier[n]
                if end + 1 < n:
                    earlier.append(-1)
                    continue
                latest, gram = self._latest[n], _gram(tokens, end, n)
                earlier.append(latest.get(gram, -1))
                latest[gram] = end
        self._indexed = max(self._indexed, len(tokens) - 1)

    def _find(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """Where what may come next begins, and how many tokens before it are as at the end."""
        last, furthest = len(tokens) - 1, self._KINDS[-1]
        for n in self._sizes:
            place = self._latest[n].get(_gram(tokens, last, n), -1) if n <= len(tokens) else -1
            if place < 0:
                continue
            best, longest = place, 0
            for _ in range(self._OCCURRENCES):
                common = n
                while (
                    common < min(furthest, place + 1)
                    and tokens[place - common] == tokens[last - common]
                ):
                    common += 1
                if common > longest:
                    best, longest = place, common
                place = self._earlier[n][place]
                if place < 0:
                    break
            return best + 1, longest
        return None


def _gram(tokens: Sequence[int], end: int, n: int) -> Hashable:
    return tokens[end] if n == 1 else tuple(tokens[end - n + 1 : end + 1])
