"""What is done to one page alone, in any process: extract, normalise, tell language, measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from chatwright.curate.duplicates import paragraph_keys, text_key
from chatwright.curate.extract import extract
from chatwright.curate.language import Language, detect_language
from chatwright.curate.measures import measure
from chatwright.curate.normalise import normalise, normalise_line

How = Literal["auto", "html", "none"]


@dataclass(frozen=True, slots=True)
class RawPage:
    """What a worker needs of a document."""

    uri: str
    text: str
    media_type: str | None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page made ready for the rules: pure result of `prepare`."""

    text: str
    extracted: bool
    title: str | None
    anchors: list[tuple[str, str | None]]
    language: Language
    measures: dict[str, float]
    lines_changed: int
    lines_repaired: int
    key: bytes
    paragraph_keys: list[bytes | None]
    notes: list[str] = field(default_factory=list)


def is_html(text: str, media_type: str | None, how: How = "auto") -> bool:
    """Whether a document's text is to be read as HTML."""
    if how != "auto":
        return how == "html"
    if media_type:
        return "html" in media_type.lower()
    start = text[:1000].lstrip("\ufeff \t\r\n").lower()
    return start.startswith(("<!doctype html", "<html", "<head", "<body"))


def prepare(raw: RawPage, *, how: How = "auto", least: int = 200, seconds: float = 60) -> Page:
    """Everything that needs no other page. Raises `TimeoutError` past `seconds`.

    Markdown, plain text and reStructuredText go through without extraction.
    """
    title, hint, link_share = raw.title, None, 0.0
    anchors: list[tuple[str, str | None]] = []
    notes: list[str] = []
    text = raw.text
    extracted = is_html(raw.text, raw.media_type, how)
    if extracted:
        found = extract(raw.text, raw.uri, seconds=seconds)
        text, title, hint = found.markdown, found.title or title, found.language_hint
        anchors = [(normalise_line(line)[0], anchor) for line, anchor in found.anchors]
        link_share, notes = found.link_share, found.notes
    clean = normalise(text)
    return Page(
        text=clean.text,
        extracted=extracted,
        title=normalise_line(title)[0] if title else None,
        anchors=anchors,
        language=detect_language(clean.text, hint),
        measures=measure(clean.text, link_ratio=link_share),
        lines_changed=clean.lines_changed,
        lines_repaired=clean.lines_repaired,
        key=text_key(clean.text),
        paragraph_keys=paragraph_keys(clean.text, least),
        notes=notes,
    )
