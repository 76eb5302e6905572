"""What the join says about a row, where that is kept, and how a text is edited by it."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from chatwright.curate.dedup.paragraphs import length, paragraphs, without_bare_headings


class Note(NamedTuple):
    """What a ledger line says beside the row and the action, in the order of `Candidate.drop`."""

    rule: str
    value: float | None = None
    bound: str | None = None
    other_id: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one row.

    `drop`: it goes, and why. `paragraphs` and `lines`: what is taken out of it, as (index, id of
    a row that keeps it), counted as `paragraphs.paragraphs` and `paragraphs.text_lines` do.
    `merged`: how many near-duplicates went because this row stays (a ledger line `merge`).
    """

    drop: Note | None = None
    paragraphs: tuple[tuple[int, str], ...] = ()
    lines: tuple[tuple[int, str], ...] = ()
    paragraph_bound: str = ""
    line_bound: str = ""
    merged: int = 0


@dataclass(frozen=True, slots=True)
class JoinResult:
    """The verdicts of a join, on disk; `of` may be called in any process.

    `counts`: rows dropped or edited, per rule. `folder` is the join's own, inside its scratch.
    """

    folder: Path
    counts: dict[str, int]

    def of(self, shard: int) -> dict[int, Verdict]:
        """The verdicts on a shard's rows by position; a row that is not there stays as it is.

        `shard` counts the key files in the order in which `join` was given them.
        """
        from chatwright.curate.dedup.output import read_verdicts

        return read_verdicts(self.folder, shard)

    def settled(self, failed: AbstractSet[int]) -> set[int]:
        """Of rows that a rule drops after their edit, those for which no later join can change it.

        Such a row lost nothing to another of them; the rest may get paragraphs back from these,
        and are judged again after a join `without` them. Never empty for rows that failed.
        """
        from chatwright.curate.dedup.output import settled

        return settled(self.folder, failed)


def apply_verdict(text: str, verdict: Verdict) -> tuple[str, list[Note]]:
    """The text without what the verdict takes out, and a note for each kind of edit.

    A heading under which nothing is left goes too. `drop` is not looked at.
    """
    if not verdict.paragraphs and not verdict.lines:
        return text, []
    parts = paragraphs(text)
    before = sum(length(part) for part in parts)
    gone_lines = {index for index, _ in verdict.lines}
    at = 0
    for number, part in enumerate(parts):
        rows = part.split("\n")
        kept = [row for n, row in enumerate(rows, at) if n not in gone_lines]
        at += len(rows)
        if len(kept) < len(rows):
            parts[number] = "\n".join(kept).strip("\n")
    gone_parts = {index for index, _ in verdict.paragraphs}
    gone = [n in gone_parts or not part for n, part in enumerate(parts)]
    kept_parts = without_bare_headings(parts, gone)
    after = sum(length(part) for part in kept_parts)
    share = (before - after) / before if before else 0.0
    notes = [
        Note(rule, len(found), bound, _first(found), f"{share:.1%} of its letters")
        for rule, found, bound in (
            ("duplicate-paragraphs", verdict.paragraphs, verdict.paragraph_bound),
            ("duplicate-lines", verdict.lines, verdict.line_bound),
        )
        if found
    ]
    edited = "\n\n".join(kept_parts)
    return (edited + "\n" if edited else ""), notes


def _first(found: Sequence[tuple[int, str]]) -> str:
    return min(found)[1]
