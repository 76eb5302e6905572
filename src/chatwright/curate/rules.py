"""The rules in order, over pages in input order: what becomes of each row, and its ledger lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatwright.curate.duplicates import SeenBefore
from chatwright.curate.measures import measure
from chatwright.curate.page import Page
from chatwright.curate.pool import Failure
from chatwright.curate.quality import Preset, failures
from chatwright.records import Document, LedgerEntry
from chatwright.records.schema import Action


@dataclass(slots=True)
class Curator:
    """Takes each document with what `prepare` made of it; order matters only for duplicates.

    `counts` adds up, per rule, how many rows it dropped or edited.
    """

    stage: str
    preset: Preset
    languages: Sequence[str] | None = None
    least_confidence: float = 0.0
    drop_duplicates: bool = True
    drop_paragraphs: bool = True
    seen: SeenBefore = field(default_factory=SeenBefore)
    counts: Counter[str] = field(default_factory=Counter)

    def judge(
        self, document: Document, page: Page | Failure
    ) -> tuple[Document | None, list[LedgerEntry]]:
        """The curated document, or None where it was dropped; and its ledger lines.

        The last line, and only the last, is a keep or a drop. The row keeps its id: it is the same
        page, edited (docs/decisions/0002-extraction.md).
        """
        lines = _Lines(document, self.stage)
        curated = self._judge(document, page, lines)
        for entry in lines.entries:
            self.counts[f"{entry.action} {entry.rule}"] += 1
        return curated, lines.entries

    def _judge(self, document: Document, page: Page | Failure, lines: _Lines) -> Document | None:
        if isinstance(page, Failure):
            lines.add("drop", page.kind, detail=page.detail)
            return None
        self._log_edits(document, page, lines)
        if self._is_unwanted(document, page, lines):
            return None
        text, measures = page.text, page.measures
        if self.drop_paragraphs:
            removal = self.seen.remove_paragraphs(document.id, text, page.paragraph_keys)
            if removal is not None:
                lines.add(
                    "edit",
                    "duplicate-paragraphs",
                    removal.paragraphs,
                    str(self.preset.duplicate_paragraphs),
                    other_id=removal.other_id,
                    detail=f"{removal.share:.1%} of its letters",
                )
                text = removal.text
                measures = measure(text, link_ratio=measures["link_ratio"])
                if self._fails_quality(measures, page.language.code, lines):
                    self.seen.forget(document.id, page.key, page.paragraph_keys)
                    return None
        lines.add("keep", "curated", measures["word_count"], detail="words")
        return _curated(document, page, text, measures)

    def _is_unwanted(self, document: Document, page: Page, lines: _Lines) -> bool:
        """Whether a rule about the whole page drops it; then its last line says which."""
        if not page.text.strip():
            lines.add("drop", "empty", 0, "min 1", detail="; ".join(page.notes) or None)
            return True
        code, confidence = page.language.code, page.language.confidence
        if self.languages is not None and code is not None:
            if code not in self.languages:
                lines.add("drop", "language", confidence, " or ".join(self.languages), detail=code)
                return True
            if confidence < self.least_confidence:
                bound = f"min {self.least_confidence:g}"
                lines.add("drop", "language-confidence", confidence, bound, detail=code)
                return True
        if self._fails_quality(page.measures, code, lines):
            return True
        other = self.seen.document(document.id, page.key) if self.drop_duplicates else None
        if other is not None:
            lines.add("drop", "duplicate-document", other_id=other)
        return other is not None

    def _fails_quality(self, measures: dict[str, float], code: str | None, lines: _Lines) -> bool:
        failed = failures(measures, self.preset, code)
        if failed:
            first, *others = failed
            also = "; ".join(f"{f.rule} {f.value:.4g} ({f.bound})" for f in others)
            detail = f"also {also}" if also else None
            lines.add("drop", first.rule, first.value, first.bound, detail=detail)
        return bool(failed)

    def _log_edits(self, document: Document, page: Page, lines: _Lines) -> None:
        if page.extracted:
            detail = f"from {len(document.text):,} characters of HTML"
            lines.add("edit", "extract", len(page.text), detail="; ".join([detail, *page.notes]))
        if page.lines_repaired:
            lines.add("edit", "mojibake", page.lines_repaired, detail="lines repaired")
        if page.lines_changed > page.lines_repaired:
            changed = page.lines_changed - page.lines_repaired
            lines.add("edit", "normalise", changed, detail="lines changed")


class _Lines:
    """The ledger lines of one row."""

    def __init__(self, document: Document, stage: str) -> None:
        self._blank = LedgerEntry(document.id, document.uri, stage, "keep", "")
        self.entries: list[LedgerEntry] = []

    def add(
        self,
        action: Action,
        rule: str,
        value: float | None = None,
        bound: str | None = None,
        *,
        other_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        number = None if value is None else float(value)
        self.entries.append(
            replace(
                self._blank,
                action=action,
                rule=rule,
                value=number,
                bound=bound,
                other_id=other_id,
                detail=detail,
            )
        )


def _curated(document: Document, page: Page, text: str, measures: dict[str, float]) -> Document:
    meta = dict(document.meta)
    if page.title:
        meta["title"] = page.title
    if page.anchors:
        meta["anchors"] = [list(pair) for pair in page.anchors]
    if page.extracted:
        meta["media_type"] = "text/markdown"
    meta["language_confidence"] = page.language.confidence
    meta["measures"] = {name: round(value, 4) for name, value in measures.items()}
    return replace(document, text=text, language=page.language.code or document.language, meta=meta)
