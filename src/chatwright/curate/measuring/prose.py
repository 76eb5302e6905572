"""The lines of prose of a Markdown text: without code, bullets, headings' signs and emphasis."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatwright.curate.normalise import split_code

_HEADING = re.compile(r"^#{1,6}\s+")
_BULLET = re.compile(r"^\s*(?:[-*+•●▪‣·]|\d+[.)、])\s+")
_FIRST = "#>-+•●▪‣·"  # what a line may begin with that is no text; and "" is in it
_MARKS = re.compile(r"\*{1,3}|`+|^[\s>]+|\|(?:\s*-{3,}\s*\|)*", re.M)


@dataclass(frozen=True, slots=True)
class Prose:
    """`lines` are cleaned and never blank; `breaks` tells which of them begin a paragraph.

    `code` holds the lines of code blocks that are not blank, `bullets` how many lines had a bullet
    or a number.
    """

    lines: list[str]
    breaks: list[int]
    bullets: int
    code: list[str]


def clean_line(line: str) -> str:
    """A line without what Markdown adds to its words."""
    if is_plain(line):
        return line.rstrip()
    return _MARKS.sub(" ", _HEADING.sub("", _BULLET.sub("", line))).strip()


def is_plain(line: str) -> bool:
    """Whether there is nothing to clean, as in most lines: a regular expression costs more."""
    if "*" in line or "`" in line or "|" in line:
        return False
    first = line[:1]
    return first.isalpha() or not (first in _FIRST or first.isspace() or first.isdecimal())


def read_prose(markdown: str) -> Prose:
    """The prose and the code of a text."""
    lines: list[str] = []
    breaks: list[int] = []
    code: list[str] = []
    bullets = 0
    fenced = "```" in markdown or "~~~" in markdown
    for is_code, run in split_code(markdown) if fenced else [(False, markdown)]:
        if is_code:
            code.extend(ln for ln in run.split("\n")[1:-1] if ln.strip())
            continue
        after_blank = True
        for line in run.split("\n"):
            if is_plain(line):
                clean = line.rstrip()
            elif not line or line.isspace():
                after_blank = True
                continue
            else:
                bullets += _BULLET.match(line) is not None
                clean = clean_line(line)
                if not clean:
                    continue
            if after_blank:
                breaks.append(len(lines))
                after_blank = False
            lines.append(clean)
    return Prose(lines, breaks, bullets, code)
