"""From the lines of a PDF's pages to paragraphs: a page knows ink, not where a thought ends."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatwright.curate.words import HAN

_ENDS = re.compile(
    r"[.!?:;\u3002\uff01\uff1f\uff1a\uff1b\u2026][\"'\u201d\u2019\u300d\u300f)\]\uff09]*$"
)
_BEGINS = re.compile(
    r"(?:[-*\u2022\u25cf\u25aa\u00b7\u2013]|\(?\d{1,3}[.)\u3001]|[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341]+\u3001)\s*\S"
)
_BULLET = re.compile(r"^[\u2022\u25cf\u25aa\u00b7\u2013]\s*")
_NUMBER_ALONE = re.compile(
    r"\W*(?:page\s*)?\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?\W*|\u7b2c\s*\d{1,4}\s*\u9875.{0,12}", re.I
)
_HAN_END = re.compile(rf"[{HAN}\u3001\uff0c]$")
_HAN_START = re.compile(rf"^[{HAN}]")
_LEAST_PAGES = 4  # of which a running head must stand on half, and on three
_FULL = 0.75  # of a page's usual width: a shorter line ends where its author ended it
_NEARLY = 0.95  # likewise, where a sentence ends with it
_EDGE_LINES = 2
_MARK = re.compile(r"^(#{1,6}\s|>|`{3}|~{3})")


@dataclass(frozen=True, slots=True)
class Page:
    """A page's lines from top to bottom, and the headings that the outline places on it."""

    number: int
    lines: list[str]
    headings: list[tuple[int, str]] = field(default_factory=list)


def reflow(pages: Sequence[Page]) -> Iterator[tuple[int, str, str]]:
    """(page number, its text as Markdown, what stands between it and the text before).

    Running heads and page numbers go; lines become paragraphs; a word cut at a line's end is whole
    again; a paragraph that goes on over a page's end stays one.
    """
    running = _running(pages)
    before = ""
    for page in pages:
        lines = _without_edges(page.lines, running)
        text = "\n\n".join(_with_headings(paragraphs(lines), page.headings))
        glue = "\n\n"
        last = before.rsplit("\n\n", 1)[-1]
        if before and text and not last.startswith("#") and not _ENDS.search(last):
            if _HAN_END.search(last) and _HAN_START.match(text):
                glue = ""
            elif text[0].islower():
                glue = " "
        yield page.number, text, glue if before else ""
        before = text or before


def paragraphs(lines: Sequence[str]) -> list[str]:
    """Lines put together as far as they belong together."""
    widths = sorted(_width(line) for line in lines if line.strip())
    usual = widths[math.ceil(0.9 * (len(widths) - 1))] if widths else 0
    out: list[str] = []
    parts: list[str] = []

    def close() -> None:
        if parts:
            out.append(_join(parts))
            parts.clear()

    for raw in lines:
        line = raw.strip()
        if not line:
            close()
            continue
        if parts:
            share = _width(parts[-1]) / max(usual, 1)
            ended = share < _FULL or (share < _NEARLY and _ENDS.search(parts[-1]))
            if ended or _BEGINS.match(line):
                close()
        parts.append(line)
    close()
    return [_BULLET.sub("- ", _MARK.sub(r"\\\1", text)) for text in out]


def _join(parts: Sequence[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        if re.search(r"[a-z]-$", text) and part[:1].islower():
            text = text[:-1] + part  # "exam-" "ple"
        elif _HAN_END.search(text) and _HAN_START.match(part):
            text += part
        else:
            text += f" {part}"
    return text


def _width(line: str) -> int:
    """In half-width columns, more or less."""
    return sum(2 if ord(letter) >= 0x2E80 else 1 for letter in line.strip())


def _shape(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split()).casefold())


def _edges(lines: Sequence[str]) -> list[int]:
    filled = [index for index, line in enumerate(lines) if line.strip()]
    return sorted({*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]})


def _running(pages: Sequence[Page]) -> frozenset[str]:
    """Shapes of lines that stand at the edge of half of all pages."""
    if len(pages) < _LEAST_PAGES:
        return frozenset()
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_shape(page.lines[index]) for index in _edges(page.lines)})
    least = max(3, len(pages) / 2)  # odd and even pages have heads of their own
    return frozenset(s for s, count in seen.items() if count >= least and _letters(s))


def _without_edges(lines: Sequence[str], running: frozenset[str]) -> list[str]:
    gone = {
        index
        for index in _edges(lines)
        if _shape(lines[index]) in running or _NUMBER_ALONE.fullmatch(lines[index].strip())
    }
    return [line for index, line in enumerate(lines) if index not in gone]


def _with_headings(blocks: list[str], headings: Sequence[tuple[int, str]]) -> list[str]:
    """Each heading in the place where its words stand; at the page's top where they do not."""
    missing: list[str] = []
    at = 0
    for level, title in headings:
        mark = "#" * min(level + 1, 6)
        wanted = _letters(title)
        for index in range(at, len(blocks)):
            rest = _after(blocks[index], wanted)
            if wanted and rest is not None:
                blocks[index : index + 1] = [f"{mark} {title}", *([rest] if rest else [])]
                at = index + 1
                break
        else:
            missing.append(f"{mark} {title}")
    return [*missing, *blocks]


def _after(block: str, wanted: str) -> str | None:
    """What follows the heading in a block that begins with it; None where it does not.

    Numbers before a heading ("2.1 Fees") may stand in the text and not in the outline.
    """
    for text in (block, re.sub(r"^[\d.\s]{1,12}(?=\D)", "", block)):
        letters = 0
        end = None
        for position, letter in enumerate(text, start=1):
            letters += len(_letters(letter))
            if letters >= len(wanted):
                end = position
                break
        if end is None or _letters(text[:end]) != wanted:
            continue
        rest = text[end:].strip()
        if not _letters(rest):
            return ""
        # "Fees are due" does not begin with the heading "Fees": what follows must be a beginning.
        if len(wanted) > 3 and text[end].isspace() and rest[0].isupper():
            return rest
    return None


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
