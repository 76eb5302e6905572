"""Histograms of measures with the bounds of rules: fine bins while scanning, bars when drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal

Scale = Literal["share", "length", "count"]

_PER_SHARE, _PER_LENGTH, _PER_DECADE = 200, 10, 20
MOST_BINS = 400
_BARS = 36
_WIDTH, _HEIGHT, _BASE, _TOP = 300, 118, 96, 20
_BOUND = re.compile(r"(min|max) (-?[0-9.]+(?:e[+-]?[0-9]+)?)")


@dataclass(slots=True)
class Panel:
    """One measure of the rows that stayed and of those that a rule dropped for it.

    `kept` and `dropped` count rows by fine bin (`place` rounded down). `low` and `high` are the
    rule's bounds. `of`: the languages it holds for; empty: all. `label` says so in words.
    """

    name: str
    scale: Scale
    of: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    source: str | None = None
    label: str = ""
    kept: dict[int, int] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)

    @property
    def kept_rows(self) -> int:
        return sum(self.kept.values())

    @property
    def dropped_rows(self) -> int:
        return sum(self.dropped.values())

    @property
    def bound(self) -> str:
        """As the ledger writes it."""
        said = (("min", self.low), ("max", self.high))
        return ", ".join(f"{word} {value:.12g}" for word, value in said if value is not None)

    def quantile(self, share: float) -> float | None:
        """Below which value so much of the kept rows lies, to a bin's width."""
        wanted, seen = share * self.kept_rows, 0
        for number in sorted(self.kept):
            seen += self.kept[number]
            if seen >= wanted:
                return value_at(self.scale, number)
        return None


def scale_of(name: str, most: float | None = None) -> Scale:
    """How a measure is binned: shares from 0 to 1, lengths of words, or anything by its decades.

    Of what is no measure of ours, `most` (its largest value) tells.
    """
    if name.endswith("_ratio") or (most is not None and most <= 1):
        return "share"
    return "length" if name == "mean_word_length" else "count"


def place(scale: Scale, value: float) -> float:
    """Where a value lies, in bins."""
    if scale == "share":
        return min(max(value, 0.0), 1.0) * _PER_SHARE
    if scale == "length":
        return min(max(value, 0.0) * _PER_LENGTH, MOST_BINS)
    return 0.0 if value < 1 else min(1 + _PER_DECADE * math.log10(value), MOST_BINS)


def value_at(scale: Scale, at: float) -> float:
    """The value at a place: the inverse of `place`."""
    if scale == "share":
        return min(at / _PER_SHARE, 1.0)
    if scale == "length":
        return at / _PER_LENGTH
    return 0.0 if at < 1 else float(10 ** ((at - 1) / _PER_DECADE))


def bin_sql(scale: str, value: str) -> str:
    """`floor(place(...))` as an SQL expression over the columns `scale` and `value`."""
    tiny = 1e-9  # 0.015 is the start of a bin and not the end of the one before
    return (
        f"CAST(CASE {scale} "
        f"WHEN 'share' THEN floor(least(greatest({value}, 0), 1) * {_PER_SHARE} + {tiny}) "
        f"WHEN 'length' THEN floor(least(greatest({value}, 0) * {_PER_LENGTH} + {tiny}, "
        f"{MOST_BINS})) "
        f"ELSE CASE WHEN {value} < 1 THEN 0 ELSE "
        f"floor(least(1 + {_PER_DECADE} * log10({value}) + {tiny}, {MOST_BINS})) END END "
        "AS INTEGER)"
    )


def parse_bound(text: str | None) -> tuple[float | None, float | None]:
    """`min 3, max 10` as numbers."""
    found: Mapping[str, str] = dict(_BOUND.findall(text or ""))
    low, high = found.get("min"), found.get("max")
    return (None if low is None else float(low)), (None if high is None else float(high))


def draw(panel: Panel, label: str) -> str:
    """The panel as inline SVG that takes the page's colours.

    Bars stack dropped rows on kept ones; a dashed line is a bound. What lies beyond the drawn range
    is in its end bars. Bars that would be too low to see are as high as can be seen.
    """
    low, high = _range(panel)
    step = max(1, math.ceil((high - low) / _BARS))
    bars = math.ceil((high - low) / step)
    kept, dropped = [0] * bars, [0] * bars
    for counts, into in ((panel.kept, kept), (panel.dropped, dropped)):
        for number, count in counts.items():
            into[min(max((number - low) // step, 0), bars - 1)] += count
    top = max((k + d for k, d in zip(kept, dropped, strict=True)), default=0) or 1
    wide = _WIDTH / bars
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label, quote=True)}">'
    ]
    for number, (k, d) in enumerate(zip(kept, dropped, strict=True)):
        at: float = _BASE
        for count, name in ((k, "kept"), (d, "gone")):
            if count:
                tall = max(2.0 if name == "gone" else 1.0, (_BASE - _TOP) * count / top)
                at_x = number * wide
                out.append(
                    f'<rect class="{name}" x="{at_x:.1f}" y="{at - tall:.1f}" '
                    f'width="{max(wide - 1, 0.8):.1f}" height="{tall:.1f}"/>'
                )
                at -= tall
    out.append(f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_BASE}" y2="{_BASE}"/>')
    unit = _WIDTH / (bars * step)
    for value, word in ((panel.low, "min"), (panel.high, "max")):
        if value is None:
            continue
        x = min(max((place(panel.scale, value) - low) * unit, 0.8), _WIDTH - 0.8)
        # A line's words stand on the side that is kept, as long as there is room.
        right = (word == "min") == (18 < x < _WIDTH - 60) or x < 60
        anchor, dx = ("start", 4) if right and x < _WIDTH - 60 else ("end", -4)
        y = 11 if word == "min" or panel.low is None else 22
        out.append(f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="3" y2="{_BASE}"/>')
        out.append(
            f'<text class="bound" x="{x + dx:.1f}" y="{y}" text-anchor="{anchor}">'
            f"{word} {short(value)}</text>"
        )
    ends = (("start", 0, low), ("end", _WIDTH, low + bars * step))
    for anchor, x, at_bin in ends:
        value = value_at(panel.scale, at_bin)
        shown = short(round(value) if panel.scale == "count" else value)
        out.append(f'<text x="{x}" y="{_HEIGHT - 7}" text-anchor="{anchor}">{shown}</text>')
    return "".join([*out, "</svg>"])


def short(value: float) -> str:
    """A number as an axis says it."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _range(panel: Panel) -> tuple[int, int]:
    """The bins to draw: nearly all kept rows, and the bounds with some room around."""
    ends = [_cut(panel.kept, 0.002), _cut(panel.dropped, 0.05)]
    lows = [low for low, high in ends if high >= low]
    highs = [high for low, high in ends if high >= low]
    for bound in (panel.low, panel.high):
        if bound is not None:
            lows.append(math.floor(place(panel.scale, bound)))
            highs.append(math.ceil(place(panel.scale, bound)))
    if not lows:
        return 0, 1
    low, high = min(lows), max(highs) + 1
    room = max(1, (high - low) // 12)
    most = {"share": _PER_SHARE + 1}.get(panel.scale, MOST_BINS)
    return max(0, low - room), max(min(most, high + room), low + 1)


def _cut(counts: Mapping[int, int], share: float) -> tuple[int, int]:
    """From which to which bin all but so small a share on each side lies."""
    if not counts:
        return 1, 0
    numbers = sorted(counts)
    spare = share * sum(counts.values())
    low, seen = numbers[0], 0.0
    for low in numbers:
        seen += counts[low]
        if seen > spare:
            break
    high, seen = numbers[-1], 0.0
    for high in reversed(numbers):
        seen += counts[high]
        if seen > spare:
            break
    return low, high
