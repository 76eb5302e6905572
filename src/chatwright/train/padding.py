"""The other layout of a step: sequences beside each other, padded to the longest of their batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from chatwright.train.packing import IGNORED, Batch

_PAD = 0  # any token: nothing looks at it, and it carries no loss


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One sequence of a batch."""

    tokens: Tensor
    targets: Tensor
    by_token: dict[str, Tensor]
    whole: dict[str, Tensor]
    row_ids: tuple[str, ...]


def padded_batches(batches: Sequence[Batch], tokens_at_once: int) -> list[Batch]:
    """The sequences of packed `batches`, each padded at its end to the longest of its new batch.

    Sequences of similar length come together, longest first, as many as `tokens_at_once` tokens
    hold (at least one). A padding token comes after all real ones of its sequence and has the
    target `IGNORED`, so no loss changes beyond rounding; `Batch.padding` counts them. The sequences
    must not belong together (`Batch.together`).
    """
    sequences = [sequence for batch in batches for sequence in _split(batch)]
    sequences.sort(key=lambda sequence: -len(sequence.tokens))
    groups: list[list[_Sequence]] = []
    for sequence in sequences:
        if not groups or (len(groups[-1]) + 1) * len(groups[-1][0].tokens) > tokens_at_once:
            groups.append([])
        groups[-1].append(sequence)
    return [_padded(group) for group in groups]


def _split(batch: Batch) -> list[_Sequence]:
    if batch.together != 1:
        raise ValueError("sequences that belong together cannot be padded apart")
    found = []
    start = 0
    for number, length in enumerate(batch.lengths):
        part = slice(start, start + length)
        found.append(
            _Sequence(
                batch.tokens[0, part],
                batch.targets[0, part],
                {name: values[0, part] for name, values in batch.extra.items() if values.ndim == 2},
                {name: values[number] for name, values in batch.extra.items() if values.ndim == 1},
                batch.row_ids,
            )
        )
        start += length
    return found


def _padded(group: Sequence[_Sequence]) -> Batch:
    longest = len(group[0].tokens)

    def flat(values: Sequence[Tensor], value: float) -> Tensor:
        return pad_sequence(list(values), batch_first=True, padding_value=value).view(1, -1)

    extra = {n: flat([s.by_token[n] for s in group], 0) for n in group[0].by_token}
    extra |= {n: torch.stack([s.whole[n] for s in group]) for n in group[0].whole}
    tokens = flat([s.tokens for s in group], _PAD)
    return Batch(
        tokens=tokens,
        targets=flat([s.targets for s in group], IGNORED),
        positions=torch.arange(longest, device=tokens.device).repeat(len(group))[None],
        lengths=(longest,) * len(group),
        row_ids=tuple(dict.fromkeys(row for s in group for row in s.row_ids)),
        extra=extra,
        padding=tokens.numel() - sum(len(s.tokens) for s in group),
    )
