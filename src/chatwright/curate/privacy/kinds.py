"""What personal data there is, a place where some was found, and a text without it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

PatternType = Literal[
    "private_key",
    "api_key",
    "id_card",
    "iban",
    "bank_card",
    "email",
    "us_ssn",
    "mac",
    "ip",
    "car_plate",
    "passport",
    "phone",
    "social",
    "address",
]
NameType = Literal["name", "place", "organisation"]
PiiType = Literal[PatternType, NameType]
Mode = Literal["mask", "tag", "pseudonym", "drop"]

# In this order one wins over another that is equally sure and equally long.
PATTERN_TYPES: tuple[PatternType, ...] = get_args(PatternType)
NAME_TYPES: tuple[NameType, ...] = get_args(NameType)
PII_TYPES: tuple[PiiType, ...] = (*PATTERN_TYPES, *NAME_TYPES)
MODES: tuple[Mode, ...] = get_args(Mode)

# From this confidence on, what was found is taken out unless the settings say otherwise.
LEAST_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data at `[start, end)` (characters).

    `value` is its canonical form: two spellings of one number have the same. `confidence` 0…1: 0.9
    and more has a checksum or an unmistakable form, 0.5 to 0.9 a form and words around it that say
    so, less is a form that other things have too.
    """

    start: int
    end: int
    type: PiiType
    confidence: float
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """`[start, end)` of the input (characters) became `replacement`; the value is not kept."""

    start: int
    end: int
    type: PiiType
    replacement: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without its personal data. `dropped`: a type was found whose mode is `drop`."""

    text: str
    spans: tuple[Span, ...]
    dropped: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many spans of each type, in the order of `PII_TYPES`."""
        number = Counter(span.type for span in self.spans)
        return {name: number[name] for name in PII_TYPES if number[name]}


def without_overlaps(found: list[Found]) -> list[Found]:
    """Those that stay where some overlap, by position: the surest, then the longest one wins.

    Whoever overlaps a winner is left out whole. O(n log n), and equal for any order of `found`.
    """
    if len(found) < 2:
        return found
    ordered = sorted(found, key=lambda f: (f.start, -f.end, PII_TYPES.index(f.type), -f.confidence))
    kept: list[Found] = []
    cluster: list[Found] = []
    reach = -1
    for item in ordered:
        if item.start >= reach and cluster:
            kept += _winners(cluster)
            cluster = []
        cluster.append(item)
        reach = max(reach, item.end)
    return kept + _winners(cluster)


def _winners(cluster: list[Found]) -> list[Found]:
    """The winners of findings that hang together, by position."""
    if len(cluster) == 1:
        return cluster
    from bisect import bisect_left

    ranked = sorted(
        cluster,
        key=lambda f: (-f.confidence, f.start - f.end, PII_TYPES.index(f.type), f.start),
    )
    starts: list[int] = []
    winners: list[Found] = []
    for item in ranked:
        at = bisect_left(starts, item.start)
        if at < len(starts) and starts[at] < item.end:
            continue
        if at and winners[at - 1].end > item.start:
            continue
        starts.insert(at, item.start)
        winners.insert(at, item)
    return winners
