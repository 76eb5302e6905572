"""From the facts of a dataset to one HTML page that needs nothing else.

Names, addresses and texts came from outside: the template escapes them, and the page's Content-
Security-Policy forbids scripts and every load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from chatwright.govern.charts import bar_chart
from chatwright.govern.datasheet.facts import SheetFacts, StageCounts
from chatwright.govern.datasheet.histograms import Panel, draw, short
from chatwright.govern.datasheet.questions import QUESTIONS
from chatwright.govern.html import link, styles, template
from chatwright.govern.tree import lineage_picture

_MOST_BARS = 24
_MOST_SOURCES = 60
_OPEN_PANELS = 12
_NOT_SHOWN = frozenset({"rules", "unlicensed"})
# Ledger rules that say what the people behind a page wanted.
_WISHES = {
    "opt-out": "kept out: robots.txt, a page's own signal or a column says no",
    "noindex": "kept out: the page asks not to be indexed",
    "consent": "kept out: no consent was given",
    "unknown-license": "kept apart: no known licence",
    "license-found": "a licence was found in the page itself",
}


def render_datasheet(facts: SheetFacts, *, answers: Mapping[str, str] | None = None) -> str:
    """The whole page; the same facts and answers give the same bytes.

    `answers` are what people said to `questions.QUESTIONS`, by key; the others are left as fields
    that are marked as open.
    """
    given = answers or {}
    known = [s for s in facts.sources if s.license is not None]
    unknown = [s for s in facts.sources if s.license is None]
    panels = [_panel(panel, number) for number, panel in enumerate([*facts.panels])]
    return template("datasheet.html").render(
        f=facts,
        css=styles("report.css", "datasheet.css"),
        tiles=_tiles(facts),
        fields={
            section: [
                {"key": key, "question": question, "answer": given.get(key, "").strip()}
                for key, question in questions.items()
            ]
            for section, questions in QUESTIONS.items()
        },
        open_fields=sum(not given.get(k, "").strip() for qs in QUESTIONS.values() for k in qs),
        known=known[:_MOST_SOURCES],
        known_rest=known[_MOST_SOURCES:],
        unknown=unknown[:_MOST_SOURCES],
        unknown_rest=unknown[_MOST_SOURCES:],
        stages=[_stage(s) for s in facts.stages],
        wishes=_wishes(facts),
        tree=Markup(lineage_picture(facts.chain)) if len(facts.chain) > 1 else None,
        language_chart=_groups_chart(facts, "languages"),
        domain_chart=_groups_chart(facts, "domains"),
        drop_chart=_drop_chart(facts),
        lengths=_panel(facts.lengths, 9_000) if facts.lengths and facts.lengths.kept else None,
        panels=panels[:_OPEN_PANELS],
        more_panels=panels[_OPEN_PANELS:],
        scores=[_panel(p, 5_000 + n) for n, p in enumerate(facts.scores)],
        size=_size,
        number=_number,
        link=link,
    )


def _tiles(f: SheetFacts) -> list[tuple[str, str]]:
    tiles = [
        (f"{f.rows:,}", f"{f.kind}s"),
        (_number(f.characters), "characters"),
    ]
    if f.turns is not None:
        tiles.append((f"{f.turns:,}", "messages"))
    spoken = [g for g in f.languages if g.name]
    if spoken:
        tiles.append((f"{len(spoken):,}", "language" if len(spoken) == 1 else "languages"))
    if f.domain_count:
        tiles.append((f"{f.domain_count:,}", "domain" if f.domain_count == 1 else "domains"))
    gone = sum(r.lines for s in f.stages for r in s.rules if r.action == "drop")
    if any(s.rules for s in f.stages):
        tiles.append((f"{gone:,}", "rows dropped on the way, each with its reason"))
    tiles.append((f"{f.unlicensed_rows:,}", "rows without a known licence"))
    return tiles


def _stage(stage: StageCounts) -> dict[str, Any]:
    counts = [
        f"{name.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{name} {value}"
        for name, value in stage.counts.items()
        if name not in _NOT_SHOWN and name not in ("kept", "dropped")
    ]
    return {"s": stage, "also": " \u00b7 ".join(counts)}


def _wishes(f: SheetFacts) -> list[tuple[str, str, int]]:
    return [
        (stage.name, _WISHES[rule.rule], rule.lines)
        for stage in f.stages
        for rule in stage.rules
        if rule.rule in _WISHES
    ]


def _groups_chart(f: SheetFacts, which: str) -> Markup | None:
    groups = getattr(f, which)
    if len(groups) < 2:
        return None
    unknown = "not known" if which == "languages" else "no web address"
    shown = [(g.name or unknown, g.rows) for g in groups[:_MOST_BARS]]
    rest = f.rows - sum(rows for _, rows in shown)
    if rest > 0:
        shown.append(("all others", rest))
    return Markup(bar_chart(shown, which, f"Rows by {which.removesuffix('s')}"))


def _drop_chart(f: SheetFacts) -> Markup | None:
    several = sum(any(r.action == "drop" for r in s.rules) for s in f.stages) > 1
    counts = [
        (f"{s.name}: {r.rule}" if several else r.rule, r.lines)
        for s in f.stages
        for r in s.rules
        if r.action == "drop"
    ]
    if not counts:
        return None
    counts.sort(key=lambda kv: (-kv[1], kv[0]))
    shown, rest = counts[:_MOST_BARS], counts[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} more rules", sum(n for _, n in rest)))
    return Markup(bar_chart(shown, "drops", "Rows dropped by each rule"))


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    asked = f", bounds {panel.bound}" if panel.bound else ""
    label = f"Histogram of {panel.name}{asked}"
    middle = panel.quantile(0.5)
    return {
        "p": panel,
        "title": panel.name.replace("_", " "),
        "picture": Markup(draw(panel, label)),
        "middle": None if middle is None else short(middle),
        "id": f"panel-{number}",
    }


def _number(value: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (value >= size > 1e3):
            return f"{value / size:,.3g} {letter}"
    return f"{value:,.0f}"


def _size(count: int) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B"
