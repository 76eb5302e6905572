"""MinHash signatures (Broder 1997), cut into bands so that similar sets meet in a bucket.

Two sets of Jaccard index s agree in one hash with probability s, in a band of r hashes with s^r,
and in at least one of b bands with 1 - (1 - s^r)^b (Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3.4). What meets by chance is verified afterwards, so the bands are chosen to
miss little.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.dedup.shingles import I64, U64, mix

U32 = NDArray[np.uint32]

_SURE = 0.995  # chance of being found that chosen bands give, a third of the way up to 1
_AT_ONCE = 1 << 15  # shingles hashed together: their buffers stay in the processor's cache


def chance(similarity: float, bands: int, rows: int) -> float:
    """The probability that two sets of this Jaccard index share a bucket."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def choose_bands(threshold: float, hashes: int) -> tuple[int, int]:
    """Bands and rows: as many rows as still find 99.5 % of the pairs a third of the way up to 1.

    At 0.7 and 128 hashes these are 21 bands of 6 rows: pairs of 0.8 are found with 99.8 %.
    """
    aim = threshold + (1 - threshold) / 3
    for rows in range(hashes, 1, -1):
        if chance(aim, hashes // rows, rows) >= _SURE:
            return hashes // rows, rows
    return hashes, 1


def _functions(hashes: int, seed: int) -> tuple[U32, U32]:
    """Multipliers (odd) and addends of the hash functions, [hashes] each."""
    numbers = mix(np.arange(1, 2 * hashes + 1, dtype=np.uint64) + np.uint64(seed << 20))
    high = (numbers >> np.uint64(32)).astype(np.uint32)
    return high[:hashes] | np.uint32(1), high[hashes:]


def signatures(values: U64, offsets: I64, hashes: int, seed: int) -> U32:
    """The least hash under each function, [documents, hashes]; all ones for an empty document.

    `values`: well-mixed shingle hashes, repetitions allowed, and their offsets [documents + 1].
    """
    documents = len(offsets) - 1
    out = np.full((hashes, documents), np.iinfo(np.uint32).max, np.uint32)
    multiply, add = _functions(hashes, seed)
    lengths = np.diff(offsets)
    filled = np.flatnonzero(lengths)
    short = (values >> np.uint64(32)).astype(np.uint32)
    for first, last in runs(lengths[filled], _AT_ONCE):
        which = filled[first:last]
        begin, end = offsets[which[0]], offsets[which[-1] + 1]
        part = short[begin:end]
        starts = offsets[which] - begin
        buffer = np.empty_like(part)
        least = np.empty(len(which), np.uint32)
        for k in range(hashes):
            np.multiply(part, multiply[k], out=buffer)
            np.add(buffer, add[k], out=buffer)
            np.minimum.reduceat(buffer, starts, out=least)
            out[k, which] = least
    return np.ascontiguousarray(out.T)


def runs(lengths: I64, together: int) -> list[tuple[int, int]]:
    """Runs of neighbours, first and one past the last, that are at most so long together.

    What is longer alone is a run of its own.
    """
    out: list[tuple[int, int]] = []
    first = total = 0
    for at, length in enumerate(lengths.tolist()):
        if at > first and total + length > together:
            out.append((first, at))
            first, total = at, 0
        total += length
    if len(lengths) > first:
        out.append((first, len(lengths)))
    return out


def band_keys(signature: U32, bands: int, rows: int) -> U64:
    """One key of 64 bits per band, [documents, bands]; keys of different bands differ."""
    used = signature[:, : bands * rows].reshape(len(signature), bands, rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64), used.shape[:2]).copy()
    for row in range(rows):
        keys = mix(keys * np.uint64(0x9E3779B97F4A7C15) + used[:, :, row])
    return keys
