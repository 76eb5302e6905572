"""An n-gram language model in numeric arrays, and the perplexity of many texts at once.

Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), over words or characters. An
n-gram is one 63-bit number made of its words' numbers: a look-up is a binary search in a sorted
array, and no two n-grams are mistaken for each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.learned.text import word_lines

Unit = Literal["words", "characters"]

# Numbers of what is not in the vocabulary; its words' follow.
UNKNOWN, END, BEGIN, FIRST = 0, 1, 2, 3
KEY_BITS = 63
_REMEMBERED = 200_000  # words whose numbers a model keeps between batches


@dataclass(frozen=True, slots=True)
class Order:
    """The n-grams of one length n ≥ 2: sorted keys, and log-probabilities of their last words.

    `contexts` are those of n-1 words, sorted; `log_backoff` is the weight with which the shorter
    n-gram counts after each.
    """

    keys: NDArray[np.int64]
    log_probability: NDArray[np.float32]
    contexts: NDArray[np.int64]
    log_backoff: NDArray[np.float32]

    def refine(self, shorter: NDArray[np.float64], keys: NDArray[np.int64], bits: int) -> None:
        """Turn log-probabilities under n-1 words into those under the n words of each key."""
        place = places(self.contexts, keys >> bits)
        known = place >= 0
        shorter[known] += self.log_backoff[place[known]]
        place = places(self.keys, keys)
        known = place >= 0
        shorter[known] = self.log_probability[place[known]]


@dataclass(frozen=True, slots=True, eq=False)
class NgramModel:
    """`vocabulary` are words' hashes, sorted: the word at place i has the number i + `FIRST`.

    `unigram` are log-probabilities by number, `bits` the width of a number in a key. A word that is
    not in the vocabulary is spelled, so that gibberish is not the cheaper the stranger it is:
    `log_letters` are the log-probabilities of its characters (`letters`, sorted code points), then
    that of a word's end and that of any other character. `characters` is how far a text is read.
    """

    unit: Unit
    bits: int
    vocabulary: NDArray[np.uint64]
    unigram: NDArray[np.float32]
    orders: tuple[Order, ...]
    letters: NDArray[np.uint32]
    log_letters: NDArray[np.float32]
    characters: int
    _numbers: dict[str, int] = field(default_factory=dict, repr=False)
    _spelled: dict[str, float] = field(default_factory=dict, repr=False)

    def score(self, texts: Sequence[str]) -> list[float]:
        """Each text's perplexity, per word (or character) and end of line; without any, 0."""
        counts: list[int] = []
        lines: list[list[str]] = []
        for text in texts:
            some = list(units(text, self.unit, self.characters))
            counts.append(sum(map(len, some)) + len(some))
            lines += some
        ends = np.cumsum([0, *counts])
        logs = np.concatenate([[0.0], np.cumsum(self.log_probabilities(lines))])
        totals = (logs[ends[1:]] - logs[ends[:-1]]).tolist()
        return [
            float(np.exp(min(-total / count, 700.0))) if count else 0.0
            for total, count in zip(totals, counts, strict=True)
        ]

    def log_probabilities(self, lines: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Of every word given those before it in its line, and of every end of line, in order."""
        self._learn_numbers(lines)
        padded, offset = pad([[self._numbers[w] for w in line] for line in lines])
        logs = self.unigram[padded].astype(np.float64)
        key = padded
        for n, order in enumerate(self.orders, start=2):
            longer = np.zeros_like(key)
            longer[1:] = key[:-1] << self.bits | padded[1:]
            key = longer
            whole = np.flatnonzero(offset >= n - 1)
            refined = logs[whole]
            order.refine(refined, key[whole], self.bits)
            logs[whole] = refined
        words = chain.from_iterable((*line, "") for line in lines)
        found: NDArray[np.float64] = logs[offset > 0]
        found += np.fromiter((self._spelled.get(w, 0.0) for w in words), np.float64, len(found))
        return found

    def _learn_numbers(self, lines: Sequence[Sequence[str]]) -> None:
        if len(self._numbers) > _REMEMBERED:
            self._numbers.clear()
            self._spelled.clear()
        self._numbers[""] = END
        new = list(set(chain.from_iterable(lines)) - self._numbers.keys())
        found = places(self.vocabulary, hashes(new))
        numbers = np.where(found < 0, UNKNOWN, found + FIRST).tolist()
        self._numbers.update(zip(new, numbers, strict=True))
        unknown = [word for word, number in zip(new, numbers, strict=True) if number == UNKNOWN]
        self._spelled.update(zip(unknown, self.spelling(unknown).tolist(), strict=True))

    def spelling(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Log-probability of each word's characters and end."""
        text = "".join(words).encode("utf-32-le", "surrogatepass")
        place = places(self.letters, np.frombuffer(text, "<u4").astype(np.uint32))
        sums = np.concatenate([[0.0], np.cumsum(self.log_letters[place], dtype=np.float64)])
        ends = np.cumsum([0, *map(len, words)])
        found: NDArray[np.float64] = sums[ends[1:]] - sums[ends[:-1]] + self.log_letters[-2]
        return found


def units(text: str, unit: Unit, characters: int | None) -> Iterator[list[str]]:
    """The lines of a text as words, or as characters with one space between words."""
    for line in word_lines(text, characters):
        yield line if unit == "words" else list(" ".join(line))


def pad(lines: Iterable[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All lines one after the other, each between `BEGIN` and `END`; and places in the line."""
    lines = list(lines)
    padded = np.fromiter(
        chain.from_iterable((BEGIN, *line, END) for line in lines),
        np.int64,
        sum(len(line) + 2 for line in lines),
    )
    starts = np.flatnonzero(padded == BEGIN)
    lengths = np.diff([*starts, len(padded)])
    return padded, np.arange(len(padded)) - np.repeat(starts, lengths)


def hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """64 bits of each word's BLAKE2b."""
    digests = b"".join(
        hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest() for word in words
    )
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def places(table: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Where each wanted value is in a sorted table; -1 where it is not."""
    if not len(table):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return np.where(table[place] == wanted, place, -1)
