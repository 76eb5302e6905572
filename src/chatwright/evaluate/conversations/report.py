"""What an analysis found: plain values, JSON for programs and text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chatwright.evaluate.conversations.comparing import Comparison, NotCompared
from chatwright.evaluate.conversations.figures import BY_NAME, MEASURES, Measure, show
from chatwright.evaluate.results import Skipped
from chatwright.evaluate.statistics import Estimate
from chatwright.version import __version__

FORMAT = "chatwright.conversations"
SMALL = 10  # conversations: groups and points below that are left to the JSON
# The measures that are shown over time; `to_json` has all.
TREND = ("satisfaction", "confirmed", "abandoned", "repeated", "refusals", "sentiment", "seconds")


@dataclass(frozen=True, slots=True)
class Group:
    """Figures of some conversations; a measure that nothing was recorded for is not there.

    `wilson`: satisfaction with every rating taken as independent. `automatic`: the group was found
    by clustering. `settled_by`, `left_by`: conversations by sign and by way of leaving. `reasons`:
    those given three times or more with a thumb down. `sentiment_turns`: mean of the person's
    first, second … turn, the sixth standing for all later ones.
    """

    name: str
    conversations: int
    automatic: bool
    figures: dict[str, Estimate]
    wilson: Estimate | None
    settled_by: dict[str, int]
    left_by: dict[str, int]
    reasons: dict[str, int]
    sentiment_turns: list[Estimate]


@dataclass(frozen=True, slots=True)
class Period:
    """A bucket of time, by the UTC date on which it starts, with one model version."""

    start: str
    model: str
    group: Group


@dataclass(slots=True)
class ConversationReport:
    """The whole report. It names conversations by id and holds no text of theirs.

    `people` counts the users named. `left_out` counts rows by reason, `skipped` lists those that
    could not be read.
    """

    rows: int
    used: int
    people: int
    left_out: dict[str, int]
    skipped: list[Skipped]
    settings: dict[str, Any]
    overall: Group
    groups: dict[str, list[Group]]
    versions: list[str]
    periods: list[Period]
    comparisons: list[Comparison]
    not_compared: list[NotCompared]

    @property
    def newest(self) -> str | None:
        """The newest version that was compared with the one before it."""
        return self.comparisons[-1].new if self.comparisons else None

    @property
    def alerts(self) -> list[Comparison]:
        """Figures in which the newest compared version is worse than the one before it."""
        return [c for c in self.comparisons if c.verdict == "worse" and c.new == self.newest]

    @property
    def past_alerts(self) -> list[Comparison]:
        """The same of earlier versions: history, no call to act."""
        return [c for c in self.comparisons if c.verdict == "worse" and c.new != self.newest]

    def to_json(self) -> dict[str, Any]:
        """Plain values; `alerts` are those of the newest version."""
        return {
            "format": FORMAT,
            "chatwright": __version__,
            "settings": self.settings,
            "rows": self.rows,
            "used": self.used,
            "people": self.people,
            "left_out": self.left_out,
            "skipped": [asdict(s) for s in self.skipped],
            "overall": asdict(self.overall),
            "groups": {name: [asdict(g) for g in found] for name, found in self.groups.items()},
            "versions": self.versions,
            "periods": [asdict(p) for p in self.periods],
            "comparisons": [asdict(c) for c in self.comparisons],
            "not_compared": [asdict(n) for n in self.not_compared],
            "alerts": [asdict(c) for c in self.alerts],
            "past_alerts": [asdict(c) for c in self.past_alerts],
        }

    def lines(self, width: int = 120) -> list[str]:
        """The report as plain text for a terminal of `width` columns."""
        out = [f"{self.used:,} of {self.rows:,} conversations used", *self._left_out()]
        out += ["", *figures_text([self.overall], width)]
        for name, found in self.groups.items():
            title = f"by {name.replace('+', ' and ')}"
            if any(g.automatic for g in found):
                title += " (auto: found by clustering, not stated)"
            shown, small = split_small(found)
            out += ["", title, *figures_text(shown, width)]
            if small:
                out.append(f"{small} of fewer than {SMALL} conversations: see --json")
        if self.periods:
            title = f"by {self.settings['bucket']} and model version"
            out += ["", title, *self._trend(width)]
        return [*out, "", *self._verdicts()]

    def _left_out(self) -> list[str]:
        out = [f"  left out: {count:,} ({reason})" for reason, count in self.left_out.items()]
        out += [f"    {s.id}: {s.reason}" for s in self.skipped[:10]]
        if len(self.skipped) > 10:
            out.append(f"    … and {len(self.skipped) - 10:,} more (--json lists all)")
        return out

    def _trend(self, width: int) -> list[str]:
        shown = [BY_NAME[n] for n in TREND if any(n in p.group.figures for p in self.periods)]
        rows = [["from", "model", "conversations", *(m.title for m in shown)]]
        for p in self.periods:
            cells = [_value(m, p.group.figures.get(m.name)) for m in shown]
            rows.append([p.start, p.model, f"{p.group.conversations:,}", *cells])
        return _blocks(rows, left=3, width=width)

    def _verdicts(self) -> list[str]:
        out = [f"alert: {describe(c)}" for c in self.alerts]
        out += [f"before: {describe(c)}" for c in self.past_alerts]
        out += [describe(c) for c in self.comparisons if c.verdict == "better"]
        if self.newest is None:
            out.append("no two model versions with enough conversations to compare")
        elif not self.alerts:
            old = self.comparisons[-1].old
            out.append(f"no alert: nothing shows that {self.newest} is worse than {old}")
        for n in self.not_compared:
            what = BY_NAME[n.measure].title if n.measure else "all measures"
            pair = f"{n.old} → {n.new}" if n.old else n.new
            out.append(f"not compared: {pair}, {what}: {n.reason}")
        return out


def split_small(groups: Sequence[Group]) -> tuple[list[Group], int]:
    """The groups worth a column, and how many are too small to say anything.

    Where all are small, all are shown.
    """
    large = [g for g in groups if g.conversations >= SMALL]
    return (large, len(groups) - len(large)) if large else (list(groups), 0)


def describe(c: Comparison) -> str:
    """One comparison in a sentence: what, which versions, how much, how sure, where to look."""
    m = BY_NAME[c.measure]
    p = c.adjusted_worse if c.verdict == "worse" else c.adjusted_better
    text = (
        f"{m.title} is {c.verdict} with {c.new} than with {c.old}: {show(m, c.old_value)} → "
        f"{show(m, c.new_value)} (difference {show_difference(m, c.difference)}, 95 % interval "
        f"{show_range(m, c.low, c.high)}, p = {p:.4f}, "
        f"{c.old_count:,} and {c.new_count:,} conversations)"
    )
    return f"{text}; see {', '.join(c.examples)}" if c.examples else text


def show_difference(measure: Measure, value: float) -> str:
    """A difference with its sign; of shares in percentage points."""
    return (
        _signed(measure, value) + {"share": " points", "seconds": " s", "number": ""}[measure.unit]
    )


def show_range(measure: Measure, low: float, high: float) -> str:
    """The interval of a difference, its unit left to the difference beside it."""
    return f"{_signed(measure, low)} to {_signed(measure, high)}"


def _signed(measure: Measure, value: float) -> str:
    text = f"{100 * value:+.1f}" if measure.unit == "share" else f"{value:+.2f}"
    # What rounds to nothing has no sign.
    return text.replace("-", "−") if float(text) else text[1:]


def figures_text(groups: Sequence[Group], width: int) -> list[str]:
    """One line per measure, one column per group, each value with its interval."""
    rows = [["", *(g.name for g in groups)]]
    rows.append(["Conversations", *(f"{g.conversations:,}" for g in groups)])
    for m in MEASURES:
        if any(m.name in g.figures for g in groups):
            rows.append([m.title, *(_cell(m, g.figures.get(m.name)) for g in groups)])
        if m.name == "satisfaction" and any(g.wilson for g in groups):
            rows.append(["  Wilson interval", *(_cell(m, g.wilson) for g in groups)])
    return _blocks(rows, left=1, width=width)


def _value(measure: Measure, found: Estimate | None) -> str:
    return "–" if found is None else show(measure, found.value)


def _cell(measure: Measure, found: Estimate | None) -> str:
    if found is None:
        return "–"
    low, high = show(measure, found.low), show(measure, found.high)
    unit = " %" if measure.unit == "share" else " s" if measure.unit == "seconds" else ""
    return f"{show(measure, found.value)} ({low.removesuffix(unit)}–{high.removesuffix(unit)})"


def _blocks(rows: Sequence[Sequence[str]], left: int, width: int) -> list[str]:
    """Aligned columns; those that do not fit go below, with the first `left` columns again."""
    from rich.cells import cell_len  # a Chinese character is two columns wide

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]
    start = sum(widths[:left]) + 2 * (left - 1)
    blocks: list[list[int]] = [[]]
    used = start
    for column in range(left, len(widths)):
        if blocks[-1] and used + 2 + widths[column] > width:
            blocks.append([])
            used = start
        blocks[-1].append(column)
        used += 2 + widths[column]
    words = max(1, left - 1)  # columns of words; numbers go to the right
    out: list[str] = []
    for block in blocks:
        out += [""] if out else []
        for row in rows:
            cells = []
            for i in [*range(left), *block]:
                pad = " " * (widths[i] - cell_len(row[i]))
                cells.append(row[i] + pad if i < words else pad + row[i])
            out.append("  ".join(cells).rstrip())
    return out
