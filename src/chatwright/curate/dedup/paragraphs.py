"""The parts of a page that other pages may repeat: its paragraphs and its lines, and their keys.

A key is equal for texts that differ only in case, width, spacing and punctuation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from chatwright.curate.dedup.folding import folded
from chatwright.curate.normalise import split_code
from chatwright.curate.words import HAN

_NOT_LETTERS = re.compile(r"[\W_]+")
_HEADING = re.compile(r"^(#{1,6})\s")
_HAN = re.compile(f"[{HAN}]")
_SMALL = bytes(range(128)).lower() + bytes(range(128, 256))
_NO_LETTERS = bytes(n for n in range(128) if not chr(n).isalnum())


def text_key(text: str) -> bytes:
    """16 bytes: equal for texts that differ only in case, width, spacing and punctuation.

    A text without a single letter or digit is compared as it is.
    """
    return hashlib.blake2b(_letters(text), digest_size=16).digest()


def _letters(text: str) -> bytes:
    if text.isascii():
        data = text.encode("ascii")
        return data.translate(_SMALL, _NO_LETTERS) or data
    return (_NOT_LETTERS.sub("", folded(text)) or text).encode("utf-8", "replace")


def paragraphs(markdown: str) -> list[str]:
    """Headings, paragraphs, lists, tables, code: joined by blank lines they are the text."""
    out: list[str] = []
    for is_code, run in split_code(markdown):
        if is_code:
            out.append(run)
        else:
            out.extend(p for p in (q.strip("\n") for q in re.split(r"\n\s*\n", run)) if p)
    return out


def text_lines(parts: Sequence[str]) -> list[str]:
    """The lines of all paragraphs, without the blank ones between them."""
    return [line for part in parts for line in part.split("\n")]


def is_heading(paragraph: str) -> int:
    """The heading's level, or 0."""
    found = _HEADING.match(paragraph)
    return len(found.group(1)) if found and "\n" not in paragraph else 0


def is_code(paragraph: str) -> bool:
    """Whether it is a fenced code block."""
    return paragraph.lstrip(" >").startswith(("```", "~~~"))


def length(paragraph: str) -> int:
    """Letters and digits; a Chinese character counts as three, so that one bound fits both."""
    if paragraph.isascii():
        return len(paragraph.encode("ascii").translate(None, _NO_LETTERS))
    return len(_NOT_LETTERS.sub("", paragraph)) + 2 * len(_HAN.findall(paragraph))


def paragraph_keys(parts: Sequence[str], least: int) -> list[bytes | None]:
    """One key per paragraph; None for what is never a duplicate: headings, code, short ones.

    Code stays because an example that two pages share belongs to the text around it in both.
    """
    return [
        None
        # Three times the characters is the most that `length` can give.
        if 3 * len(p) < least or is_heading(p) or is_code(p) or length(p) < least
        else text_key(p)
        for p in parts
    ]


def site_of(uri: str) -> str | None:
    """The host of a web address, without `www.`; None for what is no web address."""
    try:
        url = urlsplit(uri)
        host = url.hostname
    except ValueError:
        return None
    if url.scheme not in ("http", "https") or not host:
        return None
    return host.removeprefix("www.")


def line_keys(parts: Sequence[str], site: str, least: int) -> list[int | None]:
    """One key of 64 bits per line (`text_lines`), for this site alone; None for what stays.

    Headings stay, and code, and tables: without its first row a table cannot be read.
    """
    person = hashlib.blake2b(site.encode("utf-8", "replace"), digest_size=16).digest()
    out: list[int | None] = []
    for part in parts:
        rows = part.split("\n")
        if is_heading(part) or is_code(part):
            out.extend([None] * len(rows))
            continue
        for row in rows:
            plain = row.lstrip(" >")
            if plain.startswith(("|", "#")) or 3 * len(row) < least or length(row) < least:
                out.append(None)
            else:
                digest = hashlib.blake2b(_letters(row), digest_size=8, person=person).digest()
                out.append(int.from_bytes(digest, "little"))
    return out


def without_bare_headings(parts: Sequence[str], gone: Sequence[bool]) -> list[str]:
    """What stays: a heading goes when something under it was removed and no text is left there.

    One pass from the end: for each level, whether the section that such a heading would open has
    text left, and whether it lost some.
    """
    has_text = [False] * 7
    has_lost = [False] * 7
    kept: list[str] = []
    for part, is_gone in zip(reversed(parts), reversed(gone), strict=True):
        level = 0 if is_gone else is_heading(part)
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
