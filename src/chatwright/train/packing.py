"""Sequences of different lengths, put together so that no computation goes into padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    came from. `extra` is what an objective adds: tensors [1, N] by token, or [S] by sequence.
    `together` neighbouring sequences belong together and are never parted. `padding` says how many
    of the tokens stand for nothing.
    """

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    row_ids: tuple[str, ...]
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    together: int = 1
    padding: int = 0

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
        return replace(
            self,
            tokens=F.pad(self.tokens, (0, more)),
            targets=F.pad(self.targets, (0, more), value=IGNORED),
            positions=torch.cat([self.positions, torch.arange(more)[None].to(self.positions)], 1),
            lengths=(*self.lengths, more),
            padding=self.padding + more,
            extra={
                name: F.pad(values, (0, more if values.ndim == 2 else 1))
                for name, values in self.extra.items()
            },
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            targets=self.targets.to(device),
            positions=self.positions.to(device),
            extra={name: values.to(device) for name, values in self.extra.items()},
        )

    @property
    def ends(self) -> Tensor:
        """Where the last token of each sequence is: int64 [S]."""
        return torch.tensor(self.lengths, device=self.tokens.device).cumsum(0) - 1

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
