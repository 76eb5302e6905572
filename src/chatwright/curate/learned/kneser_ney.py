"""Training of `ngram.NgramModel`: counts, discounts and weights by sorting, no loop over words."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.learned.ngram import (
    BEGIN,
    END,
    FIRST,
    KEY_BITS,
    UNKNOWN,
    NgramModel,
    Order,
    Unit,
    hashes,
    places,
)
from chatwright.errors import DataError


@dataclass(frozen=True, slots=True)
class NgramShape:
    """How long n-grams are, and what is kept.

    The vocabulary has at most `max_vocabulary` words, each seen `least_count` times; n-grams longer
    than two words that were seen `prune` times or fewer are left to the shorter ones.
    """

    unit: Unit
    order: int
    max_vocabulary: int
    least_count: int
    prune: int
    characters: int

    @property
    def bits(self) -> int:
        """The width of a word's number."""
        return (self.max_vocabulary + FIRST - 1).bit_length()

    @property
    def fits(self) -> bool:
        """Whether an n-gram fits into one number."""
        return self.order * self.bits <= KEY_BITS


def train_ngram(lines: Iterable[Sequence[str]], shape: NgramShape) -> NgramModel:
    """Count the n-grams of all lines and smooth them. The same lines give the same model.

    Raises `DataError` where there is no word.
    """
    words, flat, lengths = _read(lines)
    if not flat:
        raise DataError("there is no text to train on")
    numbers = np.frombuffer(flat, np.int64)
    vocabulary, number_of = _vocabulary(words, numbers, shape)
    letters, log_letters = _letters(words, numbers)
    padded, offset = _pad(number_of[numbers], np.frombuffer(lengths, np.int64))
    keys = _keys(padded, offset, shape)
    size = len(vocabulary) + FIRST
    unigram = _unigram(_adjusted(keys, 1, padded, offset, shape.bits), size)
    orders: list[Order] = []
    for n in range(2, shape.order + 1):
        grams = _adjusted(keys, n, padded, offset, shape.bits)
        orders.append(_order(grams, n, unigram, orders, shape))
    return NgramModel(
        unit=shape.unit,
        bits=shape.bits,
        vocabulary=vocabulary,
        unigram=unigram,
        orders=tuple(orders),
        letters=letters,
        log_letters=log_letters,
        characters=shape.characters,
    )


def _read(lines: Iterable[Sequence[str]]) -> tuple[list[str], array[int], array[int]]:
    """Different words in order of appearance, all words as places in it, and lines' lengths."""
    known: dict[str, int] = {}
    flat, lengths = array("q"), array("q")
    for line in lines:
        flat.extend(known.setdefault(word, len(known)) for word in line)
        lengths.append(len(line))
    return list(known), flat, lengths


def _vocabulary(
    words: list[str], flat: NDArray[np.int64], shape: NgramShape
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the words that are kept, and each word's number."""
    counts = np.bincount(flat, minlength=len(words)).tolist()
    often = [(-n, word, at) for at, (word, n) in enumerate(zip(words, counts, strict=True))]
    kept = [at for n, _, at in sorted(often) if -n >= shape.least_count][: shape.max_vocabulary]
    hashed = hashes([words[at] for at in kept])
    vocabulary = np.unique(hashed)
    number_of = np.full(len(words), UNKNOWN, np.int64)
    number_of[kept] = places(vocabulary, hashed) + FIRST
    return vocabulary, number_of


def _letters(
    words: list[str], flat: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Code points with how likely each is, then a word's end, then any other character."""
    text = "".join(words).encode("utf-32-le", "surrogatepass")
    times = np.bincount(flat, minlength=len(words))
    points = np.frombuffer(text, "<u4").astype(np.uint32)
    letters, place = np.unique(points, return_inverse=True)
    counts = np.bincount(place, np.repeat(times, [len(word) for word in words]))
    counts = np.concatenate([counts, [len(flat), 1]])
    return letters, np.log(counts / counts.sum()).astype(np.float32)


def _pad(
    numbers: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`ngram.pad` for lines in one array."""
    begins = np.concatenate([[0], np.cumsum(lengths + 2)[:-1]])
    padded = np.full(len(numbers) + 2 * len(lengths), END, np.int64)
    offset = np.arange(len(padded)) - np.repeat(begins, lengths + 2)
    padded[begins] = BEGIN
    inside = (offset > 0) & (offset <= np.repeat(lengths, lengths + 2))
    padded[inside] = numbers
    return padded, offset


_Grams = tuple[NDArray[np.int64], NDArray[np.int64]]  # sorted keys, counts


def _keys(
    padded: NDArray[np.int64], offset: NDArray[np.int64], shape: NgramShape
) -> dict[int, _Grams]:
    """Every n-gram of the corpus with how often it stands there, by n."""
    found: dict[int, _Grams] = {}
    key = padded
    for n in range(1, shape.order + 1):
        if n > 1:
            longer = np.zeros_like(key)
            longer[1:] = key[:-1] << shape.bits | padded[1:]
            key = longer
        found[n] = np.unique(key[offset >= n - 1], return_counts=True)
    return found


def _adjusted(
    keys: dict[int, _Grams],
    n: int,
    padded: NDArray[np.int64],
    offset: NDArray[np.int64],
    bits: int,
) -> _Grams:
    """n-grams with their counts; below the longest, by how many different words come before.

    Nothing comes before the beginning of a line, so what begins there keeps its own count.
    """
    if n + 1 not in keys:
        return keys[n]
    endings, before = np.unique(keys[n + 1][0] & ((1 << bits * n) - 1), return_counts=True)
    if n == 1:
        return endings, before
    own, counts = keys[n]
    first = own >> bits * (n - 1) == BEGIN
    both = np.concatenate([endings, own[first]])
    order = np.argsort(both)
    return both[order], np.concatenate([before, counts[first]])[order]


def _discounted(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts less the discount for 1, 2 and more (Chen and Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        raw = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    else:
        raw = (0.5, 1.0, 1.5)  # too little text to estimate them; KenLM's fallback
    discounts = np.array([min(max(d, 0.05 * k), 0.95 * k) for k, d in enumerate(raw, start=1)])
    less: NDArray[np.float64] = counts - discounts[np.minimum(counts, 3) - 1]
    return less


def _unigram(grams: _Grams, size: int) -> NDArray[np.float32]:
    """Log-probability of each number; `BEGIN` never comes, and has none."""
    numbers, counts = grams
    probability = np.zeros(size)
    probability[numbers] = _discounted(counts) / counts.sum()
    probability[BEGIN] = 0
    rest = (1 - probability.sum()) / (size - 1)
    probability += rest
    probability[BEGIN] = 1e-30
    return np.log(probability).astype(np.float32)


def _order(
    grams: _Grams, n: int, unigram: NDArray[np.float32], shorter: Sequence[Order], shape: NgramShape
) -> Order:
    """Probabilities of the n-grams that are kept, and what is left for the shorter ones."""
    keys, counts = grams
    contexts, group = np.unique(keys >> shape.bits, return_inverse=True)
    share = _discounted(counts) / np.bincount(group, counts)[group]
    kept = counts > shape.prune if n > 2 else np.ones(len(keys), np.bool_)
    rest = 1 - np.bincount(group[kept], share[kept], minlength=len(contexts))
    rest = np.maximum(rest, 1e-12)
    keys, share, group = keys[kept], share[kept], group[kept]
    lower = _query(keys & ((1 << shape.bits * (n - 1)) - 1), n - 1, unigram, shorter, shape.bits)
    probability = share + rest[group] * np.exp(lower)
    used = np.unique(group)  # a context of which nothing is kept weighs 1: as good as none
    return Order(
        keys,
        np.log(probability).astype(np.float32),
        contexts[used],
        np.log(rest[used]).astype(np.float32),
    )


def _query(
    keys: NDArray[np.int64],
    length: int,
    unigram: NDArray[np.float32],
    orders: Sequence[Order],
    bits: int,
) -> NDArray[np.float64]:
    """Log-probability of the last word of each key of so many words."""
    logs: NDArray[np.float64] = unigram[keys & ((1 << bits) - 1)].astype(np.float64)
    for n, order in enumerate(orders[: length - 1], start=2):
        order.refine(logs, keys & ((1 << bits * n) - 1), bits)
    return logs
