"""Who sees which pair next, and on which side: pure functions of a secret key and of what is done.

A judge sees a pair once at most. A fixed share of the pairs, the same for everybody, is meant for
all judges, so that their agreement can be computed; of the rest, those come first that have the
fewest judgements.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

from chatwright.records import canonical_json

Unit = tuple[str, ...]  # (item, model, model) to compare, (item, model) to rate
_ID_BYTES = 12


def keyed(key: str, *parts: str) -> bytes:
    """A digest that nobody can compute without the key (keyed BLAKE2b)."""
    text = canonical_json(list(parts)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key.encode()[:64], digest_size=16).digest()


def task_id(key: str, judge: str, unit: Unit) -> str:
    """The opaque name of what one judge is shown."""
    return keyed(key, "task", judge, *unit)[:_ID_BYTES].hex()


def units(items: Sequence[str], models: Sequence[str], size: int, key: str) -> list[Unit]:
    """Every item with every `size` of the models, in a hidden order.

    Items are shuffled by the key. In each round every item comes once and the groups of models take
    turns, so that any beginning of the list holds all groups about evenly.
    """
    groups = list(combinations(models, size))
    shuffled = sorted(items, key=lambda item: keyed(key, "order", item))
    return [
        (item, *groups[(turn + place) % len(groups)])
        for turn in range(len(groups))
        for place, item in enumerate(shuffled)
    ]


def swapped(key: str, judge: str, pair: Sequence[str], items: Sequence[str]) -> frozenset[str]:
    """The items at which this judge sees the pair the other way round: half of them.

    Balanced exactly and not only on average; which half is hidden by the key, and another one for
    every judge.
    """
    ranked = sorted(items, key=lambda item: keyed(key, "side", judge, *pair, item))
    start = keyed(key, "first side", judge, *pair)[0] & 1
    return frozenset(ranked[start::2])


def shared_count(total: int, overlap: float) -> int:
    """How many of the units, from the beginning of the order, are meant for every judge."""
    return min(total, math.ceil(total * overlap - 1e-9))


def next_unit(
    order: Sequence[Unit],
    shared: int,
    *,
    available: Collection[Unit],
    done: Collection[Unit],
    load: Mapping[Unit, int],
) -> Unit | None:
    """What a judge who has seen `done` sees next, out of `available`; None when that is all.

    The first `shared` units of `order` are mixed in at their share and in their order, so that
    judges who stop early still have judged the same ones. Of the others, those come first with the
    smallest `load` (judgements by anybody), then the item and the models with the smallest.
    """
    common = [unit for unit in order[:shared] if unit in available]
    rest = [unit for unit in order[shared:] if unit in available]
    common_left = [unit for unit in common if unit not in done]
    rest_left = [unit for unit in rest if unit not in done]
    if not rest_left:
        return common_left[0] if common_left else None
    common_done = len(common) - len(common_left)
    seen = common_done + len(rest) - len(rest_left)
    if common_left and common_done * len(order) <= seen * shared:
        return common_left[0]
    by_item: Counter[str] = Counter()
    by_models: Counter[Unit] = Counter()
    for unit, count in load.items():
        by_item[unit[0]] += count
        by_models[unit[1:]] += count
    return min(  # the first of equals: the order's own
        rest_left, key=lambda unit: (load.get(unit, 0), by_item[unit[0]], by_models[unit[1:]])
    )
