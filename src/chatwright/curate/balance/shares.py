"""How much of each group a mixture takes: shares, and what of them there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

OTHERS = "*"
WhenShort = Literal["fill", "shrink"]


def temperature_shares(sizes: Mapping[str, float], temperature: float) -> dict[str, float]:
    """P ∝ n^(1/T): T 1 keeps the sizes' own shares, a larger one evens them out.

    Devlin et al. 2018 (multilingual BERT, 1/T = 0.7), Conneau et al. 2020 (XLM-R, 0.3).
    """
    # Relative to the largest, so that no power overflows.
    most = max(sizes.values(), default=0.0)
    raised = {g: (n / most) ** (1 / temperature) if n else 0.0 for g, n in sizes.items()}
    whole = sum(raised.values())
    return {group: value / whole for group, value in raised.items() if value} if whole else {}


def wanted_shares(
    sizes: Mapping[str, float], weights: Mapping[str, float] | None, temperature: float = 1.0
) -> dict[str, float]:
    """Group → its share of the mixture; groups that get nothing are not there.

    Without weights, by temperature. With weights, in their proportion among the groups that there
    are; `*` is the weight of all groups that are not named, among which temperature divides it.
    """
    present = {group: size for group, size in sizes.items() if size > 0}
    if weights is None:
        return temperature_shares(present, temperature)
    named = {g: w for g, w in weights.items() if g in present and g != OTHERS and w > 0}
    rest = {g: n for g, n in present.items() if g not in weights}
    if rest and weights.get(OTHERS, 0) > 0:
        within = temperature_shares(rest, temperature)
        named |= {group: share * weights[OTHERS] for group, share in within.items()}
    whole = sum(named.values())
    return {group: weight / whole for group, weight in named.items()}


def quotas(
    sizes: Mapping[str, float],
    shares: Mapping[str, float],
    *,
    size: float,
    max_repeats: float,
    when_short: WhenShort = "fill",
) -> dict[str, float]:
    """Group → how much of it is taken, so that all together are `size`.

    A group gives at most `max_repeats` times what it has. Where that is less than its share of
    `size`, the others make up for it in their proportion ("fill", as UniMax: Chung et al. 2023), or
    the whole becomes smaller and the shares stay ("shrink").
    """
    most = {group: max_repeats * sizes[group] for group in shares}
    if when_short == "shrink":
        whole = min([size, *(most[g] / share for g, share in shares.items() if share)])
        return {group: share * whole for group, share in shares.items()}
    taken: dict[str, float] = {}
    left, open_ = size, dict(shares)
    while open_:
        weight = sum(open_.values())
        full = [g for g, share in open_.items() if share / weight * left >= most[g]]
        if not full:
            return taken | {g: share / weight * left for g, share in open_.items()}
        for group in full:
            taken[group] = most[group]
            left -= most[group]
            del open_[group]
        left = max(left, 0.0)
    return taken


def whole_numbers(amounts: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers with the rounded sum of the amounts, each off by less than one.

    The largest remainders are rounded up; equal ones by the group's name.
    """
    floors = {group: int(amount + 1e-9) for group, amount in amounts.items()}
    missing = round(sum(amounts.values())) - sum(floors.values())
    order = sorted(amounts, key=lambda g: (-(amounts[g] - floors[g]), g))
    for group in order[: max(missing, 0)]:
        floors[group] += 1
    return floors
