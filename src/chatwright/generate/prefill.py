"""How prompts are read side by side: whose turn it is, and how much of a step each gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.generate.group import Group
from chatwright.generate.group import Sequence as Row
from chatwright.generate.memory import Memory


def share(budget: int, needs: Sequence[int]) -> list[int]:
    """Divide `budget` among `needs`, which stand in the order of arrival.

    Half goes to those that need least, who are done soonest; the other half, and what is left, to
    those that came first, who are so never kept waiting by a stream of short ones.

    >>> share(100, [500, 500, 10])
    [90, 0, 10]
    """
    shares = [0] * len(needs)
    order = range(len(needs))
    half = budget // 2
    for i in sorted(order, key=lambda i: needs[i]):
        shares[i] = min(needs[i], half)
        half -= shares[i]
    budget -= sum(shares)
    for i in order:
        more = min(needs[i] - shares[i], budget)
        shares[i] += more
        budget -= more
    return shares


@dataclass(slots=True)
class Reader:
    """A sequence whose tokens are being read, and how many it wants to read at most."""

    group: Group
    sequence: Row
    left: int


def leaders(readers: list[Reader], memory: Memory) -> list[Reader]:
    """Of those that go on with the same block, the one that has least to read; in the same order.

    The others wait for it, and then take its block instead of computing it again.
    """
    if len(readers) == 1:
        return readers
    names = [memory.next_name(reader.sequence) for reader in readers]
    claimed = {name for name, begun in names if begun}
    chosen: set[int] = set()
    for i in sorted(range(len(readers)), key=lambda i: readers[i].left):
        name, begun = names[i]
        if name is None or begun or name not in claimed:
            chosen.add(i)
            claimed.add(name)
    return [reader for i, reader in enumerate(readers) if i in chosen]
