"""Sequences of different lengths, put together so that no computation goes into padding."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""The target of a token that carries no loss (the value that Hugging Face uses)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences laid end to end, without padding: N tokens in all.

    `tokens`, `targets` and `positions` are int64 [1, N]. `targets[0, i]` is the token that comes
    after `tokens[0, i]` in its sequence, or `IGNORED`. Positions restart at 0 in each sequence;
    `lengths` are the sequences' lengths in order. `row_ids` name the rows of the dataset that they
    came from.
    """

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    row_ids: tuple[str, ...]

    @property
    def segment_ids(self) -> Tensor:
        """Which sequence each token belongs to: int64 [1, N], counted from 0."""
        lengths = torch.tensor(self.lengths, device=self.tokens.device)
        return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)[
            None
        ]

    def padded(self, multiple: int) -> Batch:
        """The same batch with a last sequence of ignored tokens, up to a multiple of tokens."""
        more = -self.tokens.shape[1] % multiple
        if not more:
            return self
        return Batch(
            tokens=F.pad(self.tokens, (0, more)),
            targets=F.pad(self.targets, (0, more), value=IGNORED),
            positions=torch.cat([self.positions, torch.arange(more)[None].to(self.positions)], 1),
            lengths=(*self.lengths, more),
            row_ids=self.row_ids,
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        tokens, targets, positions = (
            t.to(device) for t in (self.tokens, self.targets, self.positions)
        )
        return Batch(tokens, targets, positions, self.lengths, self.row_ids)

    @property
    def supervised(self) -> int:
        """How many tokens carry loss."""
        return int((self.targets != IGNORED).sum())


def make_batch(sequences: Sequence[tuple[np.ndarray, np.ndarray]], row_ids: Sequence[str]) -> Batch:
    """Lay (inputs, targets) pairs of equal length end to end."""
    lengths = tuple(len(inputs) for inputs, _ in sequences)
    return Batch(
        tokens=torch.from_numpy(np.concatenate([s[0] for s in sequences]).astype(np.int64))[None],
        targets=torch.from_numpy(np.concatenate([s[1] for s in sequences]).astype(np.int64))[None],
        positions=torch.cat([torch.arange(n) for n in lengths])[None],
        lengths=lengths,
        row_ids=tuple(dict.fromkeys(row_ids)),
    )


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put items into as few rows of `capacity` as best-fit decreasing finds.

    Longest first, each goes to the fullest row that still holds it; a new row is opened where none
    does. Returns the items' indices by row. Each item is in exactly one row; an item longer than
    `capacity` is a `ValueError`. Equal lengths keep their order, so the result is a function of
    the input alone. Takes O(n log n) comparisons.
    """
    rows: list[list[int]] = []
    # Rows that have room, as (room left, row number) in order: the first that fits fits best.
    open_rows: list[tuple[int, int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        size = int(lengths[item])
        if not 0 < size <= capacity:
            raise ValueError(f"an item of length {size} does not fit a row of {capacity}")
        found = bisect_left(open_rows, (size, -1))
        if found == len(open_rows):
            number, room = len(rows), capacity
            rows.append([])
        else:
            room, number = open_rows.pop(found)
        rows[number].append(item)
        if room > size:
            insort(open_rows, (room - size, number))
    return rows
