"""Exact duplicates: whole documents, and paragraphs that an earlier document has said already.

Pure maps make the keys (one document at a time, in any process); the join is a dictionary that
sees documents in input order, so the first to say something keeps it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field

from chatwright.curate.normalise import split_code
from chatwright.curate.words import HAN

_NOT_LETTERS = re.compile(r"[\W_]+")
_HEADING = re.compile(r"^(#{1,6})\s")
_HAN = re.compile(f"[{HAN}]")


def text_key(text: str) -> bytes:
    """16 bytes: equal for texts that differ only in case, width, spacing and punctuation.

    A text without a single letter or digit is compared as it is.
    """
    folded = _NOT_LETTERS.sub("", unicodedata.normalize("NFKC", text).casefold())
    return hashlib.blake2b((folded or text).encode("utf-8", "replace"), digest_size=16).digest()


def paragraphs(markdown: str) -> list[str]:
    """Headings, paragraphs, lists, tables, code: joined by blank lines they are the text."""
    out: list[str] = []
    for is_code, run in split_code(markdown):
        if is_code:
            out.append(run)
        else:
            out.extend(p for p in (q.strip("\n") for q in re.split(r"\n\s*\n", run)) if p)
    return out


def is_heading(paragraph: str) -> int:
    """The heading's level, or 0."""
    found = _HEADING.match(paragraph)
    return len(found.group(1)) if found and "\n" not in paragraph else 0


def is_code(paragraph: str) -> bool:
    """Whether it is a fenced code block."""
    return paragraph.lstrip(" >").startswith(("```", "~~~"))


def length(paragraph: str) -> int:
    """Letters and digits; a Chinese character counts as three, so that one bound fits both."""
    return len(_NOT_LETTERS.sub("", paragraph)) + 2 * len(_HAN.findall(paragraph))


def paragraph_keys(markdown: str, least: int) -> list[bytes | None]:
    """One key per paragraph; None for what is never a duplicate: headings, code, short ones.

    Code stays because an example that two pages share belongs to the text around it in both.
    """
    return [
        None if is_heading(p) or is_code(p) or length(p) < least else text_key(p)
        for p in paragraphs(markdown)
    ]


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out of one document."""

    text: str
    paragraphs: int
    share: float
    other_id: str


@dataclass(slots=True)
class SeenBefore:
    """The join: which documents said what first. One per curated dataset; order matters.

    A paragraph stays in the first `copies` documents that hold it.
    """

    copies: int = 1
    documents: dict[bytes, str] = field(default_factory=dict)
    paragraphs: dict[bytes, list[str]] = field(default_factory=dict)

    def document(self, row_id: str, key: bytes) -> str | None:
        """The id of an earlier document with this key, or None and it is remembered."""
        first = self.documents.get(key)
        if first is None:
            self.documents[key] = row_id
        return first

    def forget(self, row_id: str, key: bytes, keys: list[bytes | None]) -> None:
        """Take back a document that was dropped after all: what it said, nobody has said yet."""
        if self.documents.get(key) == row_id:
            del self.documents[key]
        for paragraph in keys:
            holders = self.paragraphs.get(paragraph, []) if paragraph is not None else []
            if row_id in holders:
                holders.remove(row_id)

    def remove_paragraphs(
        self, row_id: str, markdown: str, keys: list[bytes | None]
    ) -> Removal | None:
        """Take out paragraphs that an earlier document holds; None where there are none.

        A heading under which nothing is left goes too. The document's own repetitions stay.
        """
        parts = paragraphs(markdown)
        gone: list[bool] = []
        other = ""
        for key in keys:
            holders = [row_id] if key is None else self.paragraphs.setdefault(key, [])
            if row_id not in holders and len(holders) < self.copies:
                holders.append(row_id)
            gone.append(row_id not in holders)
            other = other or (holders[0] if gone[-1] else "")
        removed = sum(gone)
        if not removed:
            return None
        before = sum(length(part) for part in parts)
        kept = _without_bare_headings(parts, gone)
        after = sum(length(part) for part in kept)
        text = "\n\n".join(kept)
        share = (before - after) / before if before else 0.0
        return Removal(text + "\n" if text else "", removed, share, other)


def _without_bare_headings(parts: list[str], gone: list[bool]) -> list[str]:
    """What stays: a heading goes when something under it was removed and no text is left there.

    One pass from the end: for each level, whether the section that such a heading would open has
    text left, and whether it lost some.
    """
    has_text = [False] * 7
    has_lost = [False] * 7
    kept: list[str] = []
    for part, is_gone in zip(reversed(parts), reversed(gone), strict=True):
        level = is_heading(part)
        if level:
            if has_text[level] or not has_lost[level]:
                kept.append(part)
            for deeper in range(level, 7):  # the section of an earlier such heading ends here
                has_text[deeper] = has_lost[deeper] = False
        else:
            flags = has_lost if is_gone else has_text
            flags[1:] = [True] * 6
            if not is_gone:
                kept.append(part)
    return kept[::-1]
