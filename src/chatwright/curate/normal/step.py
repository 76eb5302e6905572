"""The step of a curation that brings each row into normal form, with a ledger line per kind."""

from __future__ import annotations

from dataclasses import dataclass

from chatwright.curate.candidate import Candidate
from chatwright.curate.normal.settings import NormaliseSettings
from chatwright.curate.normalise import normalise, normalise_lines

# What the ledger says of each kind of edit.
DETAILS = {
    "controls": "lines with control or invisible characters",
    "mojibake": "lines repaired",
    "nfc": "lines composed (NFC)",
    "spaces": "lines with other spaces",
    "width": "lines with full-width letters, digits or signs",
    "simplified": "lines converted to simplified Chinese",
    "punctuation": "lines with punctuation of another script",
    "quotes": "lines with curly quotes",
    "spelling": "lines respelled",
}


@dataclass(frozen=True, slots=True)
class NormaliseStep:
    """Normal form of text, title and headings. Each kind of edit is a rule; its value is lines."""

    settings: NormaliseSettings

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            self._edit(candidate)

    def _edit(self, candidate: Candidate) -> None:
        found = normalise(candidate.text, self.settings)
        lines = [line for line, _ in candidate.anchors]
        if candidate.title:
            lines.append(candidate.title)
        if lines:
            lines = normalise_lines(lines, candidate.text, self.settings)
            if candidate.title:
                candidate.title = lines.pop()
            fragments = [fragment for _, fragment in candidate.anchors]
            candidate.anchors = list(zip(lines, fragments, strict=True))
        candidate.text = found.text
        for rule, count in found.edits.items():
            bounds = {"spelling": self.settings.spelling, "simplified": self.settings.chinese}
            candidate.edit(rule, count, bounds.get(rule), detail=DETAILS[rule])


def make_step(settings: NormaliseSettings | None) -> NormaliseStep:
    """The step. Without settings it makes only the edits that are always made."""
    return NormaliseStep(
        settings or NormaliseSettings(width=False, punctuation=False, quotes="keep")
    )
