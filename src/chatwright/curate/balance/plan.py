"""What a mixture asks for, and how often each row is taken for it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from chatwright.curate.balance.copies import Counts, copies_of
from chatwright.curate.balance.groups import Unit, checked_column
from chatwright.curate.balance.shares import (
    OTHERS,
    WhenShort,
    quotas,
    wanted_shares,
    whole_numbers,
)
from chatwright.stage import StageSettings


class MixSettings(StageSettings):
    """Settings of `kind: mix`: rows of `inputs`, grouped by the columns of `by`.

    `weights` gives groups their parts of the whole (`*`: all others together); without it,
    `temperature` does: p ∝ n^(1/T). `size` counts rows, characters or estimated tokens (`unit`);
    left out, it is what the groups that get a share hold. A row is taken `max_repeats` times at
    most; where that is not enough, `when_short` says who gives way. `seed`: default the recipe's.
    """

    references: ClassVar[tuple[str, ...]] = ("inputs",)

    inputs: list[str] = Field(min_length=1)
    by: list[str] = Field(default=["dataset"], min_length=1, max_length=4)
    weights: dict[str, float] | None = Field(default=None, min_length=1)
    temperature: float = Field(default=1.0, gt=0, le=1000)
    size: float | None = Field(default=None, gt=0)
    unit: Unit = "rows"
    max_repeats: int = Field(default=4, ge=1, le=1000)
    when_short: WhenShort = "fill"
    seed: int | None = None

    @field_validator("inputs")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("the same dataset is named twice; give it a weight instead")
        return value

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("by")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return [checked_column(name) for name in value]

    @field_validator("weights")
    @classmethod
    def _not_negative(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for group, weight in (value or {}).items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"the weight of {group!r} is {weight}; it must be 0 or more")
        return value

    @model_validator(mode="after")
    def _temperature_of_something(self) -> Self:
        if self.temperature != 1 and self.weights is not None and OTHERS not in self.weights:
            raise ValueError("temperature divides what weights leave open: give `*` a weight, too")
        if self.weights is not None and not any(self.weights.values()):
            raise ValueError("all weights are 0: nothing would be taken")
        return self


@dataclass(slots=True)
class Seen:
    """Every input row's group, size, rank and hashed id, in order: about 30 bytes a row."""

    group: array[int] = field(default_factory=lambda: array("i"))
    size: array[float] = field(default_factory=lambda: array("d"))
    rank: array[int] = field(default_factory=lambda: array("Q"))
    name: array[int] = field(default_factory=lambda: array("Q"))
    groups: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Portion:
    """One group of a mixture. Shares are of the whole, in the unit that was asked for."""

    group: str
    rows: int
    size: float
    wanted: float
    taken: float
    share: float
    taken_rows: int
    different_rows: int
    repeats: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "group": self.group,
            "rows": self.rows,
            "size": round(self.size, 1),
            "wanted_share": round(self.wanted, 6),
            "share": round(self.share, 6),
            "taken": round(self.taken, 1),
            "taken_rows": self.taken_rows,
            "different_rows": self.different_rows,
            "repeats": self.repeats,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each input row is taken (−1: its id came before), and each group's portion.

    `asked` and `taken`: how large the mixture was to be, and is.
    """

    copies: Counts
    portions: list[Portion]
    groups: list[str]
    group: np.ndarray[Any, np.dtype[np.int32]]
    asked: float
    taken: float


def make_plan(settings: MixSettings, seen: Seen) -> Plan:
    """How often each row is taken, so that groups have their shares: no row is read for it."""
    names = list(seen.groups)
    group = np.asarray(seen.group, dtype=np.int32)
    sizes = np.asarray(seen.size, dtype=np.float64)
    ranks = np.asarray(seen.rank, dtype=np.uint64)
    ids = np.asarray(seen.name, dtype=np.uint64)
    first = np.zeros(len(ids), dtype=np.bool_)
    first[np.unique(ids, return_index=True)[1]] = True  # of equal ids, the one that came first
    copies = np.where(first, 0, -1).astype(np.int32)
    members = _members(group, first, len(names))
    have = {name: float(sizes[places].sum()) for name, places in zip(names, members, strict=True)}
    shares = wanted_shares(have, settings.weights, settings.temperature)
    whole = sum(have[name] for name in shares)
    size = whole if settings.size is None else settings.size
    amounts: dict[str, float] = quotas(
        have, shares, size=size, max_repeats=settings.max_repeats, when_short=settings.when_short
    )
    if settings.unit == "rows":
        amounts = {name: float(n) for name, n in whole_numbers(amounts).items()}
    for name, places in zip(names, members, strict=True):
        if name in amounts:
            copies[places] = copies_of(
                ranks[places], sizes[places], amounts[name], whole_rows=settings.unit == "rows"
            )
    taken = {
        name: float((sizes[places] * copies[places]).sum())
        for name, places in zip(names, members, strict=True)
    }
    everything = sum(taken.values()) or 1.0
    portions = []
    for name, places in zip(names, members, strict=True):
        chosen = copies[places]
        portions.append(
            Portion(
                group=name,
                rows=len(places),
                size=have[name],
                wanted=shares.get(name, 0.0),
                taken=taken[name],
                share=taken[name] / everything,
                taken_rows=int(chosen.sum()),
                different_rows=int((chosen > 0).sum()),
                repeats=int(np.maximum(chosen - 1, 0).sum()),
            )
        )
    portions.sort(key=lambda portion: (-portion.wanted, portion.group))
    return Plan(copies, portions, names, group, size, everything)


def _members(
    group: np.ndarray[Any, np.dtype[np.int32]],
    first: np.ndarray[Any, np.dtype[np.bool_]],
    count: int,
) -> list[np.ndarray[Any, Any]]:
    """The places of each group's rows: one sort instead of a pass for each of many groups."""
    places = np.flatnonzero(first)
    order = places[np.argsort(group[places], kind="stable")]
    edges = np.searchsorted(group[order], np.arange(count + 1))
    return [order[a:b] for a, b in pairwise(edges.tolist())]
