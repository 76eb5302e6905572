"""A row on its way through the steps of a curation, and what a step is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from chatwright.curate.language import Language
from chatwright.records import Document, LedgerEntry
from chatwright.records.schema import Action

_UNTOLD = Language(None, 0.0)


@dataclass(slots=True)
class Candidate:
    """One row with what the steps have made of it so far.

    `document` stays as it was read; `text` is the current text, and steps replace it. `meta` is
    what the curated row's `meta` gets beside its measures. Every change leaves a line in `lines`
    (`edit`), and after `drop` no further step sees the row.
    """

    document: Document
    stage: str
    text: str
    extracted: bool = False
    title: str | None = None
    anchors: list[tuple[str, str | None]] = field(default_factory=list)
    language: Language = _UNTOLD
    measures: dict[str, float] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    lines: list[LedgerEntry] = field(default_factory=list)
    dropped: bool = False

    def edit(
        self,
        rule: str,
        value: float | None = None,
        bound: str | None = None,
        *,
        other_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Note that a rule changed the row."""
        self._add("edit", rule, value, bound, other_id=other_id, detail=detail)

    def drop(
        self,
        rule: str,
        value: float | None = None,
        bound: str | None = None,
        *,
        other_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Take the row out: this is its last line."""
        self._add("drop", rule, value, bound, other_id=other_id, detail=detail)
        self.dropped = True

    def merge(
        self,
        rule: str,
        value: float | None = None,
        bound: str | None = None,
        *,
        other_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Note that other rows went because this one stays."""
        self._add("merge", rule, value, bound, other_id=other_id, detail=detail)

    def _add(
        self,
        action: Action,
        rule: str,
        value: float | None,
        bound: str | None,
        *,
        other_id: str | None,
        detail: str | None,
    ) -> None:
        number = None if value is None else float(value)
        row_id, uri = self.document.id, self.document.uri
        if detail is not None and not detail.isascii():
            # An error may quote what no file can hold: half a surrogate pair.
            detail = detail.encode("utf-8", "replace").decode()
        self.lines.append(
            LedgerEntry(row_id, uri, self.stage, action, rule, number, bound, other_id, detail)
        )


class Step(Protocol):
    """What a curation does to rows: made from settings, without state, equal in every process.

    It sees a batch, so that it can be vectorised, and only rows that are not dropped.
    """

    def __call__(self, candidates: list[Candidate]) -> None: ...
