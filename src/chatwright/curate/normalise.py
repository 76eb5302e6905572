"""Normal form of a text: one encoding of each character, plain spaces, no stray controls.

Code blocks are left as they are: in them a tab or a no-break space may be the point. What goes
further (`normal/`: width, punctuation, script, spelling) is done when settings say so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from chatwright.curate.normal import signs
from chatwright.curate.normal.signs import is_plain_ascii, kinds

if TYPE_CHECKING:
    from chatwright.curate.normal.settings import NormaliseSettings

_FENCE = re.compile(r"^[ >\d.-]*(`{3,}|~{3,})")
_FENCES = ("```", "~~~")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\t]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_RUNS = re.compile(r"(?<=\S) {2,}")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Normalised:
    """The text, how many lines changed, and how many of those were mojibake that ftfy repaired.

    `edits` counts the lines that each kind of edit changed, in the order in which they were made;
    a line may be in several. `mojibake` is also `lines_repaired`.
    """

    text: str
    lines_changed: int
    lines_repaired: int
    edits: dict[str, int] = field(default_factory=dict)


def split_code(markdown: str) -> list[tuple[bool, str]]:
    """The text as (is code, lines) runs; joined with newlines they give the text again.

    A fence that never closes makes the rest code, as CommonMark has it.
    """
    if not any(fence in markdown for fence in _FENCES):
        return [(False, markdown)]
    runs: list[tuple[bool, list[str]]] = []
    fence = ""
    for line in markdown.split("\n"):
        found = _FENCE.match(line)
        if fence:
            runs[-1][1].append(line)
            bare = line.strip(" >")
            if found and len(bare) >= len(fence) and not bare.strip(fence[0]):
                fence = ""
                runs.append((False, []))
        elif found:
            fence = found.group(1)
            runs.append((True, [line]))
        else:
            if not runs or runs[-1][0]:
                runs.append((False, []))
            runs[-1][1].append(line)
    return [(code, "\n".join(lines)) for code, lines in runs if lines]


def normalise(markdown: str, settings: NormaliseSettings | None = None) -> Normalised:
    r"""Repair mojibake (ftfy), compose (NFC), plain spaces, no controls; code blocks untouched.

    Line ends become `\n`; more than one blank line becomes one. `settings` adds what
    `NormaliseSettings` describes. Doing it again changes nothing; time is linear in the text.
    """
    text = markdown.replace("\r\n", "\n").replace("\r", "\n") if "\r" in markdown else markdown
    further = _further(text, settings)
    edits: dict[str, int] = {}
    changed = 0
    out: list[str] = []
    for is_code, run in split_code(text):
        if is_code:
            out.append(run)
            continue
        clean = _clean(run, further, edits)
        if clean is not run:
            changed += _lines_changed(run, clean)
            if any(fence in clean for fence in _FENCES):  # only now, and it opens nothing
                lines = clean.split("\n")
                clean = "\n".join(f"\\{ln}" if _FENCE.match(ln) else ln for ln in lines)
        out.append(_BLANK_LINES.sub("\n\n", clean) if "\n\n\n" in clean else clean)
    result = "\n".join(out).strip("\n")
    result = result + "\n" if result.strip() else ""
    return Normalised(result, changed, edits.get("mojibake", 0), edits)


def normalise_line(line: str, settings: NormaliseSettings | None = None) -> tuple[str, bool]:
    """One line of running text in normal form, and whether ftfy repaired its encoding."""
    edits: dict[str, int] = {}
    clean = _clean(line, _further(line, settings), edits)
    return clean, "mojibake" in edits


def normalise_lines(
    lines: Sequence[str], text: str, settings: NormaliseSettings | None = None
) -> list[str]:
    """Lines of a page (its title, its headings) as `normalise` makes them within `text`."""
    further = _further(text, settings)
    return _clean("\n".join(ln.replace("\n", " ") for ln in lines), further, {}).split("\n")


# ── edits, each over a run of whole lines whose number it keeps ──────────────────────────────────

Edit = Callable[[str], str]


def _clean(run: str, further: Sequence[tuple[str, Edit]], edits: dict[str, int]) -> str:
    """The run with every edit made; `edits` is added to. The same object where nothing changed."""
    ascii_only = run.isascii()
    steps: list[tuple[str, Edit]] = []
    if not ascii_only or not is_plain_ascii(run):
        steps.append(("controls", _without_controls))
    if not ascii_only:
        # Controls first: what stood around one may compose, or be mojibake, once it is gone.
        steps += [("mojibake", _repaired), ("nfc", _composed), ("spaces", _plain_spaces)]
    for rule, edit in (*steps, *further, ("spaces", _plain_spaces)):
        found = edit(run)
        if found is not run and found != run:
            edits[rule] = edits.get(rule, 0) + _lines_changed(run, found)
            run = found
    return run


def _lines_changed(before: str, after: str) -> int:
    return sum(a != b for a, b in zip(before.split("\n"), after.split("\n"), strict=True))


def _without_controls(run: str) -> str:
    if not kinds(run) & signs.CONTROL:
        return run
    return _INVISIBLE.sub("", _CONTROL.sub("", run))


def _repaired(run: str) -> str:
    if not kinds(run) & (signs.SUSPECT | signs.PAIR):
        return run
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    lines = run.split("\n")
    for at, line in enumerate(lines):
        # ftfy's own test takes a millisecond for a page: only where it can say yes.
        if kinds(line) & (signs.SUSPECT | signs.PAIR) and is_bad(line):
            lines[at] = _without_controls(fix_encoding(line).replace("\n", " "))
    return "\n".join(lines)


def _composed(run: str) -> str:
    return run if unicodedata.is_normalized("NFC", run) else unicodedata.normalize("NFC", run)


def _plain_spaces(run: str) -> str:
    if "\t" in run or (not run.isascii() and kinds(run) & signs.SPACE):
        run = _SPACES.sub(" ", run)
    if "  " in run:
        run = _RUNS.sub(" ", run)
    return "\n".join([line.rstrip() for line in run.split("\n")])


def _further(text: str, settings: NormaliseSettings | None) -> list[tuple[str, Edit]]:
    """The edits that settings ask for; what depends on the whole page is decided here."""
    if settings is None:
        return []
    steps: list[tuple[str, Edit]] = []
    if not text.isascii():
        from chatwright.curate.normal.punctuation import straighten_quotes, unify_punctuation
        from chatwright.curate.normal.width import unify_width

        if settings.width:
            steps.append(("width", unify_width))
        if settings.chinese is not None:
            from chatwright.curate.normal.chinese import is_japanese, simplify

            if not is_japanese(text):
                steps.append(("simplified", partial(simplify, table=settings.chinese)))
        if settings.punctuation:
            steps.append(("punctuation", unify_punctuation))
        if settings.quotes == "straight":
            steps.append(("quotes", straighten_quotes))
    if settings.spelling is not None:
        from chatwright.curate.normal.spelling import is_english, unify_spelling

        if is_english(text):
            steps.append(("spelling", partial(unify_spelling, to=settings.spelling)))
    return steps
