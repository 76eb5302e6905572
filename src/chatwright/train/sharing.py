"""A step's sequences, shared among the ranks so that each has about as many tokens to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from chatwright.train.packing import Batch


@dataclass(frozen=True, slots=True)
class Part:
    """A micro-batch of one rank. One that does not count is computed only to keep step."""

    batch: Batch
    counts: bool = True


def share(batches: Sequence[Batch], rank: int, size: int, tokens_at_once: int) -> list[Part]:
    """The micro-batches of `rank` of `size`, each of at most `tokens_at_once` tokens.

    Every sequence goes to exactly one rank: longest first, to the one that has the least so far.
    Neighbours that belong together (`Batch.together`) stay so. A pure function of its arguments, so
    that the ranks need not talk. All ranks get the same number of micro-batches, because each
    stands for collective operations: one with fewer computes its last one again, without effect.
    A sequence, or neighbours that belong together, longer than `tokens_at_once` are a micro-batch.
    """
    if size == 1:
        return [Part(batch) for batch in batches]
    units = [unit for batch in batches for unit in _units(batch)]
    load = [0] * size
    owned: list[list[int]] = [[] for _ in range(size)]
    for number in sorted(range(len(units)), key=lambda i: -units[i].tokens.shape[1]):
        least = min(range(size), key=load.__getitem__)
        owned[least].append(number)
        load[least] += units[number].tokens.shape[1]
    grouped = [_grouped([units[i] for i in sorted(numbers)], tokens_at_once) for numbers in owned]
    most = max(len(groups) for groups in grouped)
    parts = [Part(join(group)) for group in grouped[rank]]
    idle = parts[-1].batch if parts else min(units, key=lambda unit: unit.tokens.shape[1])
    return parts + [Part(idle, counts=False)] * (most - len(parts))


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of the sequences of several, in order."""
    first = batches[0]
    if len(batches) == 1:
        return first
    return replace(
        first,
        tokens=torch.cat([b.tokens for b in batches], 1),
        targets=torch.cat([b.targets for b in batches], 1),
        positions=torch.cat([b.positions for b in batches], 1),
        lengths=tuple(n for b in batches for n in b.lengths),
        row_ids=tuple(dict.fromkeys(row for b in batches for row in b.row_ids)),
        extra={
            name: torch.cat([b.extra[name] for b in batches], values.ndim - 1)
            for name, values in first.extra.items()
        },
    )


def _units(batch: Batch) -> list[Batch]:
    """The batch cut into what may not be cut further. Each part names the rows of the whole."""
    found = []
    token = 0
    for first in range(0, len(batch.lengths), batch.together):
        last = first + batch.together
        lengths = batch.lengths[first:last]
        cut = slice(token, token + sum(lengths))
        token = cut.stop
        found.append(
            replace(
                batch,
                tokens=batch.tokens[:, cut],
                targets=batch.targets[:, cut],
                positions=batch.positions[:, cut],
                lengths=lengths,
                padding=0,
                extra={
                    name: values[:, cut] if values.ndim == 2 else values[first:last]
                    for name, values in batch.extra.items()
                },
            )
        )
    return found


def _grouped(units: Sequence[Batch], tokens_at_once: int) -> list[list[Batch]]:
    groups: list[list[Batch]] = []
    room = 0
    for unit in units:
        tokens = unit.tokens.shape[1]
        if not groups or tokens > room:
            groups.append([])
            room = tokens_at_once
        groups[-1].append(unit)
        room -= tokens
    return groups
