"""Normal form of a text: one encoding of each character, plain spaces, no stray controls.

Code blocks are left as they are: in them a tab or a no-break space may be the point.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_FENCE = re.compile(r"^[ >\d.-]*(`{3,}|~{3,})")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\t]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_RUNS = re.compile(r"(?<=\S) {2,}")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Normalised:
    """The text, how many lines changed, and how many of those were mojibake that ftfy repaired."""

    text: str
    lines_changed: int
    lines_repaired: int


def split_code(markdown: str) -> list[tuple[bool, str]]:
    """The text as (is code, lines) runs; joined with newlines they give the text again.

    A fence that never closes makes the rest code, as CommonMark has it.
    """
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


def normalise(markdown: str) -> Normalised:
    r"""Repair mojibake (ftfy), compose (NFC), plain spaces, no controls; code blocks untouched.

    Line ends become `\n`; more than one blank line becomes one.
    """
    text = markdown.replace("\r\n", "\n").replace("\r", "\n")
    changed = repaired = 0
    out: list[str] = []
    for is_code, run in split_code(text):
        if is_code:
            out.append(run)
            continue
        lines = []
        for line in run.split("\n"):
            clean, mended = normalise_line(line)
            if _FENCE.match(clean):  # only now, and it opens nothing
                clean = f"\\{clean}"
            changed += clean != line
            repaired += mended
            lines.append(clean)
        out.append(_BLANK_LINES.sub("\n\n", "\n".join(lines)))
    result = "\n".join(out).strip("\n")
    return Normalised(result + "\n" if result.strip() else "", changed, repaired)


def normalise_line(line: str) -> tuple[str, bool]:
    """One line of running text in normal form, and whether ftfy repaired its encoding."""
    mended = False
    # Controls first: what stood around one may compose, or be mojibake, once it is gone.
    clean = line = _CONTROL.sub("", line.replace("\t", " "))
    if not line.isascii():
        from ftfy import fix_encoding
        from ftfy.badness import is_bad

        clean = line = _INVISIBLE.sub("", line)
        if is_bad(line):
            clean = fix_encoding(line)
            mended = clean != line
        clean = unicodedata.normalize("NFC", clean)
        clean = _INVISIBLE.sub("", _SPACES.sub(" ", _CONTROL.sub("", clean)))
    return _RUNS.sub(" ", clean.rstrip()), mended
