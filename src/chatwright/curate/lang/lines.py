"""The language of each line of a page that mixes languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.curate.lang.common import has_common_words, lacks_common_words
from chatwright.curate.lang.scripts import line_scripts, script_letters, weight
from chatwright.curate.lang.votes import first_vote, second_vote
from chatwright.curate.language import prose, told_by_script
from chatwright.curate.normalise import split_code

_LEAST = 20  # letters of a line that is asked about; a shorter one is taken for the page's language
_LEAST_BY_SCRIPT = 6  # where its script settles it
_MOST_LINES = 2_000  # of a page that are asked about
_SURE = 0.7  # a line is said to be of another language on this much, or on two votes
_LONGEST = 1_000  # characters of a line that are looked at
_OTHER = 0.03  # share of letters in lines that look foreign from which a page may be mixed
# Scripts that one language writes.
_TOGETHER = {"Jpan": ("Kana", "Hani"), "Hang": ("Hang", "Hani")}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its language (None: nothing to read), its letters by weight, whether it is code."""

    code: str | None
    weight: int
    is_code: bool = False


def may_be_mixed(text: str, script: str | None, code: str | None = None) -> bool:
    """Whether 3 % of a page's letters stand in lines that look like another language's.

    They are in another script than the page's, or have none of the commonest words of `code`.
    """
    if "```" in text or "~~~" in text:
        text = "\n".join(run for is_code, run in split_code(text) if not is_code)
    usual = _TOGETHER.get(script or "", (script,))
    total, other = 0, 0
    for line, (letters, size) in zip(text.split("\n"), line_scripts(text), strict=True):
        total += size
        if size >= _LEAST and (
            letters not in usual or lacks_common_words(line[:_LONGEST], code or "")
        ):
            other += size
    return other > 0 and other >= _OTHER * total


def line_languages(text: str, main: str | None) -> list[Line]:
    """The language of each line of `text`, in order; what cannot be told is of the `main` one."""
    lines: list[Line] = []
    known: dict[str, Line] = {}
    for is_code, run in split_code(text):
        for line, (_, size) in zip(run.split("\n"), line_scripts(run), strict=True):
            if is_code or not size:
                lines.append(Line(None, 0, is_code))
                continue
            if line not in known:
                start = line[:_LONGEST]
                usual = has_common_words(start, main or "") or len(known) >= _MOST_LINES
                known[line] = Line(main, size) if usual else _line(start, main)
            lines.append(known[line])
    return lines


def _line(line: str, main: str | None) -> Line:
    words = " ".join(prose(line).split())
    letters = script_letters(words)
    size = weight(letters)
    if size < _LEAST_BY_SCRIPT:
        return Line(main if size else None, size)
    code, _ = told_by_script(letters)
    if code is None and size < _LEAST:
        return Line(main, size)
    if code == "zh" and main == "ja" and "Kana" not in letters:
        code = "ja"  # a heading may have no kana
    if code is None:
        code, chance = first_vote(words)
        if code != main and chance < _SURE and second_vote(words) != code:
            code = main
    return Line(code or main, size)


def shares(lines: Sequence[Line]) -> dict[str, float]:
    """Each language's share of the letters, largest first."""
    sizes: dict[str, int] = {}
    for line in lines:
        if line.code is not None:
            sizes[line.code] = sizes.get(line.code, 0) + line.weight
    total = sum(sizes.values())
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return {code: round(size / total, 4) for code, size in ordered} if total else {}


def without(text: str, lines: Sequence[Line], drop: set[str]) -> str:
    """The text without the lines of some languages; blank lines never double."""
    kept: list[str] = []
    for line, told in zip(text.split("\n"), lines, strict=True):
        if told.code in drop:
            continue
        if not told.is_code and not line.strip() and (not kept or not kept[-1].strip()):
            continue
        kept.append(line)
    body = "\n".join(kept).strip("\n")
    return body + "\n" if body else ""
