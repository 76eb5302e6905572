"""Clusters of near-duplicates and the survivors in them: pure functions over verified pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.dedup.shingles import I64

F64 = NDArray[np.float64]
# The Jaccard indices of one row with some others.
Similarity = Callable[[int, Sequence[int]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Verified pairs of rows: `one` < `other`, and their Jaccard index, [pairs] each."""

    one: I64
    other: I64
    value: F64

    def __len__(self) -> int:
        return len(self.one)

    @classmethod
    def joined(cls, some: Sequence[Pairs]) -> Pairs:
        """All of them, one after another."""
        if not some:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
        return cls(
            np.concatenate([pairs.one for pairs in some]),
            np.concatenate([pairs.other for pairs in some]),
            np.concatenate([pairs.value for pairs in some]),
        )


class Clusters:
    """Union-find (Tarjan 1975) over the rows that are in a pair: others take no memory.

    A cluster's root is its least row, so the roots do not depend on the order of the unions.
    """

    def __init__(self, pairs: Pairs | None = None) -> None:
        self._parent: dict[int, int] = {}
        if pairs is not None:
            self.add(pairs)

    def add(self, pairs: Pairs) -> None:
        """Join the two rows of each pair."""
        parent = self._parent
        for one, other in zip(pairs.one.tolist(), pairs.other.tolist(), strict=True):
            a, b = self.root(one), self.root(other)
            parent.setdefault(a, a)
            parent.setdefault(b, b)
            if a != b:
                parent[max(a, b)] = min(a, b)

    def root(self, row: int) -> int:
        """The least row of the cluster; a row in no pair is its own."""
        parent = self._parent
        above = parent.get(row, row)
        while above != row:
            next_above = parent[above]
            parent[row] = next_above  # path halving: every second row is joined to its grandparent
            row, above = next_above, parent[next_above]
        return row

    def roots(self, rows: I64) -> I64:
        """The roots of these rows."""
        out = rows.copy()
        for at, row in enumerate(rows.tolist()):
            if row in self._parent:
                out[at] = self.root(row)
        return out


@dataclass(slots=True)
class Assigned:
    """Who stays for whom: `survivor` is -1 for a row that stays, [rows]; `value` their Jaccard."""

    survivor: I64
    value: F64

    @classmethod
    def nobody(cls, rows: int) -> Assigned:
        return cls(np.full(rows, -1, np.int64), np.zeros(rows))

    @property
    def alive(self) -> NDArray[np.bool_]:
        return self.survivor < 0


def assign(
    assigned: Assigned, pairs: Pairs, rank: I64, threshold: float, similarity: Similarity
) -> None:
    """Choose the survivors of every cluster of living rows, and drop what is like one of them.

    In a cluster the row of the least `rank` stays, and the rows that are joined to it by verified
    pairs go if they are themselves as similar to it as `threshold`: each is compared with it, and
    only through such rows does the walk go on. Then the best of the others is next. So every row
    that goes has a Jaccard index of `threshold` or more with the row that stays for it. A walk
    passes each pair twice at most: the cost is linear in the pairs.
    """
    for members, near in _clusters(pairs):
        for survivor in sorted(members, key=rank.__getitem__):
            if assigned.survivor[survivor] >= 0:
                continue
            seen = {survivor}
            edge = [survivor]
            while edge:
                found = {other for row in edge for other in near[row]} - seen
                seen |= found
                ahead = sorted(row for row in found if _may_go(row, survivor, assigned, rank))
                known = near[survivor]
                asked = [row for row in ahead if row not in known]
                values = dict(zip(asked, similarity(survivor, asked), strict=True))
                edge = []
                for row in ahead:
                    value = values[row] if row in values else known[row]
                    if value >= threshold:
                        assigned.survivor[row] = survivor
                        assigned.value[row] = value
                        edge.append(row)
    _follow(assigned, threshold, similarity)


def _may_go(row: int, survivor: int, assigned: Assigned, rank: I64) -> bool:
    return bool(assigned.survivor[row] < 0 and rank[row] > rank[survivor])


def _clusters(pairs: Pairs) -> Iterator[tuple[list[int], dict[int, dict[int, float]]]]:
    """Cluster by cluster: its rows, and for each the rows it is paired with."""
    if not len(pairs):
        return
    root = Clusters(pairs).roots(pairs.one)
    order = np.argsort(root, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(root[order])) + 1):
        near: dict[int, dict[int, float]] = {}
        for a, b, value in zip(
            pairs.one[part].tolist(),
            pairs.other[part].tolist(),
            pairs.value[part].tolist(),
            strict=True,
        ):
            near.setdefault(a, {})[b] = value
            near.setdefault(b, {})[a] = value
        yield list(near), near


def _follow(assigned: Assigned, threshold: float, similarity: Similarity) -> None:
    """A row whose survivor has gone itself goes for that one's survivor, or comes back."""
    gone = np.flatnonzero(assigned.survivor >= 0)
    lost = gone[assigned.survivor[assigned.survivor[gone]] >= 0]
    by_survivor: dict[int, list[int]] = {}
    for row in lost.tolist():
        last = int(assigned.survivor[row])
        while assigned.survivor[last] >= 0:
            last = int(assigned.survivor[last])
        by_survivor.setdefault(last, []).append(row)
    for survivor, rows in sorted(by_survivor.items()):
        for row, value in zip(rows, similarity(survivor, rows), strict=True):
            is_near = value >= threshold
            assigned.survivor[row] = survivor if is_near else -1
            assigned.value[row] = value if is_near else 0.0
