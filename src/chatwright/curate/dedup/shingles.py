"""Texts as sets of word n-grams, as numbers: tokens, shingles, and the Jaccard index of two sets.

A token is a word or, where words are written without spaces (Chinese, Japanese), one character.
A word counts 8 units and a character 5, because a Chinese word is 1.6 characters long on average;
a shingle is a run of tokens that comes to `8 * ngram` units: 5 words of English, 8 characters of
Chinese, and in a mixed text what lies between. So one threshold means the same change in both: a
word that is altered alters five words' worth of shingles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.dedup.folding import CHARACTER, TABLE_SIZE, TOKEN, folded

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

WORD_UNITS = 8
CHARACTER_UNITS = 5
_NO_LETTER, _IN_WORD, _ALONE = range(3)
_AT_ONCE = 1 << 16  # characters hashed together: their buffers stay in the processor's cache
_BASE = 0x9E3779B97F4A7C15  # odd: it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 2**64)
_KEPT = 1 << 20  # powers that are kept, 16 MB of them: more than one batch needs


def tokens(texts: Sequence[str]) -> tuple[U64, I64]:
    """The tokens of many texts, one number each [tokens], and their offsets [n + 1].

    They are what `TOKEN` finds in a text in small letters and normal width (NFKC), as 64 bits of
    a polynomial in the characters, mixed; the lowest bit says that it is a character of an
    unspaced script. All at once and by table, which is five times as fast as an expression.
    """
    values: list[U64] = []
    counts = np.zeros(len(texts), np.int64)
    batch: list[str] = []
    of: list[int] = []
    size = 0
    for number, text in enumerate(texts):
        for piece in _pieces(text):
            if batch and size + len(piece) > _AT_ONCE:
                values.append(_hashes(batch, of, counts))
                batch, of, size = [], [], 0
            batch.append(piece)
            of.append(number)
            size += len(piece) + 1
    if batch:
        values.append(_hashes(batch, of, counts))
    found = np.concatenate(values) if values else np.empty(0, np.uint64)
    return found, np.concatenate(([0], counts.cumsum()))


def _pieces(text: str) -> Iterator[str]:
    """The text, folded; a long one in parts, cut at spaces where there are any."""
    at = 0
    while len(text) - at > _AT_ONCE:
        end = text.rfind(" ", at + 1, at + _AT_ONCE)
        end = at + _AT_ONCE if end < 0 else end
        yield folded(text[at:end])
        at = end
    yield folded(text[at:] if at else text)


def _hashes(pieces: Sequence[str], of: Sequence[int], counts: I64) -> U64:
    """The tokens of the pieces; adds their number to the `counts` of the texts they are `of`."""
    joined = "\n".join([*pieces, ""])
    points = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    kinds, codes = _tables()
    near = np.minimum(points, TABLE_SIZE - 1)
    kind, code = kinds[near], codes[near]
    far = np.flatnonzero(points >= TABLE_SIZE)
    if len(far):  # emoji, mostly
        rare, which = np.unique(points[far], return_inverse=True)
        kind[far] = np.array([_kind(chr(point)) for point in rare.tolist()], np.uint8)[which]
        code[far] = mix(points[far].astype(np.uint64))
    alone, inside = kind == _ALONE, kind == _IN_WORD
    begins = alone.copy()
    begins[0] |= inside[0]
    begins[1:] |= inside[1:] & ~inside[:-1]
    ends = alone
    ends[:-1] |= inside[:-1] & ~inside[1:]  # the last character is a line's end
    starts = np.flatnonzero(begins)
    hashed = mix(_runs_of(code, starts, np.flatnonzero(ends) + 1))
    hashed &= ~np.uint64(1)
    hashed |= kind[starts] == _ALONE
    lengths = np.array([len(piece) + 1 for piece in pieces], np.int64)
    per_piece = np.diff(np.searchsorted(starts, np.concatenate(([0], lengths.cumsum()))))
    np.add.at(counts, np.array(of, np.int64), per_piece)
    return hashed


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.uint8], U64]:
    """Of each character of the basic plane: no letter, in a word, or alone; and 64 mixed bits."""
    kinds = np.full(TABLE_SIZE, _NO_LETTER, np.uint8)
    surrogates = " " * 0x800
    every = "".join(map(chr, range(0xD800))) + surrogates
    every += "".join(map(chr, range(0xE000, TABLE_SIZE)))
    for found in TOKEN.finditer(every):
        kinds[found.start() : found.end()] = _kind(found.group())
    return kinds, mix(np.arange(TABLE_SIZE, dtype=np.uint64))


@lru_cache(maxsize=4096)
def _kind(text: str) -> int:
    if TOKEN.match(text) is None:
        return _NO_LETTER
    return _IN_WORD if CHARACTER.match(text) is None else _ALONE


def count_words(found: U64, offsets: I64) -> NDArray[np.float64]:
    """The lengths of token sequences in words, [n]."""
    flags = np.concatenate(([0], np.cumsum(found & np.uint64(1), dtype=np.int64)))
    characters = np.diff(flags[offsets])
    out: NDArray[np.float64] = np.diff(offsets) - characters * (1 - CHARACTER_UNITS / WORD_UNITS)
    return out


def _runs_of(values: U64, starts: I64, ends: I64) -> U64:
    """A polynomial in the values of each run, which does not depend on where the run stands."""
    power, inverse = _powers(len(values))
    prefix = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * power, out=prefix[1:])
    return (prefix[ends] - prefix[starts]) * inverse[starts]


def _powers(count: int) -> tuple[U64, U64]:
    """The first powers of the base and of its inverse, modulo 2**64, [count] each."""
    size = 1 << max(16, (count - 1).bit_length())
    power, inverse = _powers_of_two(size) if size <= _KEPT else _make_powers(size)
    return power[:count], inverse[:count]


def _make_powers(size: int) -> tuple[U64, U64]:
    out = []
    for base in (_BASE, _INVERSE):
        powers = np.full(size, base, np.uint64)
        powers[0] = 1
        out.append(np.multiply.accumulate(powers))
    return out[0], out[1]


_powers_of_two = lru_cache(maxsize=2)(_make_powers)


def mix(values: U64) -> U64:
    """Spread 64 bits evenly, one to one (the finaliser of splitmix64, Steele et al. 2014)."""
    out = values ^ (values >> np.uint64(30))
    out *= np.uint64(0xBF58476D1CE4E5B9)
    out ^= out >> np.uint64(27)
    out *= np.uint64(0x94D049BB133111EB)
    out ^= out >> np.uint64(31)
    return out


def shingles(found: U64, offsets: I64, ngram: int) -> tuple[U64, I64]:
    """The shingles of many documents: hashes with repetitions [shingles], and offsets [n + 1].

    `found`: the tokens of all documents, one after another; document d has those from
    `offsets[d]` to `offsets[d + 1]`. A document shorter than one shingle is one shingle, and one
    without a token has none. Hashes are 64 bits of a polynomial in the tokens, mixed.
    """
    total = len(found)
    lengths = np.diff(offsets)
    if total == 0:
        return np.empty(0, np.uint64), np.zeros(len(offsets), np.int64)
    flags = (found & np.uint64(1)).astype(bool)
    starts = np.arange(total, dtype=np.int64)
    if flags.any():
        units = np.where(flags, CHARACTER_UNITS, WORD_UNITS).cumsum()
        before = np.concatenate(([0], units[:-1]))
        # One past the last token of the shingle that begins at each token.
        ends = np.searchsorted(units, before + ngram * WORD_UNITS, side="left") + 1
    else:
        ends = starts + ngram
    limit = np.repeat(offsets[1:], lengths)
    whole = ends <= limit
    # A document without a whole shingle: its first token starts the only one, which is all of it.
    filled = np.flatnonzero(lengths)
    firsts = offsets[:-1][filled]
    short = firsts[~np.logical_or.reduceat(whole, firsts)]
    whole[short] = True
    ends[short] = limit[short]
    counts = np.zeros(len(lengths), np.int64)
    counts[filled] = np.add.reduceat(whole, firsts, dtype=np.int64)
    values = mix(_runs_of(found, starts[whole], ends[whole]))
    return values, np.concatenate(([0], counts.cumsum()))


def shingle_set(text: str, ngram: int) -> U64:
    """The distinct shingles of one text, sorted."""
    return distinct(shingles(*tokens([text]), ngram)[0])


def distinct(values: U64) -> U64:
    """The values in order, each once; on these np.unique takes five times as long."""
    values = np.sort(values)
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def jaccard(one: U64, other: U64) -> float:
    """|A and B| / |A or B| of two sorted arrays without repetitions; 0 for two empty ones."""
    if not len(one) or not len(other):
        return 0.0
    both = np.concatenate((one, other))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared)
