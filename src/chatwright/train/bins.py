"""Best-fit packing of millions of sequences in seconds."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Rows:
    """Items by row: row r holds `items[starts[r] : starts[r + 1]]`."""

    items: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self.items[self.starts[row] : self.starts[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))


@dataclass(frozen=True, slots=True)
class _Alike:
    """`count` rows filled alike. A part (start, k) of the filling says that the first of them holds
    the items start … start + k - 1, longest first, the second the k after these, and so on.
    """

    count: int
    filling: tuple[tuple[int, int], ...]

    def cut(self, count: int) -> tuple[_Alike, _Alike]:
        """The first `count` rows, and the others."""
        after = tuple((start + count * k, k) for start, k in self.filling)
        return _Alike(count, self.filling), _Alike(self.count - count, after)

    def with_part(self, start: int, k: int) -> _Alike:
        return _Alike(self.count, (*self.filling, (start, k)))


def pack(lengths: Sequence[int] | np.ndarray, capacity: int) -> Rows:
    """Put items into as few rows of `capacity` as best-fit decreasing finds.

    Longest first, each goes to the fullest row that still holds it; a new row is opened where none
    does. Each item is in exactly one row; an item longer than `capacity` is a `ValueError`. Equal
    lengths keep their order, so the result is a function of the input alone.

    Items of one length, and rows that are filled alike, are placed together (the histogram of Krell
    et al. 2021): the time goes with the number of different lengths, not of items.
    """
    sizes = np.asarray(lengths)
    if len(sizes) and not 0 < sizes.min() <= sizes.max() <= capacity:
        wrong = int(sizes[(sizes <= 0) | (sizes > capacity)][0])
        raise ValueError(f"an item of length {wrong} does not fit a row of {capacity}")
    # Of two-byte numbers, a stable sort is a radix sort.
    small = np.dtype(np.uint16 if capacity < 1 << 16 else np.int64)
    order = np.argsort((capacity - sizes).astype(small), kind="stable").astype(_number_type(sizes))
    counts = np.bincount(sizes.astype(small), minlength=1)
    by_room: dict[int, list[_Alike]] = {}
    rooms: list[int] = []  # those of `by_room`, in order
    start = 0

    def put(group: _Alike, room: int) -> None:
        if not group.count:
            return
        if room not in by_room:
            by_room[room] = []
            insort(rooms, room)
        by_room[room].append(group)

    for size in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[size])
        while left:
            at = bisect_left(rooms, size)
            if at < len(rooms):
                room = rooms[at]
                group = by_room[room].pop()
                if not by_room[room]:
                    del by_room[room], rooms[at]
            else:
                room, group = capacity, _Alike(left, ())  # as many new rows as could be needed
            # The fullest row that fits stays the fullest until nothing more fits.
            each = room // size
            full = min(group.count, left // each)
            filled, rest = group.cut(full)
            put(filled.with_part(start, each), room - each * size)
            start, left = start + full * each, left - full * each
            if left and rest.count:  # fewer than `each`: the last items of this length
                last, rest = rest.cut(1)
                put(last.with_part(start, left), room - left * size)
                start, left = start + left, 0
            if room < capacity or group.filling:
                put(rest, room)
    return _laid_out([g for room in rooms for g in by_room[room]], order)


def _number_type(of: np.ndarray) -> type[np.signedinteger[Any]]:
    """The type for positions in an array: half the memory where it is shorter than 2³¹."""
    return np.int32 if len(of) < 1 << 31 else np.int64


def _laid_out(groups: Sequence[_Alike], order: np.ndarray) -> Rows:
    items = np.empty_like(order)
    starts = [np.zeros(1, np.int64)]
    at = 0
    for group in groups:
        parts = [
            order[start : start + group.count * k].reshape(group.count, k)
            for start, k in group.filling
        ]
        rows = np.concatenate(parts, axis=1)
        items[at : at + rows.size] = rows.reshape(-1)
        starts.append(at + np.arange(1, group.count + 1) * rows.shape[1])
        at += rows.size
    return Rows(items, np.concatenate(starts))
