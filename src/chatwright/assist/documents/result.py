"""What a document gives, what it may cost, and what is said when it gives nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from chatwright.curate.normalise import normalise
from chatwright.errors import DataError

Kind = Literal["text", "markdown", "html", "pdf", "docx"]
Reason = Literal["unsupported", "too_large", "unreadable", "empty", "busy"]

_TAGS = re.compile("[\U000e0000-\U000e007f]")

ACCEPTED = ".md, .txt, .html, .pdf and .docx"


class DocumentError(DataError):
    """A document cannot be read. `reason` says of which kind the trouble is; `where` is its name.

    `unsupported`: no format that is read here. `too_large`: more than a bound allows (bytes, pages,
    unpacked size, time, memory). `unreadable`: damaged, locked, or made to do harm. `empty`: holds
    no text. `busy`: too many others are being read.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        reason: Reason = "unreadable",
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What one document may take.

    `bytes` as uploaded and `unpacked` after decompression (of a .docx's parts, of a PDF's stream);
    `pages` and `characters` of text; `cpu_seconds` of computing, `seconds` of waiting for it, and
    `memory` bytes of address space of the process that reads it; `members` of a zip.
    """

    bytes: int = 25 << 20
    unpacked: int = 64 << 20
    pages: int = 2_000
    characters: int = 3_000_000
    members: int = 4_000
    cpu_seconds: int = 30
    seconds: float = 90.0
    memory: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document as Markdown.

    `pages`: (position in `text` where a page begins, its number from 1), in order; none where the
    format has no pages. `notes` say what was left out, in plain words.
    """

    kind: Kind
    text: str
    title: str = ""
    pages: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "text": self.text,
            "title": self.title,
            "pages": [list(page) for page in self.pages],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        pages = tuple((int(at), int(number)) for at, number in values["pages"])
        return cls(values["kind"], values["text"], values["title"], pages, tuple(values["notes"]))


class PagedText:
    """Collects the text of pages, and where each begins.

    A paragraph that goes on over the end of a page stays one.
    """

    def __init__(self, most: int) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._most = most
        self.pages: list[tuple[int, int]] = []
        self.full = False

    def page(self, number: int, text: str = "", glue: str = "\n\n") -> None:
        """A page begins, with this text after `glue`."""
        if self._size:
            self._put(glue)
        if not self.pages or self.pages[-1][1] != number:
            self.pages.append((self._size, number))
        self._put(text)

    def add(self, text: str) -> None:
        """A further block of the same page."""
        self._put(f"\n\n{text}" if self._size else text)

    def text(self) -> str:
        return "".join(self._parts)

    def _put(self, text: str) -> None:
        room = self._most - self._size
        if len(text) > room:
            text, self.full = text[:room], True
        self._parts.append(text)
        self._size += len(text)


def normal_text(text: str) -> str:
    """Normal form (`curate.normalise`), and no tag characters: those are seen by nobody, and a
    model reads them as letters.
    """
    return normalise(_TAGS.sub("", text)).text


def joined_notes(notes: Sequence[str], full: bool, limits: DocumentLimits) -> tuple[str, ...]:
    """The notes, and that the text was cut where it was."""
    cut = [f"only the first {limits.characters:,} characters were read"] if full else []
    return (*notes, *cut)
