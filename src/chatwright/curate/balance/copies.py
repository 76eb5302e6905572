"""How often each row of a group is taken: chosen by a hash, so that order never matters."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from chatwright.records import Row, content_id

Counts = NDArray[np.int32]


def row_rank(row_id: str, seed: int) -> int:
    """The row's place among all rows, 0 … 2⁶⁴ − 1: of its id and the seed alone."""
    digest = hashlib.blake2b(f"{seed}:{row_id}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def copies_of(
    ranks: NDArray[np.uint64], sizes: NDArray[np.float64], amount: float, *, whole_rows: bool
) -> Counts:
    """How often each row of one group is taken, so that their sizes come to `amount`.

    All rows go in as often as that goes; of the rest, those of lowest rank: exactly so many where a
    row counts as one (`whole_rows`), otherwise up to the number that comes nearest.
    """
    count = len(sizes)
    total = float(sizes.sum())
    out = np.zeros(count, dtype=np.int32)
    if not count or total <= 0:
        return out
    order = np.argsort(ranks, kind="stable")
    if whole_rows:
        times, rest = divmod(round(amount), count)
        out += times
        out[order[:rest]] += 1
        return out
    times = int(amount / total + 1e-9)
    out += times
    wanted = amount - times * total
    sums = np.concatenate([[0.0], np.cumsum(sizes[order])])
    nearest = min(int(np.searchsorted(sums, wanted)), count)
    if nearest > 0 and sums[nearest] - wanted > wanted - sums[nearest - 1]:
        nearest -= 1
    out[order[:nearest]] += 1
    return out


def repeat_of(row: Row, number: int) -> Row:
    """The row once more, the `number`-th time (2, 3 …): an id of its own, the row its parent.

    Training reads rows and nothing else, so a repeat must be a row; and whoever objects to the
    original must find it.
    """
    name = content_id(row.source, f"repeated\n{row.id}\n{number}")
    return replace(row, id=name, parents=[row.id], meta={**row.meta, "repeat": number})
