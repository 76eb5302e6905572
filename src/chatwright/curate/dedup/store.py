"""The shingle sets of the rows that may be near-duplicates, in a file of the join's scratch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chatwright.curate.dedup.clusters import Pairs
from chatwright.curate.dedup.shingles import I64, U64, distinct, shingles

_TOKENS_AT_ONCE = 1 << 18
_SHINGLES_AT_ONCE = 1 << 20  # compared together: 8 MB of them
_ROWS_AT_ONCE = 256


class ShingleStore:
    """Sorted sets of 64-bit shingles by row number. 16 bytes per row in memory, the rest on disk.

    `positions`: the rows in question, in ascending order; row i of the store is `positions[i]`.
    """

    def __init__(self, path: Path, positions: I64) -> None:
        self._path = path
        self._positions = positions
        self._starts = np.zeros(len(positions), np.int64)
        self.sizes = np.zeros(len(positions), np.int64)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._end = 0
        self.compared = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)
        self._path.unlink(missing_ok=True)

    def read(self, keys: Path, ngram: int) -> None:
        """Take in the rows of one file of keys."""
        with pq.ParquetFile(keys) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["position", "tokens"]):
                self._take(batch, ngram)

    def _take(self, batch: pa.RecordBatch, ngram: int) -> None:
        there = np.asarray(batch.column("position"))
        rows = np.searchsorted(self._positions, there)
        rows[rows == len(self._positions)] = 0
        wanted = self._positions[rows] == there
        if not wanted.any():
            return
        column = batch.column("tokens").filter(pa.array(wanted))
        found = column.flatten().to_numpy(zero_copy_only=False)
        offsets = np.concatenate(([0], np.cumsum(column.value_lengths().fill_null(0))))
        rows = rows[wanted]
        first = 0
        for last in range(1, len(rows) + 1):
            full = offsets[last] - offsets[first] >= _TOKENS_AT_ONCE
            if full or last == len(rows):
                part = offsets[first : last + 1]
                hashes, ends = shingles(found[part[0] : part[-1]], part - part[0], ngram)
                for at in range(last - first):
                    self._put(int(rows[first + at]), distinct(hashes[ends[at] : ends[at + 1]]))
                first = last

    def _put(self, row: int, values: U64) -> None:
        data = values.tobytes()
        self._starts[row], self.sizes[row] = self._end, len(values)
        done = 0
        while done < len(data):
            done += os.pwrite(self._handle, data[done:], self._end + done)
        self._end += len(data)

    def get(self, row: int) -> U64:
        """The shingles of one row, sorted, without repetitions."""
        data = os.pread(self._handle, int(self.sizes[row]) * 8, int(self._starts[row]))
        return np.frombuffer(data, np.uint64)

    def similarity(self, row: int, others: Sequence[int]) -> list[float]:
        """The exact Jaccard indices of one row with some others."""
        if not others:
            return []
        self.compared += len(others)
        mine = self.get(row)
        out: list[float] = []
        batch: list[U64] = []
        size = 0
        for at, other in enumerate(others):
            batch.append(self.get(other))
            size += len(batch[-1])
            if size >= _SHINGLES_AT_ONCE or at == len(others) - 1:
                out.extend(_jaccards(mine, batch))
                batch, size = [], 0
        return out

    def verify(self, one: I64, other: I64, threshold: float) -> tuple[Pairs, NDArray[np.bool_]]:
        """The pairs of `threshold` or more, and which of those given they are, [pairs].

        Fastest where pairs with the same `one` follow each other.
        """
        value = np.zeros(len(one))
        # |A and B| / |A or B| is at most the smaller size over the greater.
        small = np.minimum(self.sizes[one], self.sizes[other])
        great = np.maximum(self.sizes[one], self.sizes[other])
        asked = np.flatnonzero((small > 0) & (small >= threshold * great))
        ends = np.append(np.flatnonzero(np.diff(one[asked])) + 1, len(asked))
        first = 0
        for last in ends.tolist() if len(asked) else []:
            which = asked[first:last]
            value[which] = self.similarity(int(one[which[0]]), other[which].tolist())
            first = last
        near = (value >= threshold) & (small > 0)
        return Pairs(one[near], other[near], value[near]), near


def _jaccards(mine: U64, others: Sequence[U64]) -> list[float]:
    sizes = np.array([len(other) for other in others], np.int64)
    shared = np.zeros(len(others), np.int64)
    if len(mine) and sizes.any():
        every = np.concatenate(others)
        at = np.searchsorted(mine, every)
        at[at == len(mine)] = 0
        filled = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[filled]
        shared[filled] = np.add.reduceat(mine[at] == every, starts, dtype=np.int64)
    either = sizes + len(mine) - shared
    values: list[float] = (shared / np.maximum(either, 1)).tolist()
    return values
