"""One punctuation for each language, decided line by line, since pages mix languages.

A line is Chinese when a Chinese reader would say so: Han characters, no kana, no Hangul, and not
outweighed by other letters. There a mark beside a Chinese character is full-width (GB/T 15834).
In a line without Han and kana the full-width marks become ASCII. Japanese lines stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from chatwright.curate.normal.protect import (
    Spans,
    edit_outside,
    has_protected_signs,
    inside,
    protected,
)
from chatwright.curate.normal.signs import (
    BRACKET,
    CURLY,
    KANA,
    MARK,
    OTHER_QUOTE,
    WIDE_MARK,
    chinese_lines_with_marks,
    kinds,
)
from chatwright.curate.normal.signs import HAN as HAN_KIND
from chatwright.curate.words import HAN

_HAN = re.compile(f"[{HAN}]")
_OTHER_ASIAN = re.compile("[\u3041-\u30ff\u1100-\u11ff\uac00-\ud7af]")
_ASIAN = re.compile(f"[{HAN}\u3041-\u30ff]")
_LATIN = re.compile("[A-Za-z]")
_ASCII_MARK = re.compile(r'[,.!?:;()"]')
_WIDE_MARK = re.compile("[\u3001\u3002\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f]")
_CURLY = re.compile("[\u2018\u2019\u201c\u201d]")
# Quotation marks of languages in which a curly quote is half of another pair.
_OTHER_QUOTES = re.compile("[\u201a\u201e\u00ab\u00bb\u2039\u203a]")
_IN_NUMBER = re.compile("(?<=[0-9])[\uff0c\uff0e\uff1a](?=[0-9])")
_STOPS = re.compile("(?<=[" + HAN + "\u201d\uff09\u300b])(?:\\.{3,}|\u3002{3,})")
_NUMERAL = re.compile("\\s*[\u7b2c(\uff08]?[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d"
                      "\u5341\u767e\u7532\u4e59\u4e19\u4e01]+$")  # fmt: skip

_TO_WIDE = {",": "\uff0c", ".": "\u3002", "!": "\uff01", "?": "\uff1f", ":": "\uff1a",
            ";": "\uff1b", "(": "\uff08", ")": "\uff09"}  # fmt: skip
_TO_ASCII = {"\u3001": ",", "\u3002": ".", "\uff01": "!", "\uff08": "(", "\uff09": ")",
             "\uff0c": ",", "\uff0e": ".", "\uff1a": ":", "\uff1b": ";", "\uff1f": "?"}  # fmt: skip
# What a Chinese mark may follow, beside a Han character.
_AFTER = "\u201d\u2019\uff09\u300b\u300d\u300f\u3011\uff05\u2026\u3001\u3002\uff01\uff1f"
_MARKUP = "*_~"
_FAR = 8  # markup signs looked through
_QUOTED = 100  # characters between a pair of straight quotes


def unify_punctuation(run: str) -> str:
    """Full-width marks in Chinese, ASCII marks elsewhere; the number of lines stays."""
    found = kinds(run)
    chinese = chinese_lines_with_marks(run) if found & HAN_KIND and found & (MARK | BRACKET) else []
    if not chinese and not found & (WIDE_MARK | HAN_KIND):
        return run
    lines = run.split("\n")
    for at in chinese:
        lines[at] = _settled(lines[at], _chinese)
    if found & WIDE_MARK:
        for at, line in enumerate(lines):
            if not line.isascii() and not _ASIAN.search(line) and _WIDE_MARK.search(line):
                lines[at] = _settled(line, _plain)
            elif _IN_NUMBER.search(line) or "\u3002\u3002\u3002" in line:
                lines[at] = _settled(line, _chinese) if _is_chinese(line) else line
    return "\n".join(lines)


def straighten_quotes(run: str) -> str:
    """Curly quotes made straight in lines without Han and kana; the number of lines stays."""
    found = kinds(run)
    if not found & CURLY:
        return run
    if not found & (HAN_KIND | KANA | OTHER_QUOTE) and not has_protected_signs(run):
        return _straight(run)
    lines = run.split("\n")
    for at, line in enumerate(lines):
        if _CURLY.search(line) and not _ASIAN.search(line) and not _OTHER_QUOTES.search(line):
            lines[at] = edit_outside(line, _straight)
    return "\n".join(lines)


def _straight(text: str) -> str:
    text = text.replace("\u2018", "'").replace("\u2019", "'")
    return text.replace("\u201c", '"').replace("\u201d", '"')


def _settled(line: str, edit: Callable[[str], str]) -> str:
    """A mark that became plain may end what was taken for an address: look again until still."""
    for _ in range(4):
        found = edit(line)
        if found == line:
            break
        line = found
    return line


def _is_chinese(line: str) -> bool:
    han = len(_HAN.findall(line))
    # A Chinese character says as much as some three letters.
    return han > 0 and not _OTHER_ASIAN.search(line) and han * 3 > len(_LATIN.findall(line))


# ── Chinese lines ────────────────────────────────────────────────────────────────────────────────


def _chinese(line: str) -> str:
    spans = protected(line)
    found = [m.start() for m in _ASCII_MARK.finditer(line) if not inside(m.start(), spans)]
    changes: dict[int, str] = {}
    quotes: list[int] = []
    open_: list[int] = []
    for at in found:
        mark = line[at]
        if mark == "(":
            open_.append(at)
        elif mark == ")":
            if open_:
                _brackets(line, open_.pop(), at, changes)
        elif mark == '"':
            quotes.append(at)
        elif mark == ".":
            if _ends_sentence(line, at):
                changes[at] = _TO_WIDE["."]
        elif _is_beside_han(line, at, mark):
            changes[at] = _TO_WIDE[mark]
    if quotes and len(quotes) % 2 == 0 and not any(sign in line for sign in "{}<>=[]\\"):
        for left, right in zip(quotes[::2], quotes[1::2], strict=True):
            if right - left <= _QUOTED and _HAN.search(line, left, right):
                changes[left], changes[right] = "\u201c", "\u201d"
    if changes:
        line = _with_changes(line, changes)
        spans = protected(line)
    return _STOPS.sub(
        lambda m: m.group() if inside(m.start(), spans) else "\u2026\u2026", _numbers(line, spans)
    )


def _with_changes(line: str, changes: dict[int, str]) -> str:
    """Marks replaced; the space that an ASCII mark needs after it goes with the mark."""
    out, at = [], 0
    for position, mark in sorted(changes.items()):
        out += [line[at:position], mark]
        at = position + 1
        if mark not in "\u201c\u201d\uff08\uff09":
            while line[at : at + 1] == " " and line[at + 1 : at + 2].strip():
                at += 1
    out.append(line[at:])
    return "".join(out)


def _before(line: str, at: int) -> str:
    """The sign before a position, markup looked through; "" at the line's beginning."""
    least = max(0, at - _FAR)
    at -= 1
    while at >= least and line[at] in _MARKUP:
        at -= 1
    return line[at] if at >= least else ""


def _after(line: str, at: int) -> str:
    most = min(len(line), at + 1 + _FAR)
    at += 1
    while at < most and line[at] in _MARKUP:
        at += 1
    return line[at] if at < most else ""


def _follows_han(sign: str) -> bool:
    return bool(sign) and (sign in _AFTER or _HAN.match(sign) is not None)


def _is_beside_han(line: str, at: int, mark: str) -> bool:
    right = line[at + 1 : at + 2]
    # != := :: are a program's, ![ begins an image.
    if (right and right in "=:[/") or line[at - 1 : at] == ":":
        return False
    if _follows_han(_before(line, at)):
        return True
    if mark == ";" or not _HAN.match(_after(line, at)):
        return False
    # Between a Latin word and a Chinese one; not between a number and its unit.
    left = line[at - 1 : at] if at else ""
    return left.isalpha() or (left.isdecimal() and mark in ",?!")


def _ends_sentence(line: str, at: int) -> bool:
    """Whether a full stop stands between Chinese and a pause; `.txt` and a first "一." stay."""
    if line[at + 1 : at + 2] == "." or not _follows_han(_before(line, at)):
        return False
    if line[at - 1] == "\u3002" or (_NUMERAL.match(line[:at][:_FAR]) and at <= _FAR):
        return False
    right = _after(line, at)
    return not right or right.isspace() or right in "\u201d\u2019\uff09)\u300d"


def _brackets(line: str, left: int, right: int, changes: dict[int, str]) -> None:
    """A pair becomes full-width when it holds Chinese or comes after it."""
    if left and line[left - 1] in "])":
        return
    if _HAN.search(line, left, right) or (
        right > left + 1 and left and _HAN.match(line[left - 1]) is not None
    ):
        changes[left], changes[right] = _TO_WIDE["("], _TO_WIDE[")"]


# ── other lines ──────────────────────────────────────────────────────────────────────────────────


def _numbers(line: str, spans: Spans | None) -> str:
    def plain(match: re.Match[str]) -> str:
        return match.group() if inside(match.start(), spans) else _TO_ASCII[match.group()]

    return _IN_NUMBER.sub(plain, line)


def _plain(line: str) -> str:
    line = _numbers(line, protected(line))
    spans = protected(line)
    out, at = [], 0
    for match in _WIDE_MARK.finditer(line):
        where, mark = match.start(), match.group()
        left, right = line[where - 1 : where], line[where + 1 : where + 2]
        # At a line's start a mark may be markup when it is plain; so may a bracket after ].
        if inside(where, spans) or not line[:where].strip(" >") or left in "]!":
            continue
        if mark == "\uff01" and right == "[":
            continue
        plain = _TO_ASCII[mark]
        if mark == "\uff08":
            plain = f" {plain}" if left.isalnum() else plain
        elif right.isalnum():
            plain = f"{plain} "
        out += [line[at:where], plain]
        at = where + 1
    out.append(line[at:])
    return "".join(out)
