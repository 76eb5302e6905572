"""Runs of words and characters that test items consist of, and where a text holds them.

A token is a run of letters and digits, or a single Han, kana or Hangul character; case, width and
punctuation do not count. An item of English words is known by its runs of 13 tokens (Brown et al.
2020, appendix C). A Chinese one by its runs of 21: a Chinese word has 1.6 characters on average
(`curate/words.py`), so 21 characters are as long, and as rare, as 13 words.

Tokens are numbered by the items' own vocabulary. A word that no item has gets no number, and no run
across it is looked at. Equal numbers are equal words, so comparing a hit's numbers with the item's
rules out that two runs merely share a hash.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.words import HAN

WORDS = 13
CHARACTERS = 21
# Less ("Question: dresser") stands in half of all books and tells nothing.
LEAST_WORDS = 8
LEAST_CHARACTERS = 13

_SINGLE = f"{HAN}\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7af"
_TOKEN = re.compile(f"[{_SINGLE}]|[^\\W_{_SINGLE}]+")
_ONE = re.compile(f"[{_SINGLE}]")
_UNKNOWN = -1
_REMEMBERED = 500_000  # spellings of one corpus kept beside the items' own words
_FILTER_PLACES_PER_RUN = 16
_LONG = 2_000_000  # characters
_SHOWN = 100  # characters of an item that are kept to name it by

Numbers = NDArray[np.int32]
Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]


def tokens(text: str) -> list[str]:
    """The text's tokens as they are compared: lower case, full width folded."""
    return [_folded(token) for token in _TOKEN.findall(text)]


def _folded(token: str) -> str:
    return token.lower() if token.isascii() else unicodedata.normalize("NFKC", token).lower()


def is_by_characters(found: Sequence[str]) -> bool:
    """Whether at least half of the tokens are single characters: then runs are the longer ones."""
    return 2 * sum(len(t) == 1 and _ONE.match(t) is not None for t in found) >= max(1, len(found))


@dataclass(frozen=True, slots=True)
class Item:
    """A test item: the benchmark's name, where it stands, and its texts in order.

    `row_id` is set where it is a row of a dataset.
    """

    benchmark: str
    where: str
    texts: tuple[str, ...]
    row_id: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An item found in a text: `found` of its `total` runs, which is the `share`."""

    item: int
    found: int
    total: int

    @property
    def share(self) -> float:
        return self.found / self.total


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a run is, and the fewest tokens by which a shorter text is known as a whole."""

    words: int = WORDS
    characters: int = CHARACTERS
    least_words: int = LEAST_WORDS
    least_characters: int = LEAST_CHARACTERS

    def of(self, found: Sequence[str]) -> tuple[int, int]:
        """(length of a run, fewest tokens) for a text of these tokens."""
        if is_by_characters(found):
            return self.characters, self.least_characters
        return self.words, self.least_words


def ranges_of(pieces: Sequence[Sequence[str]], lengths: Lengths) -> list[tuple[int, int, int]]:
    """By which runs an item of these texts' tokens is known: (start, end, size) in all of them.

    All runs of the texts joined (a question goes on into its answer); of a text shorter than a run,
    and of the whole where it is shorter, all of it, if it has the fewest tokens that tell anything.
    Nothing where all of it is too short.
    """
    whole = [token for piece in pieces for token in piece]
    size, least = lengths.of(whole)
    found = [(0, len(whole), min(size, len(whole)))] if len(whole) >= min(size, least) else []
    start = 0
    for piece in pieces:
        limit, fewest = lengths.of(piece)
        if fewest <= len(piece) < limit:
            found.append((start, start + len(piece), len(piece)))
        start += len(piece)
    return found


class _Vocabulary(dict[str, int]):
    """Token as it is spelt → its number; −1 for one that no item has."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}
        self._room = _REMEMBERED

    def learn(self, token: str) -> int:
        return self.known.setdefault(token, len(self.known))

    def __missing__(self, spelt: str) -> int:
        number = self.known.get(_folded(spelt), _UNKNOWN)
        if self._room > 0:
            self._room -= 1
            self[spelt] = number
        return number


@dataclass(slots=True)
class _Table:
    """All runs of one length: hashes in order, where each begins in the pool, whose it is."""

    size: int
    hashes: Hashes
    starts: Positions
    first_owner: Positions  # [runs + 1]: where each run's items begin in `owners`
    owners: Numbers
    filter: NDArray[np.bool_]
    shift: np.uint64


@dataclass(slots=True)
class Index:
    """The runs of many items; made once, then asked of every row.

    Memory, for each different run: 8 bytes of hash, 8 of place, 4 or more for whose it is, 16 to 32
    of filter. 18,465 items of HellaSwag, LAMBADA and BoolQ are 1.8 million runs and take 210 MB. Of
    an item's texts only the beginning is kept.
    """

    items: list[Item]
    totals: Numbers
    short: list[int]
    _vocabulary: _Vocabulary
    _pool: Numbers
    _tables: list[_Table] = field(default_factory=list)
    _marks: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    _base: np.uint64 = field(default_factory=lambda: np.uint64(1))

    @classmethod
    def of(cls, items: Iterable[Item], lengths: Lengths | None = None) -> Index:
        """Index the items. `short` lists those of which no text is long enough to tell anything."""
        lengths = lengths or Lengths()
        vocabulary = _Vocabulary()
        kept: list[Item] = []
        short: list[int] = []
        pool: list[Numbers] = []
        ranges: dict[int, list[tuple[int, int, int]]] = {}  # size → (start, end, item)
        at = 0
        for number, item in enumerate(items):
            begins = " ".join(" ".join(item.texts)[: 2 * _SHOWN].split())[:_SHOWN]
            kept.append(replace(item, texts=(begins,)))
            pieces = [tokens(text) for text in item.texts]
            found = ranges_of(pieces, lengths)
            if not found:
                short.append(number)
                continue
            whole = [vocabulary.learn(token) for piece in pieces for token in piece]
            pool.append(np.asarray(whole, dtype=np.int32))
            for start, end, size in found:
                ranges.setdefault(size, []).append((at + start, at + end, number))
            at += len(whole)
        joined = np.concatenate(pool) if pool else np.empty(0, dtype=np.int32)
        totals = np.zeros(len(kept), dtype=np.int32)
        index = cls(kept, totals, short, vocabulary, joined)
        for attempt in range(64):  # two runs with one 64-bit hash: so unlikely that it never came
            index._marks = _random(len(vocabulary.known), attempt)
            index._base = np.uint64(int(_random(1, attempt + 1_000)[0]) | 1)
            tables = [index._table(size, places) for size, places in sorted(ranges.items())]
            if None not in tables:
                index._tables = [table for table in tables if table is not None]
                for table in index._tables:
                    totals += np.bincount(table.owners, minlength=len(kept)).astype(np.int32)
                return index
        raise AssertionError("no hash of 64 bits tells the runs apart")

    def _table(self, size: int, ranges: Sequence[tuple[int, int, int]]) -> _Table | None:
        begin, end, item = np.asarray(ranges, dtype=np.int64).T
        counts = end - begin - size + 1
        offsets = np.repeat(begin - np.cumsum(counts) + counts, counts)
        starts = offsets + np.arange(int(counts.sum()))
        owners = np.repeat(item, counts)
        hashes = self._hashes(self._pool, size)[starts]
        order = np.lexsort((owners, hashes))
        hashes, starts, owners = hashes[order], starts[order], owners[order]
        first = np.concatenate([[True], hashes[1:] != hashes[:-1]])
        run = np.cumsum(first) - 1
        if not self._all_equal(starts, starts[first][run], size):
            return None
        once = first | np.concatenate([[True], owners[1:] != owners[:-1]])
        first_owner = np.concatenate([np.flatnonzero(first[once]), [int(once.sum())]])
        hashes = hashes[first]
        bits = max(10, int(np.ceil(np.log2(len(hashes) * _FILTER_PLACES_PER_RUN))))
        shift = np.uint64(64 - bits)
        sieve = np.zeros(1 << bits, dtype=np.bool_)
        sieve[hashes >> shift] = True
        kept = owners[once].astype(np.int32)
        return _Table(size, hashes, starts[first], first_owner, kept, sieve, shift)

    def _all_equal(self, first: Positions, second: Positions, size: int) -> bool:
        """Whether the runs at these places of the pool say the same, pair by pair."""
        return all(
            bool((self._pool[first + place] == self._pool[second + place]).all())
            for place in range(size)
        )

    def _hashes(self, numbers: Numbers, size: int) -> Hashes:
        """A hash of each run of `size` numbers; wrong where an unknown one is among them."""
        count = len(numbers) - size + 1
        marks = self._marks[numbers]
        out = np.zeros(count, dtype=np.uint64)
        with np.errstate(over="ignore"):
            for place in range(size):
                out *= self._base
                out += marks[place : place + count]
            # The high bits choose the filter's place: mix them well.
            out ^= out >> np.uint64(32)
            out *= np.uint64(0x9E3779B97F4A7C15)
        return out

    def _numbers(self, text: str) -> Numbers:
        number = self._vocabulary.__getitem__
        if len(text) > _LONG:  # a list of all its tokens would take hundreds of megabytes
            return np.fromiter((number(m.group()) for m in _TOKEN.finditer(text)), np.int32)
        found = _TOKEN.findall(text)
        return np.fromiter(map(number, found), np.int32, len(found))

    def _hits(self, numbers: Numbers) -> list[tuple[_Table, Positions, Positions]]:
        """Per length: where runs begin in the text, and which runs of the table they are."""
        found = []
        # How many known tokens stand from each place on without a gap.
        unknown = np.flatnonzero(numbers == _UNKNOWN)
        ends = np.append(unknown, len(numbers))
        gap = ends[np.searchsorted(unknown, np.arange(len(numbers)))] - np.arange(len(numbers))
        for table in self._tables:
            starts = np.flatnonzero(gap >= table.size)
            if not len(starts):
                continue
            hashes = self._hashes(np.maximum(numbers, 0), table.size)[starts]
            maybe = table.filter[hashes >> table.shift]
            starts, hashes = starts[maybe], hashes[maybe]
            if not len(starts):
                continue
            places = np.minimum(np.searchsorted(table.hashes, hashes), len(table.hashes) - 1)
            same = table.hashes[places] == hashes
            starts, places = starts[same], places[same]
            equal = np.ones(len(starts), dtype=np.bool_)
            for place in range(table.size):
                equal &= numbers[starts + place] == self._pool[table.starts[places] + place]
            if equal.any():
                found.append((table, starts[equal], places[equal]))
        return found

    def find(self, text: str) -> list[Hit]:
        """The items of which the text holds a run, the one with the largest share first."""
        hits, _ = self._search(self._numbers(text))
        return hits

    def _search(self, numbers: Numbers) -> tuple[list[Hit], list[Any]]:
        places = self._hits(numbers) if len(numbers) else []
        if not places:
            return [], []
        counts = np.zeros(len(self.items), dtype=np.int64)
        for table, _, runs in places:
            for run in np.unique(runs).tolist():
                start, end = table.first_owner[run : run + 2].tolist()
                counts[table.owners[start:end]] += 1
        found = np.flatnonzero(counts)
        hits = [Hit(int(i), int(counts[i]), int(self.totals[i])) for i in found.tolist()]
        hits.sort(key=lambda hit: (-hit.share, hit.item))
        return hits, places

    def spans(self, text: str, share: float = 0.0) -> tuple[list[Hit], list[tuple[int, int]]]:
        """Items of which the text has more than `share`, and the characters that are theirs.

        The spans are [start, end) in the text, in order, and do not overlap.
        """
        numbers = self._numbers(text)
        hits, places = self._search(numbers)
        hits = [hit for hit in hits if hit.share > share]
        if not hits:
            return [], []
        wanted = np.zeros(len(self.items), dtype=np.bool_)
        wanted[[hit.item for hit in hits]] = True
        covered = np.zeros(len(numbers) + 1, dtype=np.int64)
        for table, starts, runs in places:
            mine = [
                wanted[table.owners[table.first_owner[r] : table.first_owner[r + 1]]].any()
                for r in runs.tolist()
            ]
            begin = starts[np.asarray(mine, dtype=np.bool_)]
            np.add.at(covered, begin, 1)
            np.add.at(covered, begin + table.size, -1)
        inside = np.cumsum(covered)[:-1] > 0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
        pairs = edges.reshape(-1, 2)
        wanted_tokens = set(pairs[:, 0].tolist()) | set((pairs[:, 1] - 1).tolist())
        bounds = {
            place: match.span()
            for place, match in enumerate(_TOKEN.finditer(text))
            if place in wanted_tokens
        }
        return hits, [(bounds[a][0], bounds[b - 1][1]) for a, b in pairs.tolist()]


def _random(count: int, seed: int) -> Hashes:
    """Splitmix64: the same numbers on every machine."""
    with np.errstate(over="ignore"):
        step = np.uint64(0x9E3779B97F4A7C15)
        value = (np.arange(count, dtype=np.uint64) + np.uint64(seed * 1_000_003 + 1)) * step
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(value ^ (value >> np.uint64(31)))
