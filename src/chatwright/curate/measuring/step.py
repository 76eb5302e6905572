"""The step of a curation that measures rows and drops those that a preset's rules exclude."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.curate.candidate import Candidate
from chatwright.curate.measures import measure_many
from chatwright.curate.measuring.lines import remove_lines
from chatwright.curate.quality import Failure, Preset, failures, load_presets


@dataclass(frozen=True, slots=True)
class LineStep:
    """Takes out the lines that a preset's rules for lines exclude, and tells which.

    For pages: of a conversation it would take short answers out and leave their questions.
    """

    preset: Preset

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            rules = self.preset.line_rules(candidate.language.code)
            if rules is None:
                continue
            removed = remove_lines(candidate.text, rules)
            for rule, lines in removed.counts.items():
                candidate.edit(rule, lines, detail=f"lines, the first: {removed.first[rule]}")
            candidate.text = removed.text
            if removed.counts and not removed.text.strip():
                candidate.drop("empty", 0, "min 1", detail="the rules for lines left no line")


@dataclass(frozen=True, slots=True)
class QualityStep:
    """Takes lines out, measures what is left, and drops what fails a rule, every failure told.

    A row's `measures["link_ratio"]`, where extraction put it there, is kept; all other measures are
    made anew, so the step can be run again on rows that were edited since. `edit_lines=False`
    leaves the lines alone (`LineStep`).
    """

    preset: Preset
    edit_lines: bool = True

    def __call__(self, candidates: list[Candidate]) -> None:
        if self.edit_lines:
            LineStep(self.preset)(candidates)
        rows = [candidate for candidate in candidates if not candidate.dropped]
        for candidate, found in zip(rows, self._measured(rows), strict=True):
            candidate.measures = found
            drop_failures(candidate, failures(found, self.preset, candidate.language.code))

    def _measured(self, rows: Sequence[Candidate]) -> list[dict[str, float]]:
        texts = [row.text for row in rows]
        languages = [row.language.code for row in rows]
        links = [row.measures.get("link_ratio", 0.0) for row in rows]
        return measure_many(texts, languages, links, needs=self.preset.needs)


def drop_failures(candidate: Candidate, failed: Sequence[Failure]) -> None:
    """Drop a row for the first failure; the line tells the others too."""
    if failed:
        first, *others = failed
        also = "; ".join(f"{f.rule} {f.value:.4g} ({f.bound})" for f in others)
        candidate.drop(
            first.rule, first.value, first.bound, detail=f"also {also}" if also else None
        )


def make_step(presets: str | Sequence[str] | Preset, *, edit_lines: bool = True) -> QualityStep:
    """The step for one preset, or for several at once. Raises `UsageError`."""
    preset = presets if isinstance(presets, Preset) else load_presets(presets)
    return QualityStep(preset, edit_lines)
