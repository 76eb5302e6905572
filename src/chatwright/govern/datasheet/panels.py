"""Which histograms a data sheet has: one for each rule and bound, and one for each score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatwright.curate.measures import MEASURES
from chatwright.curate.quality import Preset, load_presets
from chatwright.errors import ChatwrightError
from chatwright.govern.datasheet.facts import Group
from chatwright.govern.datasheet.histograms import Panel, Scale, parse_bound, scale_of
from chatwright.govern.datasheet.scan import Scan
from chatwright.records import Dataset

_LANGUAGES = 12
_EVERY = "every language"
Panels = dict[tuple[str, str], Panel]  # by measure and bound, as the ledger writes it
Scales = Mapping[str, Scale]


def find_panels(
    scan: Scan, spoken: Sequence[Group], chain: Sequence[tuple[str, Dataset]]
) -> tuple[list[Panel], list[Panel]]:
    """Panels of rules, and panels of scores; those that dropped most rows come first.

    The bounds are the preset's of the last curation in `chain`, and those that ledger lines name.
    """
    preset, safety = _rules_of(chain)
    named = [group.name for group in spoken if group.name is not None][:_LANGUAGES]
    languages = list(dict.fromkeys([*named, *(preset.languages() if preset else ())]))
    scores = [(name, f'$.scores."{name}"', scale_of(name, m)) for name, m in scan.score_names()]
    names = [*((m, f"$.measures.{m}", scale_of(m)) for m in MEASURES), *scores]
    scales: Scales = {name: scale for name, _, scale in names}
    panels: Panels = {}
    if preset is not None:
        _add_preset(panels, preset, languages, scales)
    _add_safety(panels, safety, scales)
    for name, bound, number, rows in scan.refused(names):
        low, high = parse_bound(bound)
        panel = panels.setdefault((name, bound or ""), Panel(name, scales[name], (), low, high))
        panel.dropped[number] = panel.dropped.get(number, 0) + rows
    for name, _, scale in scores:
        if not any(key == name for key, _ in panels):
            panels[name, ""] = Panel(name, scale)
    _fill(panels, scan.measures(names, languages))
    found = [_labelled(p, languages) for p in panels.values() if p.kept or p.dropped]
    found.sort(key=lambda p: (-p.dropped_rows, _order(p.name), p.of))
    known = {name for name, _, _ in scores}
    return [p for p in found if p.name not in known], [p for p in found if p.name in known]


def _add_preset(panels: Panels, preset: Preset, languages: Sequence[str], scales: Scales) -> None:
    """One panel for each bound, whatever languages have it."""
    for language in [*languages, None]:
        for name, bound in preset.bounds(language).items():
            panel = panels.setdefault(
                (name, str(bound)),
                Panel(name, scales[name], (), bound.min, bound.max, bound.source),
            )
            panel.of = (*panel.of, language or _EVERY)


def _add_safety(panels: Panels, safety: Mapping[str, Any], scales: Scales) -> None:
    for name, rule in safety.items():
        most = rule.get("max") if isinstance(rule, Mapping) else None
        for value in most.values() if isinstance(most, Mapping) else [most]:
            if isinstance(value, (int, float)) and name in scales:
                panels[name, f"max {value:g}"] = Panel(name, scales[name], (), None, value)


def _fill(panels: Panels, rows: Iterable[tuple[str, str | None, int, int]]) -> None:
    """Kept rows (name, language, bin, how many) into the panels that are about them."""
    by_name: dict[str, list[Panel]] = {}
    for panel in panels.values():
        by_name.setdefault(panel.name, []).append(panel)
    for name, language, number, count in rows:
        for panel in by_name.get(name, ()):
            if not panel.of or (language or _EVERY) in panel.of:
                panel.kept[number] = panel.kept.get(number, 0) + count


def _labelled(panel: Panel, languages: Sequence[str]) -> Panel:
    """With words for the languages that it is about."""
    rest = [language for language in languages if language not in panel.of]
    if not panel.of or not rest:
        panel.label = ""
    elif _EVERY in panel.of:
        panel.label = f"all but {', '.join(rest)}"
    else:
        panel.label = ", ".join(panel.of)
    return panel


def _order(name: str) -> int:
    return MEASURES.index(name) if name in MEASURES else len(MEASURES)


def _rules_of(chain: Sequence[tuple[str, Dataset]]) -> tuple[Preset | None, Mapping[str, Any]]:
    """Quality rules and score bounds of the last curation; a preset that is gone is not drawn."""
    for _, dataset in reversed(chain):
        settings = dataset.info.settings
        if "preset" not in settings:
            continue
        safety = settings.get("safety")
        try:
            preset = load_presets(settings["preset"])
        except (ChatwrightError, TypeError, ValueError):
            preset = None
        return preset, safety if isinstance(safety, Mapping) else {}
    return None, {}
