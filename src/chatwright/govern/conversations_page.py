"""The report on served conversations as one HTML page that needs nothing else.

The page names conversations by id and shows no text of theirs. Names of models, intents and files
came from outside: the template escapes them, and its Content-Security-Policy forbids scripts and
every load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from chatwright.evaluate.conversations import MEASURES, ConversationReport, Measure
from chatwright.evaluate.conversations.comparing import Comparison
from chatwright.evaluate.conversations.figures import BY_NAME, show
from chatwright.evaluate.conversations.report import (
    SMALL,
    TREND,
    Group,
    show_difference,
    show_range,
    split_small,
)
from chatwright.evaluate.statistics import Estimate
from chatwright.govern.charts import _FAINT, _FIRST, _SECOND, _figure, _shorten, _svg, bar_chart
from chatwright.version import __version__

if TYPE_CHECKING:
    from jinja2 import Template

_GROUP_COLUMNS = (*TREND[:3], "turns_to_resolution", *TREND[3:])
_MOST_GROUPS = 40
_MOST_SKIPPED = 100
_SIGNS = {
    "stated": "stated by the application",
    "thumb up": "a thumb up",
    "thanks": "thanks or a confirmation",
    "end": "nothing more was asked",
    "not settled": "not settled",
}
_LEFT = {
    "stated": "stated by the application",
    "unanswered": "last message unanswered",
    "stopped": "last answer cut off",
    "thumb down": "last answer got a thumb down",
    "complaint": "a complaint at the end",
}

# A line's points: (place on the x axis, value with its interval).
Points = Sequence[tuple[int, Estimate]]


def render_conversations(report: ConversationReport, *, title: str = "Conversations") -> str:
    """The whole page. The same report gives the same bytes."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for c in report.comparisons:
        pairs.setdefault((c.old, c.new), []).append(_comparison(c))
    versions = report.groups.get("model", [])
    return _template().render(
        title=title,
        r=report,
        css=Markup((files(__package__) / "templates" / "report.css").read_text("utf-8")),
        span=_span(report),
        tiles=_tiles(report.overall),
        alerts=[_comparison(c) for c in report.alerts],
        pairs=[{"old": o, "new": n, "rows": rows} for (o, n), rows in reversed(pairs.items())],
        not_compared=[
            {
                "what": BY_NAME[n.measure].title if n.measure else "all measures",
                "pair": f"{n.old} → {n.new}" if n.old else n.new,
                "reason": n.reason,
            }
            for n in report.not_compared
        ],
        trends=_trends(report),
        sentiment=_sentiment(versions or [report.overall]),
        overall=[
            {"m": m, **_cell(m, e), "count": e.count}
            for m in MEASURES
            if (e := report.overall.figures.get(m.name))
        ],
        wilson=_cell(BY_NAME["satisfaction"], report.overall.wilson),
        settled=_bars(
            report.overall.settled_by, _SIGNS, "settled", "How conversations were settled"
        ),
        left=_bars(report.overall.left_by, _LEFT, "left", "How conversations were abandoned"),
        groups=[_groups(name, found) for name, found in report.groups.items()],
        most_skipped=_MOST_SKIPPED,
        least_of_point=SMALL,
        version=__version__,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("chatwright.govern", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("conversations.html")


def _span(report: ConversationReport) -> str:
    starts = [p.start for p in report.periods]
    bucket = report.settings["bucket"]
    return f"{bucket}s from {min(starts)} to {max(starts)}" if starts else "without times"


def _tiles(group: Group) -> list[tuple[str, str]]:
    out = [(f"{group.conversations:,}", "conversations with consent")]
    names = ("satisfaction", "confirmed", "abandoned", "seconds", "sentiment")
    for m in (BY_NAME[name] for name in names):
        if m.name in group.figures:
            label = m.title + (" (median)" if m.name == "seconds" else "")
            out.append((show(m, group.figures[m.name].value), label))
    return out


def _cell(m: Measure, found: Estimate | None) -> dict[str, str]:
    if found is None:
        return {"value": "–", "range": ""}
    return {
        "value": show(m, found.value),
        "range": f"{show(m, found.low)} to {show(m, found.high)}",
    }


def _comparison(c: Comparison) -> dict[str, Any]:
    m = BY_NAME[c.measure]
    return {
        "c": c,
        "m": m,
        "old": show(m, c.old_value),
        "new": show(m, c.new_value),
        "difference": show_difference(m, c.difference),
        "range": show_range(m, c.low, c.high),
        "p": f"{min(c.adjusted_worse, c.adjusted_better):.4f}",
        "chip": {"worse": "worse", "better": "better"}.get(c.verdict, ""),
    }


def _groups(name: str, groups: Sequence[Group]) -> dict[str, Any]:
    large, small = split_small(groups)
    shown = [BY_NAME[n] for n in _GROUP_COLUMNS if any(n in g.figures for g in groups)]
    return {
        "name": name.replace("+", " and "),
        "columns": shown,
        "automatic": any(g.automatic for g in groups),
        "rows": [
            {"g": g, "cells": [_cell(m, g.figures.get(m.name)) for m in shown]}
            for g in large[:_MOST_GROUPS]
        ],
        "more": small + max(0, len(large) - _MOST_GROUPS),
    }


def _bars(
    counts: Mapping[str, int], titles: Mapping[str, str], name: str, label: str
) -> Markup | None:
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))
    return Markup(bar_chart([(titles.get(k, k), n) for k, n in ordered], name, label))


def _trends(report: ConversationReport) -> list[dict[str, Any]]:
    """One picture for each measure over time; one line for each version."""
    starts = sorted({p.start for p in report.periods})
    if len(starts) < 2:
        return []
    out = []
    models = list(dict.fromkeys([*report.versions, *(p.model for p in report.periods)]))
    for m in (BY_NAME[name] for name in TREND):
        lines: dict[str, list[tuple[int, Estimate]]] = {}
        for model in models:
            points = [
                (starts.index(p.start), p.group.figures[m.name])
                for p in report.periods
                if p.model == model
                and m.name in p.group.figures
                and p.group.figures[m.name].count >= SMALL
            ]
            if points:
                lines[model] = points
        if lines:
            label = f"{m.title} by {report.settings['bucket']} and model version"
            out.append({"m": m, "svg": Markup(_lines(lines, starts, m, f"trend-{m.name}", label))})
    return out


def _sentiment(groups: Sequence[Group]) -> Markup | None:
    lines = {g.name: list(enumerate(g.sentiment_turns)) for g in groups if g.sentiment_turns}
    longest = max((len(found) for found in lines.values()), default=0)
    if longest < 2:
        return None
    names = [str(turn + 1) for turn in range(longest)]
    if longest == 6:
        names[-1] = "6+"
    label = "Mean sentiment of a person's first, second … message"
    return Markup(_lines(lines, names, BY_NAME["sentiment"], "turns", label))


def _lines(
    lines: Mapping[str, Points], places: Sequence[str], m: Measure, name: str, label: str
) -> str:
    """Values with their intervals, one line each; the newest two in colour, older ones faint."""
    with _figure(4.9, 2.6) as (figure, axes):
        factor = 100 if m.unit == "share" else 1
        for number, (model, points) in enumerate(lines.items()):
            age = len(lines) - 1 - number
            colour = [_SECOND, _FIRST][age] if age < 2 and len(lines) > 1 else _FAINT
            colour = _FIRST if len(lines) == 1 else colour
            # Side by side where versions share a place.
            x = [place + 0.12 * (number - (len(lines) - 1) / 2) / max(1, len(lines) - 1) * 2
                 for place, _ in points]  # fmt: skip
            lows, highs = [factor * e.low for _, e in points], [factor * e.high for _, e in points]
            axes.vlines(x, lows, highs, color=colour, linewidth=2, alpha=0.45)
            values = [factor * e.value for _, e in points]
            marker = "os^D"[number % 4]
            axes.plot(x, values, color=colour, marker=marker, markersize=5, linewidth=1.5,
                      label=_shorten(model, 20))  # fmt: skip
        step = max(1, -(-len(places) // 6))
        axes.set_xticks(range(0, len(places), step), [p[-5:] for p in places[::step]])
        axes.set_xlim(-0.4, len(places) - 0.6)
        axes.grid(visible=False, axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_ylabel({"share": "per cent", "seconds": "seconds", "number": ""}[m.unit])
        axes.margins(y=0.12)
        if len(lines) > 1:
            axes.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=min(3, len(lines)),
                fontsize=8,
                handlelength=1.2,
                columnspacing=1,
            )
        return _svg(figure, name, label)
