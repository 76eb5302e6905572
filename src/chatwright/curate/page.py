"""The steps that every curation has: extraction, and no row without text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatwright.curate.candidate import Candidate
from chatwright.curate.extract import Extractor, extract
from chatwright.curate.language import Language
from chatwright.curate.normalise import normalise_line

How = Literal["auto", "html", "none"]


def is_html(text: str, media_type: object, how: How = "auto") -> bool:
    """Whether a document's text is to be read as HTML."""
    if how != "auto":
        return how == "html"
    if isinstance(media_type, str) and media_type not in ("", "text/plain"):
        return "html" in media_type.lower()
    # Plain text is looked at: a column of a table may hold pages.
    start = text[:1000].lstrip("\ufeff \t\r\n").lower()
    return start.startswith(("<!doctype html", "<html", "<head", "<body"))


@dataclass(frozen=True, slots=True)
class Extract:
    """Main content of HTML as Markdown; plain text, Markdown and the like go through as they are.

    Raises `TimeoutError` past `seconds` of one page.
    """

    how: How = "auto"
    extractor: Extractor = "chatwright"
    seconds: float = 60

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            document = candidate.document
            if is_html(candidate.text, document.meta.get("media_type"), self.how):
                self._extract(candidate)
            if candidate.title:
                candidate.title = normalise_line(candidate.title)[0]

    def _extract(self, candidate: Candidate) -> None:
        html = candidate.text
        found = extract(
            html, candidate.document.uri, seconds=self.seconds, extractor=self.extractor
        )
        candidate.text = found.markdown
        candidate.extracted = True
        candidate.title = found.title or candidate.title
        candidate.anchors = [(normalise_line(line)[0], anchor) for line, anchor in found.anchors]
        candidate.language = Language(found.language_hint, 0.0)
        candidate.measures["link_ratio"] = found.link_share
        detail = "; ".join([f"from {len(html):,} characters of HTML", *found.notes])
        candidate.edit("extract", len(found.markdown), detail=detail)


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """Drops what has no text (left)."""

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            if not candidate.text.strip():
                candidate.drop("empty", 0, "min 1")
